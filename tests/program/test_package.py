"""The component package: another program's ``ebbtide.Stack`` makes what the stack file's own program makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.errors import InputPropertiesError

from infra.package.host import Package
from infra.package.stack import Stack, plain_values
from infra.workspace import PROJECT
from tests.program import stack_kit

SCHEMA = PROJECT / "infra" / "package" / "schema.json"


def doubles(value: Any) -> Any:
    """The value as it comes from another language: every number is a double."""
    if isinstance(value, dict):
        return {key: doubles(item) for key, item in value.items()}
    if isinstance(value, list):
        return [doubles(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def keyed() -> dict[str, Any]:
    """The local stack's values without their namespace."""
    return {key.removeprefix("ebbtide:"): value for key, value in stack_kit.sections("local").items()}


def test_the_schema_is_what_the_program_would_write() -> None:
    assert SCHEMA.read_text() == Package().schema_text, "write it anew: make docs"


def test_a_stack_component_makes_what_the_stack_files_program_makes_under_itself(tmp_path: Path) -> None:
    def program() -> None:
        ours = Stack("ours", {"config": doubles(keyed())})
        for name in ("endpoint", "models", "api_keys"):
            pulumi.export(name, getattr(ours, name))

    graph = stack_kit.run_local({}, tmp_path, started=program)
    own = stack_kit.graph_of("local")
    (stack,) = graph.of("Stack")
    resources = [each for each in graph.recorded if each is not stack]
    assert sorted((each.type, each.name) for each in resources) == sorted(
        (each.type, each.name) for each in own.recorded
    )
    assert {each.parent for each in resources if each.parent not in {other.urn for other in resources}} == {stack.urn}
    assert graph.exports["endpoint"][0] == own.exports["endpoint"][0]
    assert graph.exports["models"] == own.exports["models"]
    keys, secret = graph.exports["api_keys"]
    assert (set(keys), secret) == (set(own.exports["api_keys"][0]), True)


def test_every_finding_is_an_error_at_its_own_property_and_nothing_is_made(tmp_path: Path) -> None:
    config = keyed()
    first = next(iter(config["models"]))
    config["models"][first] |= {"gpus": 0, "idleTtl": "20"}
    refused: list[InputPropertiesError] = []

    def program() -> None:
        with pytest.raises(InputPropertiesError) as caught:
            Stack("ours", {"config": config})
        refused.append(caught.value)
        pulumi.export("refused", True)

    graph = stack_kit.run_local({}, tmp_path, started=program)
    assert graph.recorded == []
    (error,) = refused
    assert error.errors is not None
    reasons = {each["property_path"]: each["reason"] for each in error.errors}
    assert "[EBB001 error]" in reasons[f"config.models.{first}.gpus"]
    assert "[EBB011 error]" in reasons[f"config.models.{first}.idleTtl"]


def test_outputs_are_refused_with_their_paths() -> None:
    later = pulumi.Output.from_input("later")
    with pytest.raises(InputPropertiesError) as caught:
        plain_values({"models": {"a": {"gpus": 1.0, "aliases": ["x", later]}}, "environment": later})
    assert [each["property_path"] for each in caught.value.errors or []] == [
        "config.models.a.aliases[1]",
        "config.environment",
    ]


def test_a_second_stack_in_a_program_is_refused() -> None:
    package = Package()
    with pytest.raises(InputPropertiesError, match="cannot be built"):
        package.construct("one", "ebbtide:index:Stack", {"config": {}})
    with pytest.raises(InputPropertiesError, match="there is a Stack 'one' already"):
        package.construct("two", "ebbtide:index:Stack", {"config": {}})


def test_a_stack_whose_keys_are_all_given_has_no_generated_ones(tmp_path: Path) -> None:
    config = keyed()
    config["gateway"]["keys"] = {"ours": {**next(iter(config["gateway"]["keys"].values())), "sha256": "0" * 64}}

    def program() -> None:
        pulumi.export("api_keys", Stack("ours", {"config": config}).api_keys)

    assert stack_kit.run_local({}, tmp_path, started=program).exports["api_keys"] == ({}, True)


def test_whole_numbers_come_as_whole_numbers_and_others_stay() -> None:
    assert (
        repr(plain_values({"a": [1.0, 0.5, True, "x", None, {"b": 2.0}]}))
        == "{'a': [1, 0.5, True, 'x', None, {'b': 2}]}"
    )
