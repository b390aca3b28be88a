"""Nothing that a client sends ends an engine: every option of the API, asked of the real engine through the gateway."""

from __future__ import annotations

import json
import os
from typing import Any

import httpx
import pytest

from lab.ask import NAMESPACE
from tests.lab.conftest import FIRST, Lab, Steady
from tests.lab.request_options import CHAT, COMPLETIONS, NOT_IN_THE_API, OPTIONS, bodies

AT_ONCE = 8
# every value takes some ten minutes; without it an ordinary and a wild one of each option are asked
THOROUGH = os.environ.get("EBBTIDE_EVERY_VALUE") == "1"
SCHEMAS = {CHAT: "ChatCompletionRequest", COMPLETIONS: "CompletionRequest"}
BUSY = 503
"""An engine that is full says so to more answers at once (``n``) than it takes."""


@pytest.fixture(scope="module")
def listed(lab: Lab) -> dict[str, frozenset[str]]:
    """The parameters that the running engine itself says that each API has; the model stays awake for all of it."""
    lab.wake(FIRST)
    (pod,) = lab.pods(FIRST)
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}:8000/proxy/openapi.json"
    schemas = lab.api.get(path, timeout=60).raise_for_status().json()["components"]["schemas"]
    return {api: frozenset(schemas[name]["properties"]) for api, name in SCHEMAS.items()}


def starts(lab: Lab) -> list[tuple[str, int]]:
    """Which containers run the model, and how often each was started again."""
    return [
        (pod["metadata"]["uid"], status["restartCount"])
        for pod in lab.pods(FIRST)
        for status in pod["status"]["containerStatuses"]
    ]


def fault(answer: httpx.Response) -> str | None:
    """What is wrong with an answer: neither one nor a refusal that says why."""
    if answer.status_code == 200:
        return None
    try:
        error: dict[str, Any] = json.loads(answer.content)["error"]
        has_message = bool(error["message"])
    except (ValueError, KeyError, TypeError):
        has_message = False
    refused = 400 <= answer.status_code < 500 or (answer.status_code == BUSY and "retry-after" in answer.headers)
    return None if has_message and refused else f"{answer.status_code} {answer.text[:200]}"


def test_every_parameter_that_the_engine_takes_is_tried_and_none_that_it_does_not(
    listed: dict[str, frozenset[str]],
) -> None:
    known = frozenset().union(*listed.values())
    assert known - set(OPTIONS) == set(), "new in this engine: add each to request_options.py with wild values"
    assert set(OPTIONS) - known == NOT_IN_THE_API, "gone from this engine"


def test_whatever_is_asked_is_answered_or_refused_with_a_reason_and_the_engine_lives_on(
    lab: Lab, listed: dict[str, frozenset[str]]
) -> None:
    before = starts(lab)
    asked = [
        (path, what, {"model": FIRST, **body})
        for path in listed
        for what, body in bodies(
            path, listed[path] | NOT_IN_THE_API, listed[CHAT] if path != CHAT else frozenset(), THOROUGH
        )
    ]
    headers = {"content-type": "application/json"}
    with lab.client(timeout=120) as client, Steady(5, lambda: lab.chat(FIRST, max_tokens=2)) as bystander:

        def ask(number: int) -> httpx.Response:
            path, _, body = asked[number]
            # as Python writes it: NaN, Infinity and lone surrogates are sent as well
            return client.post(path, content=json.dumps(body), headers=headers)

        # a few at a time: where an engine ends, those beside the one that ended it are among the faults
        answers = [
            answer
            for start in range(0, len(asked), AT_ONCE)
            for answer in lab.at_once(len(asked[start : start + AT_ONCE]), lambda n, start=start: ask(start + n))
        ]
    faults = {what: wrong for (_, what, _), answer in zip(asked, answers, strict=True) if (wrong := fault(answer))}
    assert not faults, json.dumps(faults, indent=1)
    assert starts(lab) == before, "an engine was started again"
    assert {answer.status_code for answer in bystander.answers} == {200}


def test_a_model_that_cannot_embed_says_so(lab: Lab, listed: dict[str, frozenset[str]]) -> None:
    before = starts(lab)
    with lab.client() as client:
        for value in ("a", ["a"] * 100, [], [[1, 2]], 7, {}):
            answer = client.post("/v1/embeddings", json={"model": FIRST, "input": value})
            assert 400 <= answer.status_code < 500, answer.text
            assert answer.json()["error"]["message"]
    assert starts(lab) == before
