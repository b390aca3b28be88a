"""Answers whose form the engine promises, and those in which it leaves the arguments of a tool call free: asked of the
running stack, and counted by whether they keep their schema.

vLLM 0.32 (tool_parsers/structural_tag_registry.py): a demanded call has its markup and the tool's name for certain. Its
arguments keep the tool's schema where the tool says ``strict: true``, or where the server is started with
``--tool-strict-level=parameter``; without either they are any JSON, a bare string as well.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import httpx

from tests.lab.conftest import FIRST, Lab

CALLS, AT_ONCE = 50, 10
CITIES: Final = ("Paris", "Rome")
WELL_FORMED: Final = "well-formed"
STRICTEST: Final = "--tool-strict-level=parameter"
WEATHER: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": CITIES}, "sunny": {"type": "boolean"}},
    "required": ["city", "sunny"],
    "additionalProperties": False,
}
_NAMED: Final = {"type": "function", "function": {"name": "weather"}}


def _call(choice: Any, **more: Any) -> dict[str, Any]:
    function = {"name": "weather", "description": "The weather in a city.", "parameters": WEATHER, **more}
    # without this the model may call until its tokens are used up, and the last call is cut
    return {"tools": [{"type": "function", "function": function}], "tool_choice": choice, "parallel_tool_calls": False}


PROMISED: Final[Mapping[str, Mapping[str, Any]]] = {
    "tool call, required, strict": _call("required", strict=True),
    "tool call, named, strict": _call(_NAMED, strict=True),
    "JSON schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER}}},
}
BY_THE_SERVER: Final[Mapping[str, Mapping[str, Any]]] = {
    "tool call, required": _call("required"),
    "tool call, named": _call(_NAMED),
}
"""Promised where the server has ``STRICTEST``."""
WAYS: Final[Mapping[str, Mapping[str, Any]]] = {**PROMISED, **BY_THE_SERVER}


def form(answer: Mapping[str, Any]) -> str:
    """Return ``WELL_FORMED``, or in a few words what is wrong with the answer."""
    (choice,) = answer["choices"]
    message = choice["message"]
    text = message["content"]
    if calls := message.get("tool_calls"):
        if [call["function"]["name"] for call in calls] != ["weather"]:
            return "not one call of the tool"
        text = calls[0]["function"]["arguments"]
    elif choice["finish_reason"] == "length":
        return "cut at max_tokens"
    try:
        document = json.loads(text)
    except (TypeError, ValueError):
        return "no JSON"
    if not isinstance(document, dict):
        return "JSON, but no object"
    kept = document.keys() == {"city", "sunny"} and document["city"] in CITIES and isinstance(document["sunny"], bool)
    return WELL_FORMED if kept else "an object of another form"


def forms(lab: Lab, asked: Mapping[str, Any]) -> dict[str, int]:
    """Return how many of ``CALLS`` answers have which form, all asked at temperature 1."""

    def ask(number: int) -> httpx.Response:
        return lab.chat(FIRST, f"Is it sunny in place number {number}?", max_tokens=128, temperature=1, **asked)

    answers = [answer for _ in range(CALLS // AT_ONCE) for answer in lab.at_once(AT_ONCE, ask)]
    return dict(Counter(form(answer.raise_for_status().json()) for answer in answers).most_common())
