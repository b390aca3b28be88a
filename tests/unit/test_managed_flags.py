"""Whatever the program refuses or sets itself on an engine's command line is a finding first, with the key to use."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.model_service.arguments import engine_arguments, engine_environment
from components.model_service.managed_flags import (
    KEY_FLAGS,
    MANAGED_FLAGS,
    MANAGED_VARIABLES,
    SECRET_FLAGS,
    managed_flag,
    secret_flag,
    unsafe_flag,
)
from components.model_service.settings import ModelSettings
from components.platforms.contract import Weights
from tests.unit.test_stackfile_messages import messages, model, stack

MODEL = ModelSettings("m", "owner/name", "1" * 40, max_tokens=4096, max_queued=8, gpu_memory_utilization=0.9)
HUB, MOUNTED, STORE = Weights("owner/name"), Weights("/models/m"), Weights("s3://b/m", "runai_streamer")
OWN_CHOICE = {"VLLM_LOGGING_CONFIG_PATH"}  # a model may say how it logs
# flags of the engine that begin as a managed one does, or with which a managed one begins
NEIGHBOURS = (
    *("--tokenizer", "--config-format", "--hf-config-path", "--max-num-batched-tokens", "--enforce-eager", "-q", "-O"),
    *("--chat-template-content-format", "--quantization-config", "--reasoning-parser-plugin", "--tool-parser-plugin"),
    *("--data-parallel-size-local", "--kv-cache-dtype", "--enable-prefix-caching", "--help", "-ep"),
)


def findings(**values: Any) -> list[str]:
    """Codes of the findings when the good stack's model has these values."""
    return [line.rpartition("[")[2].split()[0] for line in messages(stack(*model(**values)))]


def every_form(flag: str) -> Iterator[list[str]]:
    """One flag as the engine's parser takes it."""
    yield from ([flag, "1"], [f"{flag}=1"], [f"{flag} 1"])
    if flag.startswith("--"):
        name = flag.removeprefix("--")
        yield from ([f"--{name.replace('-', '_')}=1"], [f"--no-{name}"], [f"{flag}.key=1"])


@pytest.mark.parametrize("flag", [*MANAGED_FLAGS, *SECRET_FLAGS])
def test_a_flag_that_the_program_refuses_is_a_finding_in_every_form(flag: str) -> None:
    forms = list(every_form(flag))
    code = "EBB049" if flag in SECRET_FLAGS else "EBB051"
    assert findings(extraArgs=[argument for form in forms for argument in form]) == [code] * len(forms)
    for form in forms:
        with pytest.raises(ValueError, match="which the model's own settings decide"):
            engine_arguments(replace(MODEL, extra_args=tuple(form)), MOUNTED, "cuda")


def test_a_variable_that_the_program_refuses_is_a_finding() -> None:
    shown = messages(stack(*model(extraEnv=dict.fromkeys(MANAGED_VARIABLES, "1"))))
    for name in MANAGED_VARIABLES:
        assert any(f"extraEnv.{name}: " in line and re.search("EBB049|EBB051|EBB052", line) for line in shown), name
        with pytest.raises(ValueError, match=f"extraEnv sets {name}"):
            engine_environment(replace(MODEL, extra_env={name: "1"}), MOUNTED)


def test_whatever_the_program_sets_itself_is_managed_and_has_a_fix() -> None:
    group = replace(MODEL, gpus=8, nodes=2, dtype="float16")
    kind = {"tool_parser": "hermes", "reasoning_parser": "qwen3", "chat_template": "{{ x }}", "quantization": "mxfp8"}
    for settings, weights, device, turns in (
        (MODEL, HUB, "cuda", False), (MODEL, STORE, "cuda", True), (MODEL, MOUNTED, "cpu", False),
        (group, STORE, "cuda", False), (replace(MODEL, **kind), MOUNTED, "cuda", False),  # type: ignore[arg-type]
    ):  # fmt: skip
        arguments = engine_arguments(settings, weights, device, headless=settings.is_group, turns=turns)  # type: ignore[arg-type]
        flags = [argument for argument in arguments if argument.startswith("-")]
        by_keys = {flag for each in KEY_FLAGS.values() for flag in each}
        assert [flag for flag in flags if managed_flag(flag) != flag and flag not in by_keys] == []
        assert set(engine_environment(settings, weights, turns)) <= MANAGED_VARIABLES.keys() | OWN_CHOICE
    assert all({**MANAGED_FLAGS, **MANAGED_VARIABLES}.values())


def test_variables_of_the_model_store_are_managed() -> None:
    set_by_stores = [
        line.split('"')[1]
        for file in (Path(__file__).parents[2] / "components/platforms").glob("*/model_store.py")
        for line in file.read_text().splitlines()
        if ("environment={" in line or 'return {"' in line) and '"' in line
    ]
    assert {"AWS_REGION", "AZURE_STORAGE_ACCOUNT_NAME"} <= set(set_by_stores) <= MANAGED_VARIABLES.keys()


def flag_meant_by(argument: str) -> str | None:
    """The flag that the engine's parser would take this for; None where several begin so and it refuses."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    for flag in (*MANAGED_FLAGS, *NEIGHBOURS):
        parser.add_argument(flag, dest=flag, nargs="?", const="given")
    try:
        read, _ = parser.parse_known_args([argument])
    except (argparse.ArgumentError, SystemExit):
        return None
    return next((flag for flag, value in vars(read).items() if value is not None), None)


@given(st.sampled_from(sorted(MANAGED_FLAGS)), st.integers(4, 40), st.sampled_from(["", "=1"]))
def test_every_beginning_that_the_parser_takes_for_a_managed_flag_is_managed(flag: str, length: int, end: str) -> None:
    argument = (flag[:length] if flag.startswith("--") else flag) + end
    assert (flag_meant_by(argument) in MANAGED_FLAGS) <= (managed_flag(argument) is not None), argument


@pytest.mark.parametrize("argument", ["-n2", "-r0", "-t", "-tp=2"])
def test_a_short_flag_is_managed_with_its_value_behind_it_too(argument: str) -> None:
    assert flag_meant_by(argument) == managed_flag(argument) is not None


@pytest.mark.parametrize("argument", [*NEIGHBOURS, "--tokenizer=x", "--config_format=hf", "value", "4", "-1", "--"])
def test_what_only_looks_like_a_managed_flag_stays_the_users(argument: str) -> None:
    assert (managed_flag(argument), secret_flag(argument), unsafe_flag(argument)) == (None, None, None)
