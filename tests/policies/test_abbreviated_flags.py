"""A flag that lets foreign code in is found however the engine's parser lets one write it."""

from __future__ import annotations

import pytest

from tests.policies.stack import Stack
from tests.policies.test_rules import gate


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tool-parser-plugin=/x.py"], ["--tool-parser-pl=/x.py"], ["--tool_parser_p", "/x.py"],
        ["--reasoning-parser-pl=/x.py"], ["--trust-remote"], ["--trust_remote_c"], ["--tool-serv=demo"],
        ["--profiler-config={}"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_foreign_code_by_a_flag_that_is_cut_short_is_blocked(arguments: list[str]) -> None:
    head = Stack()
    container = head.inputs("Deployment")["spec"]["template"]["spec"]["containers"][0]
    container["args"] = [*container["args"], *arguments]
    assert gate(Stack(), head).blocked_by == ["rule no-remote-code"]


@pytest.mark.parametrize("name", ["VLLM_TORCH_CUDA_PROFILE", "VLLM_TORCH_PROFILER_DIR", "VLLM_PLUGINS"])
def test_a_variable_that_opens_the_engine_is_blocked(name: str) -> None:
    head = Stack()
    head.container["env"].append({"name": name, "value": "1"})
    assert gate(Stack(), head).blocked_by == ["rule no-remote-code"]


@pytest.mark.parametrize("argument", ["--reasoning-parser=qwen3", "--tool-call-parser=hermes", "--tokenizer-mode=hf"])
def test_a_flag_that_only_begins_alike_passes(argument: str) -> None:
    head = Stack()
    container = head.inputs("Deployment")["spec"]["template"]["spec"]["containers"][0]
    container["args"] = [*container["args"], argument]
    assert gate(Stack(), head).blocked_by == []
