"""A stream that is held: comments for the proxies on its way, and what becomes of errors after them."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.unit import gateway_kit as kit

from ebbtide_gateway.errors import as_event, error_body  # isort: skip
from ebbtide_kube.wake_failure import WakeFailure  # isort: skip

pytestmark = pytest.mark.slow

KEY = "sk-demo-secret"
SILENCE = 0.3
COMMENT = re.compile(rb": ebbtide phase=([a-z-]+) seconds=([0-9]+) estimate=([0-9]+|unknown)\n\n")


upstream, kube, gateway = kit.fixtures(
    [{"name": "small", "host": "small.ebbtide-models", "gpus": 1, "holdSeconds": 30}],
    kit.key_file({"demo": (KEY, "everyone")}, {"everyone": ["*"]}),
    replicas={"small": 0},
    scope="function",
    limits={"silenceSeconds": SILENCE},
)


def held(go_on: threading.Event) -> kit.Behaviour:
    """What the interceptor does while the model wakes."""

    async def behaviour(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        while not go_on.is_set():
            await asyncio.sleep(0.02)
        return await kit.says(200, "")(request, body)

    return behaviour


class Request:
    """A request on its way. ``received``: the body so far."""

    def __init__(self, gateway: kit.Gateway, stream: bool = True) -> None:
        self.received, self.status = b"", 0
        self._pool = ThreadPoolExecutor()
        self._done = self._pool.submit(self._read, gateway.url, stream)

    def _read(self, url: str, stream: bool) -> httpx.Response:
        body = {"model": "small", "messages": kit.HI, "stream": stream}
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx.stream("POST", url + "/v1/chat/completions", json=body, headers=headers, timeout=30) as answer:
            self.status = answer.status_code
            for piece in answer.iter_raw():
                self.received += piece
            return answer

    def result(self) -> httpx.Response:
        return self._done.result(30)

    def commented(self, times: int) -> None:
        kit.until(lambda: len(COMMENT.findall(self.received)) >= times, f"{times} comments")


def test_a_held_stream_is_sent_comments_and_then_the_engines_own_bytes(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    go_on = threading.Event()
    upstream.knock_script, upstream.script = [held(go_on)], [kit.streams(3)]
    request = Request(gateway)
    request.commented(2)
    assert (request.status, COMMENT.sub(b"", request.received)) == (200, b"")
    go_on.set()
    answer = request.result()
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-ebbtide-model"] == "small"
    comments, _, rest = request.received.partition(b"data: ")
    assert COMMENT.sub(b"", comments) == b""
    assert b": ebbtide" not in rest, "nothing is put between the engine's own bytes"
    events = [line.removeprefix(b"data: ") for line in (b"data: " + rest).split(b"\n\n") if line]
    assert events[-1] == b"[DONE]"
    assert [json.loads(event)["choices"][0]["delta"].get("content") for event in events[:3]] == ["0", "1", "2"]
    assert kit.until(gateway.records, "its record")[-1]["complete"] is True


def test_a_wake_that_fails_before_the_first_comment_has_its_status_and_after_it_is_an_event(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    failure = WakeFailure("image_pull", "its image is not there", now, now + timedelta(seconds=60), 1)
    upstream.knock_script = [held(threading.Event())]
    request = Request(gateway)
    request.commented(1)
    kube.fail("small", failure.text())
    request.result()
    comments, _, event = request.received.partition(b"data: ")
    assert COMMENT.sub(b"", comments) == b""
    assert json.loads(event)["error"]["code"] == "wake_failed"
    assert json.loads(event)["error"]["param"] == "image_pull"
    last = kit.until(gateway.records, "its record")[-1]
    assert (last["status"], last["code"], last["complete"]) == (200, "wake_failed", True)
    refused = Request(gateway)
    assert refused.result().status_code == 503, "known before anything was sent"


def test_an_engines_refusal_after_comments_is_an_event(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    go_on = threading.Event()
    upstream.knock_script = [held(go_on)]
    upstream.script = [kit.engine_error(400, "BadRequestError", "too long")]
    request = Request(gateway)
    request.commented(1)
    go_on.set()
    request.result()
    assert json.loads(request.received.partition(b"data: ")[2])["error"]["message"] == "too long"


def test_who_asked_for_no_stream_is_told_nothing_until_the_answer(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    go_on = threading.Event()
    upstream.knock_script = [held(go_on)]
    began = time.monotonic()
    request = Request(gateway, stream=False)
    kit.until(lambda: upstream.knocks and time.monotonic() - began > 3 * SILENCE, "held for several comments' time")
    assert (request.status, request.received) == (0, b"")
    go_on.set()
    assert request.result().status_code == 200
    assert json.loads(request.received)["choices"]


def test_a_client_that_leaves_after_comments_is_let_go(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    upstream.knock_script = [held(threading.Event())]
    body = {"model": "small", "messages": kit.HI, "stream": True}
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.stream("POST", gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=30) as answer:
        assert COMMENT.fullmatch(next(answer.iter_raw()))
    kit.until(lambda: upstream.knocks[0].cut_off, "nobody waits any more")
    kit.until(lambda: gateway.records(), "its record")
    assert gateway.records()[-1]["complete"] is False


def test_an_answer_of_several_lines_is_one_event() -> None:
    assert as_event("openai", 200, b'{"a":\n 1}\n') == b'data: {"a":\ndata:  1}\n\n'


def test_an_error_after_comments_is_an_event_of_the_api_that_was_called() -> None:
    body = error_body("anthropic", 503, "full", "queue_full")
    assert as_event("anthropic", 503, body).startswith(b'event: error\ndata: {"type": "error"')
    event = as_event("responses", 503, error_body("responses", 503, "full", "queue_full"))
    assert event.startswith(b"event: error\n")
    event_body = json.loads(event.split(b"data: ")[1])
    assert (event_body["type"], event_body["message"], event_body["error"]["code"]) == ("error", "full", "queue_full")
    assert as_event("responses", 500, b"no JSON") == b"event: error\ndata: no JSON\n\n"
