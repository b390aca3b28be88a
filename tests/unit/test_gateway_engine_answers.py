"""An engine's answer on its way through the gateway: retries, errors, streams, and clients that leave."""

from __future__ import annotations

import time

import httpx
import openai
import pytest

from tests.unit import gateway_app_kit
from tests.unit import gateway_kit as kit
from tests.unit.gateway_app_kit import HOLD, ask, client, error

pytestmark = pytest.mark.slow

upstream, kube, gateway, clean = gateway_app_kit.fixtures()


@pytest.mark.parametrize("stream", [False, True])
def test_failures_of_the_hop_are_retried_until_the_model_is_up(
    gateway: kit.Gateway, upstream: kit.Upstream, stream: bool
) -> None:
    down = [kit.says(502, "Bad Gateway"), kit.resets, kit.says(504, "Gateway Timeout"), kit.says(503, "busy")]
    upstream.script += [*down, kit.streams(5, cut_after=0)] if stream else down
    answer = ask(gateway, stream=stream)
    assert answer.status_code == 200
    assert len(upstream.received) == (6 if stream else 5)
    assert 0.5 < float(answer.headers["x-ebbtide-wait-seconds"]) < HOLD
    assert upstream.received[0].body == upstream.received[-1].body


def test_at_the_deadline_the_client_gets_504_with_reason_and_retry_after(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    upstream.script += [kit.says(502, "Bad Gateway")] * 100
    started = time.monotonic()
    refused = ask(gateway)
    assert HOLD - 1.2 < time.monotonic() - started < HOLD + 1
    assert (refused.status_code, error(refused)["code"]) == (504, "model_not_ready")
    assert "did not become ready within 3 s" in error(refused)["message"]
    assert "the interceptor answered 502" in error(refused)["message"]
    assert int(refused.headers["retry-after"]) > 0
    upstream.reset()
    assert ask(gateway).status_code == 200, "a failed wake must not put the route on a cooldown"


def test_a_full_engine_is_passed_on_at_once_with_retry_after(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    busy = "The engine is currently busy and cannot accept new requests."
    upstream.script.append(kit.engine_error(503, "Service Unavailable", busy))
    refused = ask(gateway)
    assert refused.status_code == 503
    assert error(refused) == {"message": busy, "type": "Service Unavailable", "param": None, "code": 503}
    assert int(refused.headers["retry-after"]) > 0
    assert len(upstream.received) == 1


@pytest.mark.parametrize("pieces", [1, 3])
def test_an_engine_that_refuses_within_a_stream_is_a_503_with_retry_after(
    gateway: kit.Gateway, upstream: kit.Upstream, pieces: int
) -> None:
    busy = "The engine is currently busy and cannot accept new requests."
    upstream.script.append(kit.refuses_in_the_stream(503, busy, pieces))
    refused = ask(gateway, stream=True)
    assert refused.status_code == 503
    assert error(refused)["message"] == busy
    assert int(refused.headers["retry-after"]) > 0
    assert len(upstream.received) == 1


def test_a_stream_that_begins_with_a_client_error_is_that_error(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    upstream.script += [kit.refuses_in_the_stream(400, "too long"), kit.refuses_in_the_stream(0, "what now")]
    refused = ask(gateway, stream=True)
    assert (refused.status_code, error(refused)["message"]) == (400, "too long")
    assert "retry-after" not in refused.headers
    assert ask(gateway, stream=True).status_code == 502


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 404, 422, 429, 500])
def test_an_error_of_the_engine_reaches_the_client_word_for_word_and_is_never_retried(
    gateway: kit.Gateway, upstream: kit.Upstream, status: int, stream: bool
) -> None:
    message = "This model's maximum context length is 2048 tokens. However, you requested 9000."
    upstream.script.append(kit.engine_error(status, "BadRequestError", message))
    refused = ask(gateway, stream=stream)
    assert (refused.status_code, error(refused)["message"]) == (status, message)
    assert len(upstream.received) == 1


def test_a_missing_route_is_said_to_be_one(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    upstream.script.append(kit.says(404, "Not Found"))
    refused = ask(gateway)
    assert (refused.status_code, error(refused)["code"]) == (502, "route_missing")
    assert len(upstream.received) == 1


@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_every_chunk_is_flushed_when_it_comes(gateway: kit.Gateway, upstream: kit.Upstream, kind: str) -> None:
    received: list[str] = []
    # Chunk n is only sent once chunk n-1 has reached the client: a buffer anywhere on the way would hang
    # this.
    upstream.script.append(kit.streams(8, gate=lambda number: len(received) >= number))
    if kind == "chat":
        chat = client(gateway).chat.completions.create(model="small", messages=kit.HI, stream=True)
        received.extend(text for part in chat if (text := part.choices[0].delta.content))
    else:
        raw = client(gateway).completions.create(model="small", prompt="x", stream=True)
        for part in raw:
            if part.choices[0].text:
                received.append(part.choices[0].text)
    assert received == [str(number) for number in range(8)]


def test_a_stream_that_breaks_after_its_first_byte_is_not_retried_and_not_dressed_as_complete(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    upstream.script.append(kit.streams(5, cut_after=2))
    text = ""
    try:
        body = {"model": "small", "messages": kit.HI, "stream": True}
        headers = {"authorization": "Bearer sk-demo-secret"}
        with httpx.stream(
            "POST", gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=10
        ) as answer:
            for part in answer.iter_text():
                text += part
    except httpx.RemoteProtocolError:
        pass
    assert '"content":"1"' in text
    assert '"finish_reason":"stop"' not in text
    assert "[DONE]" not in text
    assert len(upstream.received) == 1


def test_a_stream_that_breaks_off_raises_in_the_openai_library(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    upstream.script.append(kit.streams(5, cut_after=2))
    chat = client(gateway).chat.completions.create(model="small", messages=kit.HI, stream=True)
    with pytest.raises(openai.APIError, match="what came so far is not all of it"):
        list(chat)
    kit.until(lambda: [r for r in gateway.records() if r["code"] == "answer_broken_off"], "logged", 3)


@pytest.mark.parametrize("stage", ["held", "streaming"])
def test_a_client_that_leaves_takes_its_upstream_request_along(
    gateway: kit.Gateway, upstream: kit.Upstream, stage: str
) -> None:
    upstream.knock_script = [kit.holds] if stage == "held" else []
    upstream.script = [kit.streams(9, gate=lambda number: number < 2)]
    body = {"model": "small", "messages": kit.HI, "stream": stage == "streaming"}
    headers = {"authorization": "Bearer sk-demo-secret"}
    if stage == "held":
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=0.5)
    else:
        with httpx.stream("POST", gateway.url + "/v1/chat/completions", json=body, headers=headers) as answer:
            next(answer.iter_bytes())
    reached = upstream.knocks if stage == "held" else upstream.received
    kit.until(lambda: reached and reached[0].cut_off, "the upstream request is closed", 3)
    kit.until(lambda: [r for r in gateway.records() if not r["complete"] or r["status"] == 499], "logged", 3)
    assert (len(upstream.knocks), len(upstream.received)) == ((1, 0) if stage == "held" else (1, 1))
