"""Arguments of the engine have the same answer from the shared judgement and from every command that uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra import workspace
from infra.planner.judgement import judge_with_records
from infra.program import build
from infra.stackfile.load import read_file
from tests.program.bad_inputs import BadInput
from tests.program.test_one_judgement import gate, graph, plan, program

# arguments, what stops them, and what is only said of them
ARGUMENTS: tuple[tuple[list[str], str, str], ...] = (
    (["--disable-log-requests"], "069", "060"),
    (["--swap-space=4"], "069", "060"),
    (["--rope-theta", "1000000"], "069", "060"),
    (["--mem-fraction-static=0.8"], "069", "060"),
    (["--enable-prefix-cachng"], "069", "060"),
    (["--enforce-eager=false"], "069", "060"),
    (["--kv-cache-dty=fp8"], "069", "060"),
    (["--max-logprobs=many"], "069", "060"),
    (["--reasoning-parser"], "069", "060"),
    (["--max-num-batched-tokens 8192"], "069", "060"),
    (["--limit-mm-per-prompt", "'{\"image\": 2}'"], "069", "060"),
    (["--speculative-config={'method': 'ngram'}"], "069", "060"),
    (["--enable-auto-tool-choice"], "067", ""),
    (["--enable-auto-tool-choice", "--tool-call-parser=hermes"], "", ""),
    (["--chat-template=/models/own.jinja"], "068", "060"),
    (["--tool-parser-plugin=/models/own.py"], "068", "060"),
    (["--tokenizer=meta-llama/Llama-3.1-8B-Instruct"], "068", "060"),
    (["--enable-lora", "--lora-modules=mine=someone/adapter"], "068", "060"),
    (["--speculative-config.model=someone/draft"], "068", "060 252"),
    (["--enable-prompt-embeds"], "052", ""),
    (["--allowed-local-media-path=/"], "052", ""),
    (["--allowed-local-med=/"], "052", ""),
    (["--grpc"], "052", ""),
    (["--middleware=own.filter"], "", "060"),
    (["--trust-remote-code"], "051", ""),
    (["--max-model-len=4096"], "051", ""),
    (["--task=embed"], "051", ""),
    (["--cpu-offload-gb=4"], "", "252"),
    (["--max-num-batched-token=16384"], "", "060"),
    (["--no-enable-prefix-caching"], "", ""),
)


def _model(arguments: list[str]) -> dict[str, Any]:
    return dict(BadInput(name="").sections["models"]["eight"]) | {"extraArgs": arguments}


def _codes(numbers: str) -> set[str]:
    return {f"EBB{number}" for number in numbers.split()}


def test_they_are_thirty() -> None:
    assert len({" ".join(arguments) for arguments, _, _ in ARGUMENTS}) == 30


@pytest.mark.parametrize(("arguments", "stops", "warned"), ARGUMENTS, ids=lambda value: str(value)[:40])
def test_the_shared_judgement_says_what_the_engine_would(
    tmp_path: Path, arguments: list[str], stops: str, warned: str
) -> None:
    file = BadInput(name="", changes={"models.eight": _model(arguments)}).write(tmp_path)
    judged = judge_with_records(read_file(file), file.parent)
    stops_by_code = {finding.code: finding.stops for finding in judged.findings}
    assert stops_by_code == dict.fromkeys(_codes(stops), True) | dict.fromkeys(_codes(warned), False)
    assert judged.stops == bool(stops)


@pytest.mark.parametrize("stopping", [True, False])
def test_every_command_says_the_same_of_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopping: bool
) -> None:
    """One stack with a model for each: the cases differ in nothing but their arguments."""
    chosen = [case for case in ARGUMENTS if bool(case[1]) == stopping]
    models = {f"m{number}": _model(arguments) for number, (arguments, _, _) in enumerate(chosen)}
    file = BadInput(name="", changes={"models": models}).write(tmp_path)
    monkeypatch.setattr(workspace, "PROJECT", tmp_path)
    monkeypatch.setattr(build, "PROJECT", tmp_path)
    answers = {door.__name__: door(file) for door in (plan, gate, graph, program)}
    codes, stops = answers["plan"]
    assert answers == dict.fromkeys(answers, (codes, stops))
    assert stops == stopping
    assert {code for _, stop, warned in chosen for code in _codes(f"{stop} {warned}")} <= codes
