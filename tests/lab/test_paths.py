"""Paths besides chat, by the real engine and the real gateway: each answers in the shape of its own API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.lab.conftest import FIRST, Lab

Code = Callable[[Any], str]
HI = [{"role": "user", "content": "Say hi"}]
ANSWERED: dict[str, tuple[dict[str, Any], str]] = {
    "/v1/completions": ({"prompt": "Hi", "max_tokens": 4}, "text"),
    "/v1/responses": ({"input": "Say hi", "max_output_tokens": 4}, "output_text"),
    "/v1/messages": ({"messages": HI, "max_tokens": 4}, "end_turn max_tokens"),
    "/v1/messages/count_tokens": ({"messages": HI}, "input_tokens"),
    "/tokenize": ({"prompt": "Hi"}, "tokens"),
    "/detokenize": ({"tokens": [19556]}, "Hello"),
}
REFUSED: dict[str, tuple[dict[str, Any], Code]] = {
    "/v1/embeddings": ({"input": "x"}, lambda answer: answer["error"]["code"]),
    "/v1/rerank": ({"query": "x", "documents": ["y"]}, lambda answer: answer["error"]["code"]),
    "/v2/rerank": ({"query": "x", "documents": ["y"]}, lambda answer: answer["code"]),
}


def post(lab: Lab, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    with lab.client(key=None, timeout=120) as client:
        return client.post(path, json={"model": FIRST, **body}, headers=headers)


@pytest.mark.parametrize("path", ANSWERED)
def test_the_engine_answers(path: str, awake: Lab) -> None:
    body, words = ANSWERED[path]
    # each API's clients send the key in a way of their own
    answer = post(awake, path, body, **{"x-api-key": awake.keys["demo"]})
    assert answer.status_code == 200, answer.text
    assert any(word in answer.text for word in words.split()), answer.text


@pytest.mark.parametrize("path", REFUSED)
def test_a_model_of_another_task_is_refused_in_the_shape_of_the_api(path: str, awake: Lab) -> None:
    body, code = REFUSED[path]
    answer = post(awake, path, body, authorization=f"Bearer {awake.keys['demo']}")
    assert (answer.status_code, code(answer.json())) == (400, "wrong_task")
