"""Values on the wire, paths and differences that the stand-in plugins share."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.gate.replacement import property_path
from infra.gate.replacement.differences import compare
from lab.plugins.properties import (
    UNKNOWN,
    Secret,
    decode,
    encode,
    has_unknown,
    mark_secrets,
    plain,
    redact,
)

leaves = st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.text() | st.just(UNKNOWN)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | inner.map(Secret),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), values))
def test_values_survive_the_wire_with_secrets_and_unknowns(value: dict[str, Any]) -> None:
    assert decode(encode(value)) == value


def test_whole_numbers_arrive_as_integers_and_others_as_they_are() -> None:
    assert decode(encode({"port": 8000, "share": 0.9})) == {"port": 8000, "share": 0.9}
    assert isinstance(decode(encode({"port": 8000}))["port"], int)


def test_a_secret_never_shows_in_a_repr() -> None:
    assert "opensesame" not in repr({"a": Secret("opensesame")})


def test_plain_takes_every_secret_off_and_keeps_unknowns() -> None:
    value = {"a": Secret({"b": Secret("x")}), "c": [Secret(UNKNOWN)]}
    assert plain(value) == {"a": {"b": "x"}, "c": [UNKNOWN]}
    assert has_unknown(value)


def test_secrets_are_marked_where_the_inputs_have_them() -> None:
    like = {"env": [{"name": "a", "value": Secret("x")}], "n": 1}
    assert mark_secrets({"env": [{"name": "a", "value": "y"}], "n": 2}, like) == {
        "env": [{"name": "a", "value": Secret("y")}],
        "n": 2,
    }


def test_a_list_whose_items_cannot_be_matched_any_more_is_hidden_whole() -> None:
    assert mark_secrets({"l": ["a", "b"]}, {"l": [Secret("a")]}) == {"l": Secret(["a", "b"])}


def test_secret_strings_are_taken_out_of_error_texts() -> None:
    assert redact("bad value opensesame here", {"a": [Secret("opensesame")]}) == "bad value [secret] here"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("spec.replicas", ("spec", "replicas")),
        ('metadata.annotations["a.b/c"]', ("metadata", "annotations", "a.b/c")),
        ("spec.containers[0].image", ("spec", "containers", 0, "image")),
        ("spec.containers[*].image", ("spec", "containers", "*", "image")),
        ('["a b"].c', ("a b", "c")),
    ],
)
def test_property_paths_are_read_as_the_engine_writes_them(text: str, path: tuple[str | int, ...]) -> None:
    assert property_path.parse(text) == path


def test_a_text_that_is_no_path_is_refused_with_the_text() -> None:
    with pytest.raises(ValueError, match=r"'spec\[' is not a property path"):
        property_path.parse("spec[")


@given(st.lists(st.text(min_size=1) | st.integers(0, 99), min_size=1).filter(lambda p: isinstance(p[0], str)))
def test_a_shown_path_reads_back_as_itself(parts: list[str | int]) -> None:
    if any(isinstance(part, str) and ("\\" in part or part == "*") for part in parts):
        return
    assert property_path.parse(property_path.show(tuple(parts))) == tuple(parts)


def test_null_and_absent_are_the_same_and_true_is_not_one() -> None:
    assert compare({"a": None}, {}) == ()
    assert [change.path for change in compare({"a": True}, {"a": 1})] == [("a",)]


def test_ignored_paths_never_differ_and_immutable_ones_replace() -> None:
    old, new = {"spec": {"replicas": 1, "selector": {"a": "b"}}}, {"spec": {"replicas": 3, "selector": {"a": "c"}}}
    changes = compare(old, new, immutable=[("spec", "selector")], ignored=[("spec", "replicas")])
    assert [(change.path, change.kind, change.replaces) for change in changes] == [
        (("spec", "selector", "a"), "UPDATE", True)
    ]


def test_an_unknown_value_counts_as_a_change() -> None:
    assert [change.kind for change in compare({"a": 1}, {"a": UNKNOWN})] == ["UPDATE"]
