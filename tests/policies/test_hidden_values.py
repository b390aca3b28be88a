"""What a graph hides is compared by a keyed hash: a change is told by its place, and no value of it is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from infra.gate.diff import all_differences, diff
from infra.gate.hidden_values import without_secrets
from infra.gate.record_process import with_secrets
from infra.policies.inputs import HIDDEN
from infra.recorder.command import recording_of
from infra.recorder.recorder import graph
from infra.recorder.stack_source import read_stack
from infra.workspace import PROJECT
from tests.policies.stack import kube

Entry = dict[str, Any]
NOTED = " (changed, hidden)"
FILE = 'stringData["keys.json"]'


@cache
def recorded() -> str:
    """The graph of a shipped stack as the recorder sends it."""
    records = recording_of(read_stack(PROJECT / "stacks" / "Pulumi.onprem.yaml"), "onprem").records
    return json.dumps(with_secrets(graph(records), records))


def sides(change: Callable[[Any], None]) -> tuple[list[Entry], list[Entry]]:
    """The graph before and after a change of what the gateway's Secret holds, as they are compared."""
    before, after = (json.loads(recorded()) for _ in range(2))
    data = next(each for each in after if each["name"] == "gateway-keys")["inClear"]["stringData"]
    held = json.loads(data["keys.json"])
    change(held)
    data["keys.json"] = json.dumps(held, indent=2)
    return [without_secrets(each) for each in before], [without_secrets(each) for each in after]


def anothers_hash(held: Any) -> None:
    held["keys"][0]["sha256"] = "b" * 64


def another_group(held: Any) -> None:
    held["keys"][0]["group"] = "administrators"


def more_models(held: Any) -> None:
    held["groups"]["everyone"]["models"] = ["*"]


def may_wake(held: Any) -> None:
    held["groups"]["everyone"]["wake"] = ["*"]


def a_limit(held: Any) -> None:
    held["groups"]["everyone"]["requestsPerMinute"] = 99_999


def a_group(held: Any) -> None:
    held["groups"]["mine"] = {"models": ["*"]}


def a_key(held: Any) -> None:
    held["keys"].append({"name": "mine", "sha256": "c" * 64, "group": "everyone"})


def no_group(held: Any) -> None:
    held["groups"].clear()


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (anothers_hash, "keys[0].sha256"),
        (another_group, "keys[0].group"),
        (more_models, "groups.everyone.models[0]"),
        (may_wake, "groups.everyone.wake"),
        (a_limit, "groups.everyone.requestsPerMinute"),
        (a_group, "groups.mine"),
        (a_key, "keys[1]"),
        (no_group, "groups.everyone"),
    ],
)
def test_a_hidden_key_group_or_limit_that_changes_is_told_by_name(change: Callable[[Any], None], path: str) -> None:
    before, after = sides(change)
    for between in (diff(before, after), all_differences(before, after)):
        (difference,) = between
        assert (difference.action, difference.name) == ("updated", "gateway-keys")
        assert difference.paths == (f"{FILE}.{path}{NOTED}",)


def test_what_is_hidden_and_stays_is_no_change_and_is_not_kept() -> None:
    before, after = sides(lambda held: None)
    assert diff(before, after) == []
    assert all_differences(before, after) == []
    kept = next(each for each in after if each["name"] == "gateway-keys")
    secret = json.loads(recorded())
    text = next(each for each in secret if each["name"] == "gateway-keys")["inClear"]["stringData"]["keys.json"]
    assert kept["inputs"]["stringData"] == HIDDEN
    assert json.loads(text)["keys"][0]["sha256"] not in json.dumps(after)


def secret(data: Any, shown: Any = HIDDEN, **more: Any) -> Entry:
    object_ = kube("core/v1:Secret", "made", {"stringData": shown, **more})
    return without_secrets({**object_, "inClear": {**object_["inputs"], "stringData": data}})


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        ({"a": "one"}, {"a": "two"}, "stringData.a"),
        ({"a": "one"}, {"a": "one", "b": "two"}, "stringData.b"),
        ({"a": "1"}, {"a": 1}, "stringData.a"),
        ({"a": True}, {"a": 1}, "stringData.a"),
        ({"a": None}, {"a": ""}, "stringData.a"),
        ({"a": ["x", "y"]}, {"a": ["x"]}, "stringData.a[1]"),
        # a reader of JSON takes one of two values, and not every reader the same
        ({"a": '{"k": 1, "k": 2}'}, {"a": '{"k": 3, "k": 2}'}, "stringData.a"),
        ({"a": '{"k": 1}'}, {"a": '{"k":1}'}, "stringData.a"),
        ({"a": '{"k": {"l": 1}}'}, {"a": '{"k": {"l": 2}}'}, "stringData.a.k.l"),
        ({"a": '{"k": ' * 200 + "1" + "}" * 200}, {"a": '{"k": ' * 200 + "2" + "}" * 200}, "stringData.a"),
        ({"a": "[" * 5000}, {"a": "[" * 5001}, "stringData.a"),
        ("one", "two", "stringData"),
        ("one", None, "stringData"),
    ],
)
def test_every_hidden_value_is_compared(before: Any, after: Any, path: str) -> None:
    for changes in (diff([secret(before)], [secret(after)]), all_differences([secret(before)], [secret(after)])):
        (change,) = changes
        assert change.paths == (f"{path}{NOTED}",)


def test_a_hidden_value_of_what_cannot_change_in_place_forces_a_replacement() -> None:
    (change,) = diff([secret({"a": "one"}, immutable=True)], [secret({"a": "two"}, immutable=True)])
    assert (change.action, change.forced) == ("replaced", (f"stringData.a{NOTED}",))


def test_a_value_that_becomes_hidden_is_told() -> None:
    for pair in ((secret({"a": "x"}, {"a": "x"}), secret({"a": "x"})), (secret({"a": "x"}), secret({}, {"a": "x"}))):
        (change,) = all_differences([pair[0]], [pair[1]])
        assert all(path.endswith(NOTED) for path in change.paths)


@pytest.mark.parametrize("in_clear", [None, "text", [], {}, {"stringData": [1]}, {"metadata": "x"}])
def test_a_program_that_writes_something_else_is_no_error(in_clear: Any) -> None:
    object_ = kube("core/v1:Secret", "made", {"stringData": HIDDEN, "data": [HIDDEN]})
    entry = without_secrets({**object_, "inClear": in_clear, "compared": {"a": "forged"}})
    assert "inClear" not in entry
    assert "forged" not in json.dumps(entry)
    diff([entry], [secret({"a": "x"})])
