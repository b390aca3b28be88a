"""Arguments of the engine are read as the pinned engine's own parser reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from components.catalog.engine_allowed import engine_allowed
from components.catalog.engine_flags import engine_flags, parse
from components.catalog.versions import pinned
from infra.planner.sizing.planned_pool import flags
from infra.stackfile import load_file
from infra.stackfile.findings.finding import ConfigError
from scripts.record_engine_flags import kind
from tests.unit.plan_kit import sections, write

# arguments, and what the fix says
STOPS: dict[str, tuple[list[str], str]] = {
    "a flag that is gone": (["--disable-log-requests"], "--enable-log-requests"),
    "a flag with a value that is gone": (["--swap-space=4"], "take it out"),
    "a flag and value apart that are gone": (["--rope-theta", "1000000"], "--hf-overrides"),
    "a misspelled flag": (["--enable-prefix-cachng"], "--enable-prefix-caching"),
    "a beginning of several flags": (["--max-lora=4"], "in full"),
    "a beginning of two": (["--kv-cache-dty=fp8"], "in full"),
    "a switch with a value": (["--enforce-eager=false"], "--no-enforce-eager"),
    "two words in one item": (["--max-num-batched-tokens 8192"], "--max-num-batched-tokens=8192"),
    "two words in one item, and one that is gone": (["--swap-space 4"], "write two items"),
    "shell quotes around JSON": (["--limit-mm-per-prompt", "'{\"image\": 2}'"], '--limit-mm-per-prompt={"image": 2}'),
    "shell quotes around a word": (['--reasoning-parser="qwen3"'], "--reasoning-parser=qwen3"),
    "broken JSON": (["--speculative-config={'method': 'ngram'}"], "double quotes"),
    "no value": (["--reasoning-parser"], "VALUE"),
    "a word for a number": (["--max-logprobs=many"], "a number"),
    "a flag of another engine": (["--mem-fraction-static=0.8"], "take it out"),
}


def judged(
    folder: Path, arguments: list[str], changes: Mapping[str, object] | None = None
) -> dict[str, tuple[str, str]]:
    """Severity and fix of each finding of the arguments, by code."""
    file = write(folder, sections(changes, extraArgs=arguments))
    try:
        findings = load_file(file).warnings
    except ConfigError as refused:
        findings = refused.findings
    return {each.code: (each.severity, each.fix) for each in findings if "extraArgs" in each.path}


@pytest.mark.parametrize("case", STOPS)
def test_what_the_engine_s_parser_stops_at_is_refused_with_what_to_write(tmp_path: Path, case: str) -> None:
    arguments, fix = STOPS[case]
    findings = judged(tmp_path, arguments)
    assert findings["EBB069"][0] == "error"
    assert fix in findings["EBB069"][1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-num-batched-token=16384"],
        ["--max_num_batched_tokens", "8k"],
        ["--enable-prefix-caching"],
        ["--no-enable-prefix-caching"],
        ["-ep"],
        ["-O3"],
        ["--speculative-config.method=ngram", "--speculative-config.num_speculative_tokens", "3"],
        ["--limit-mm-per-prompt", '{"image": 2}'],
        ["--limit-mm-per-prompt.image=2"],
        ["--reasoning-parser", "qwen3", "--enable-auto-tool-choice", "--tool-call-parser=hermes"],
        ["--default-chat-template-kwargs", '{"enable_thinking": false}'],
        ["--seed", "-1"],
    ],
    ids=" ".join,
)
def test_what_the_engine_takes_is_not_refused(tmp_path: Path, arguments: list[str]) -> None:
    assert not {"EBB069", "EBB067", "EBB068"} & judged(tmp_path, arguments).keys()


def test_a_flag_that_needs_another_is_refused_without_it(tmp_path: Path) -> None:
    assert "add --tool-call-parser" in judged(tmp_path, ["--enable-auto-tool-choice"])["EBB067"][1]
    assert "EBB067" not in judged(tmp_path, ["--enable-auto-tool-choice", "--tool-call-parser=hermes"])


@pytest.mark.parametrize(
    "argument",
    [
        "--chat-template=/models/own.jinja",
        "--tokenizer=meta-llama/Llama-3.1-8B-Instruct",
        '--speculative-config={"model": "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B", "method": "eagle3"}',
        "--speculative-config.model=yuhuili/EAGLE3-LLaMA3.1-Instruct-8B",
        "--lora-modules=mine=someone/adapter",
    ],
)
def test_a_file_or_model_that_the_pod_has_not_is_refused(tmp_path: Path, argument: str) -> None:
    assert judged(tmp_path, ["--enable-lora", argument])["EBB068"][0] == "error"


def test_a_file_of_the_engine_s_image_or_a_template_s_text_is_not(tmp_path: Path) -> None:
    for value in ("/vllm-workspace/examples/tool_chat_template_hermes.jinja", "{{ messages[0].content }}"):
        assert "EBB068" not in judged(tmp_path, [f"--chat-template={value}"])


def test_an_image_of_the_stack_s_own_may_have_another_engine(tmp_path: Path) -> None:
    own = {"image.base": "registry.example.com/vllm@sha256:" + "0" * 64}
    findings = judged(tmp_path, ["--swap-space=4"], own)
    assert findings["EBB069"][0] == "warning"


@pytest.mark.parametrize(
    "argument",
    ["--enable-prompt-embeds", "--allowed-local-media-path=/", "--allowed-local-med=/", "--grpc", "--enable-scale-out"],
)
def test_a_flag_that_opens_the_pod_is_refused(tmp_path: Path, argument: str) -> None:
    assert judged(tmp_path, [argument])["EBB052"][0] == "mandatory"


def test_the_memory_plan_reads_flags_as_the_engine_does() -> None:
    read = flags(["--max-num-batched-token=16384", "--kv_cache_dtype", "fp8", "-ep", "--no-enforce-eager"])
    assert read == {"--max-num-batched-tokens": "16384", "--kv-cache-dtype": "fp8", "--enable-expert-parallel": ""}
    assert flags(["--speculative-config.method=ngram"]) == {"--speculative-config": ""}


def test_the_record_is_of_the_pinned_engine_and_has_the_list_s_flags() -> None:
    known = engine_flags()
    assert known.version == pinned("vllm").version
    allowed = engine_allowed()
    assert {known.kinds[flag] for flag in allowed.switches} <= {"switch", "alone"}
    assert {known.kinds[flag] for flag in (*allowed.numbers, *allowed.words)} <= {"number", "value"}
    assert not known.gone.keys() & known.kinds.keys(), "the engine has it after all"
    assert {*known.needs, *known.needs.values(), *known.files, *known.models, *known.measured} <= known.kinds.keys() | {
        "--log-config-file"
    }


@pytest.mark.parametrize(
    ("annotation", "kind_expected"),
    [
        ("bool", "switch"), ("bool | None", "switch"), ("bool | str | None", "perhaps"), ("int | None", "number"),
        ("list[str] | None", "values"), ("dict[str, Any]", "json"), ("Literal['a', 'b']", "value"), ("str", "value"),
        ("SpeculativeConfig | None", "json"),
    ],
)  # fmt: skip
def test_kinds_are_those_that_the_engine_makes_of_its_types(annotation: str, kind_expected: str) -> None:
    assert kind(annotation) == kind_expected


def test_a_part_of_a_json_value_keeps_its_own_spelling() -> None:
    (flag,), faults = parse(["--model_loader_extra_config.memory_limit=8"])
    assert (flag.flag, flag.key, flag.values, faults) == (
        "--model-loader-extra-config", "memory_limit", ("8",), (),
    )  # fmt: skip


def test_a_fault_hides_no_flag_behind_it() -> None:
    parsed, faults = parse(["--swap-space", "4", "--seed=1"])
    assert [each.flag for each in parsed] == ["--seed"]
    assert [each.index for each in faults] == [0]
