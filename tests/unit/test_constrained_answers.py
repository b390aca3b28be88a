"""The judge of constrained answers in the lab tells a well-formed one from all that a small model may say instead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.constrained import WELL_FORMED, form

GOOD = '{"city": "Rome", "sunny": false}'


def answer(content: str | None, *calls: str, finish: str = "stop", name: str = "weather") -> dict[str, Any]:
    called = [{"function": {"name": name, "arguments": each}} for each in calls]
    return {"choices": [{"finish_reason": finish, "message": {"content": content, "tool_calls": called}}]}


def test_an_answer_that_keeps_its_schema_is_well_formed() -> None:
    assert form(answer(GOOD)) == form(answer(None, GOOD, finish="tool_calls")) == WELL_FORMED


@pytest.mark.parametrize(
    "text",
    [
        *("", "Paris", '"Paris"', "3", "null", "[]", "{}", GOOD[:-1]),
        *(
            json.dumps({"city": city, "sunny": sunny})
            for city, sunny in (("Bonn", True), ("Rome", "yes"), (["Rome"], True))
        ),
        json.dumps({**json.loads(GOOD), "more": 1}),
    ],
)
def test_any_other_is_not(text: str) -> None:
    assert form(answer(text)) != WELL_FORMED
    assert form(answer(None, text)) != WELL_FORMED


def test_several_calls_a_call_of_another_tool_and_a_cut_one_are_not() -> None:
    others = (answer(None, GOOD, GOOD), answer(None, GOOD, name="time"), answer(GOOD, finish="length"), answer(None))
    assert WELL_FORMED not in {form(each) for each in others}
