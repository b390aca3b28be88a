"""Bounds on what clients may do to the gateway's connections before and after they show a key, by raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.unit import gateway_connections_kit
from tests.unit import gateway_kit as kit
from tests.unit.gateway_connections_kit import (
    BODY,
    HEAD,
    KEY,
    LATE,
    SECONDS,
    WITH_KEY,
    answer,
    code,
    connected,
    ended,
    length,
)

pytestmark = pytest.mark.slow

upstream, kube, gateway, clean = gateway_connections_kit.fixtures()


@pytest.mark.parametrize(
    ("head", "refusal"),
    [
        (b"X: " + b"a" * 30_000, (431, "headers_too_large")),
        (b"a: b\r\n" * 200, (431, "headers_too_large")),
        ((b"X: " + b"a" * 9_000 + b"\r\n") * 9, (431, "headers_too_large")),
        (b"X" * 30_000 + b": a", (431, "headers_too_large")),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_headers_are_bounded_in_size_and_number_whether_they_end_or_not(
    gateway: kit.Gateway, head: bytes, refusal: tuple[int, str], whole: bool
) -> None:
    with connected(gateway) as connection:
        connection.sendall(HEAD + head + (b"\r\n\r\n" if whole else b""))
        assert code(answer(connection)) == refusal
        assert ended(connection)


def test_a_request_line_is_bounded(gateway: kit.Gateway) -> None:
    with connected(gateway) as connection:
        connection.sendall(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert code(answer(connection)) == (414, "uri_too_long")
        assert ended(connection)


def test_a_flood_of_headers_without_a_key_costs_neither_memory_nor_time(gateway: kit.Gateway) -> None:
    before = memory(gateway)
    started = time.monotonic()
    for piece in (b"a" * 65_536, b"a: b\r\n" * 10_000):
        with connected(gateway) as connection, contextlib.suppress(OSError):
            connection.sendall(HEAD + b"X: ")
            for _ in range(200):
                connection.sendall(piece)
    assert httpx.get(gateway.url + "/health/liveness", timeout=LATE).status_code == 200
    assert memory(gateway) - before < 32
    assert time.monotonic() - started < LATE


def memory(gateway: kit.Gateway) -> float:
    """MiB that the process has had at most."""
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        (b"", None),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n", (408, "request_timeout")),
        (b"P", (408, "request_timeout")),
        (WITH_KEY + b"Content-Length: 100\r\n\r\n{", (408, "request_timeout")),
        (WITH_KEY + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", (408, "request_timeout")),
        (b"GET /health/liveness HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ],
)
def test_a_connection_that_falls_silent_without_a_whole_request_ends_in_bounded_time(
    gateway: kit.Gateway, sent: bytes, refusal: tuple[int, str] | None
) -> None:
    with connected(gateway) as connection:
        connection.sendall(sent)
        started = time.monotonic()
        if refusal is not None:
            assert code(answer(connection)) == refusal
        assert ended(connection)
        assert time.monotonic() - started < LATE


def test_headers_that_drip_end_too(gateway: kit.Gateway) -> None:
    with connected(gateway) as connection:
        connection.sendall(HEAD)
        connection.settimeout(0.2)
        deadline = time.monotonic() + LATE
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                with contextlib.suppress(BrokenPipeError):  # it has just ended: its answer can still be read
                    connection.sendall(b"a: b\r\n")
                if piece := connection.recv(100):
                    break
        assert piece.startswith(b"HTTP/1.1 408 ")


def test_a_body_without_a_key_is_not_waited_for(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    with connected(gateway) as connection:
        connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n{")
        reply = answer(connection)
        assert (code(reply), reply[1]["www-authenticate"]) == ((401, "missing_api_key"), 'Bearer realm="ebbtide"')
        assert ended(connection)
    assert upstream.untouched


def test_of_many_connections_without_a_key_the_oldest_make_room_and_one_with_a_key_stays(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    with connected(gateway) as known, contextlib.ExitStack() as silent:
        known.sendall(WITH_KEY + length(BODY) + BODY)
        assert answer(known)[0] == 200
        others = [silent.enter_context(connected(gateway)) for _ in range(60)]
        assert ended(others[0])
        # within the flood somebody new is answered, and who has shown a key is still there
        assert httpx.get(gateway.url + "/health/liveness", timeout=LATE).status_code == 200
        known.sendall(WITH_KEY + length(BODY) + BODY)
        assert answer(known)[0] == 200


def test_a_connection_that_has_shown_a_key_is_kept_while_it_rests(gateway: kit.Gateway) -> None:
    with connected(gateway) as known, connected(gateway) as unknown:
        known.sendall(WITH_KEY + length(BODY) + BODY)
        assert answer(known)[0] == 200
        assert ended(unknown), "the deadline for those without a key is over"
        known.sendall(WITH_KEY + length(BODY) + BODY)
        assert answer(known)[0] == 200


def test_a_slow_upload_with_a_key_takes_as_long_as_it_takes_while_something_comes(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": "x" * 60_000}]}).encode()
    with connected(gateway) as connection:
        connection.sendall(WITH_KEY + length(body))
        started = time.monotonic()
        for at in range(0, len(body), 7_000):
            connection.sendall(body[at : at + 7_000])
            time.sleep(SECONDS / 4)
        assert time.monotonic() - started > SECONDS
        assert answer(connection)[0] == 200
    assert len(upstream.received) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_is_held_for_longer_than_every_deadline_is_answered(
    gateway: kit.Gateway, upstream: kit.Upstream, stream: bool
) -> None:
    started = time.monotonic()

    def long_enough(_: int = 0) -> bool:
        return time.monotonic() - started > 2.5 * SECONDS

    async def until_up(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        while not long_enough():
            await asyncio.sleep(0.05)
        return await kit.says(200, "")(request, body)

    upstream.knock_script = [until_up]
    body = json.dumps({"model": "small", "messages": kit.HI, "stream": stream}).encode()
    headers = {"authorization": f"Bearer {KEY}"}
    reply = httpx.post(gateway.url + "/v1/chat/completions", content=body, headers=headers, timeout=30)
    assert reply.status_code == 200
    assert time.monotonic() - started > 2.5 * SECONDS


def test_a_client_that_reads_nothing_of_its_answer_is_let_go(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    async def floods(request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(2_000):
            await response.write(b"data: " + b"x" * 65_536 + b"\n\n")
        return response

    upstream.script = [floods]
    with connected(gateway) as connection:
        connection.sendall(WITH_KEY + length(BODY) + BODY)
        kit.until(lambda: upstream.received and upstream.received[0].cut_off, "the engine's answer is cut off", LATE)


def test_the_bodies_of_all_requests_together_are_bounded(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    go_on = threading.Event()

    async def until_up(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        while not go_on.is_set():
            await asyncio.sleep(0.02)
        return await kit.says(200, "")(request, body)

    def ask(size: int) -> httpx.Response:
        body = {"model": "small", "messages": [{"role": "user", "content": "x" * size}]}
        headers = {"authorization": f"Bearer {KEY}"}
        return httpx.post(gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=30)

    upstream.knock_script = [until_up]
    with ThreadPoolExecutor() as pool:
        held = pool.submit(ask, 190_000)
        kit.until(lambda: upstream.knocks, "held")
        refused = ask(190_000)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_bodies")
        assert int(refused.headers["retry-after"]) > 0
        assert ask(50_000).status_code == 200
        go_on.set()
        assert held.result(LATE).status_code == 200
    assert ask(190_000).status_code == 200, "what was held is given back"
