"""A gateway that is told to go: what it ends at once, what it waits for, and the time that its balancers get."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway_venv import gateway_python
from tests.unit import gateway_connections_kit
from tests.unit import gateway_kit as kit
from tests.unit.gateway_connections_kit import (
    BODY,
    GROUPS,
    HEAD,
    KEYS,
    LATE,
    LIMITS,
    MODELS,
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


@pytest.fixture
def own_gateway(upstream: kit.Upstream, kube: kit.KubeApi, tmp_path: Path) -> Iterator[kit.Gateway]:
    """One that a test may end."""
    settings = kit.settings_of(upstream, kube, MODELS, limits=LIMITS)
    with kit.serving(kit.start(gateway_python(), tmp_path, settings, kit.key_file(KEYS, GROUPS))) as process:
        yield process


def test_told_to_go_it_ends_at_once_what_is_no_admitted_request_and_waits_for_what_is(
    own_gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    go_on = threading.Event()
    upstream.script = [kit.streams(3, gate=lambda number: number == 0 or go_on.is_set())]
    unfinished = [b"", b"POST / HTTP/1.1\r\n", WITH_KEY + b"Content-Length: 100\r\n\r\n{", HEAD + b"a: b\r\n"]
    with contextlib.ExitStack() as open_:
        idle = [open_.enter_context(connected(own_gateway)) for _ in unfinished]
        for connection, sent in zip(idle, unfinished, strict=True):
            connection.sendall(sent)
        used = open_.enter_context(connected(own_gateway))
        used.sendall(WITH_KEY + length(b"{}") + b"{}")
        assert answer(used)[0] == 400
        streaming = open_.enter_context(connected(own_gateway))
        body = json.dumps({"model": "small", "messages": kit.HI, "stream": True}).encode()
        streaming.sendall(WITH_KEY + length(body) + body)
        received = streaming.recv(65536)
        assert received.startswith(b"HTTP/1.1 200 OK")
        own_gateway.process.terminate()
        started = time.monotonic()
        assert all(ended(connection) for connection in (*idle, used))
        assert time.monotonic() - started < SECONDS, "before any deadline of theirs"
        assert own_gateway.process.poll() is None
        go_on.set()
        while piece := streaming.recv(65536):
            received += piece
        assert b"[DONE]" in received
        assert received.endswith(b"0\r\n\r\n")
        assert own_gateway.process.wait(LATE) == 0


def test_told_to_go_it_is_gone_at_once_when_only_slow_clients_are_left(own_gateway: kit.Gateway) -> None:
    """The pod's grace period is a quarter of an hour, and ``destroy`` waits for the pod."""
    with connected(own_gateway) as half, connected(own_gateway) as silent, connected(own_gateway) as uploading:
        half.sendall(HEAD)
        uploading.sendall(WITH_KEY + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n{")
        assert uploading.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n", "the body is being read"
        own_gateway.process.terminate()
        assert own_gateway.process.wait(LATE) == 0
        response = answer(uploading)
        assert (code(response), response[1].get("connection")) == ((503, "stopping"), "close"), response
        assert ended(half)
        assert ended(silent)


@contextlib.contextmanager
def told_to_go(
    upstream: kit.Upstream, kube: kit.KubeApi, folder: Path, leave_seconds: float
) -> Iterator[tuple[kit.Gateway, socket.socket]]:
    """A gateway that was just told to go, and a connection that a balancer kept open to it."""
    settings = kit.settings_of(upstream, kube, MODELS, limits=LIMITS | {"leaveSeconds": leave_seconds})
    process = kit.start(gateway_python(), folder, settings, kit.key_file(KEYS, GROUPS))
    with kit.serving(process) as up, connected(up) as kept:
        kept.sendall(WITH_KEY + length(BODY) + BODY)
        status, headers, _ = answer(kept)
        assert (status, headers.get("connection")) == (200, None)
        up.process.terminate()
        kit.until(lambda: httpx.get(up.url + "/health/readiness").status_code == 503, "balancers are told", LATE)
        yield up, kept


def test_while_its_balancer_may_not_know_yet_a_gateway_that_goes_answers_and_keeps_no_connection(
    upstream: kit.Upstream, kube: kit.KubeApi, tmp_path: Path
) -> None:
    with told_to_go(upstream, kube, tmp_path, leave_seconds=600) as (gateway, kept), connected(gateway) as new:
        assert httpx.get(gateway.url + "/health/liveness").status_code == 200
        for connection in (kept, new):
            connection.sendall(WITH_KEY + length(BODY) + BODY)
            status, headers, _ = answer(connection)
            assert (status, headers["connection"]) == (200, "close")
            assert ended(connection)
        assert gateway.process.poll() is None
        gateway.process.terminate()
        assert gateway.process.wait(LATE) == 0, "a second signal ends the wait for balancers"


def test_a_request_that_comes_while_the_gateway_goes_is_held_and_answered(
    upstream: kit.Upstream, kube: kit.KubeApi, tmp_path: Path
) -> None:
    go_on = threading.Event()
    with told_to_go(upstream, kube, tmp_path, leave_seconds=600) as (gateway, kept), connected(gateway) as new:
        upstream.script = [kit.streams(3, gate=lambda number: number == 0 or go_on.is_set())]
        body = json.dumps({"model": "small", "messages": kit.HI, "stream": True}).encode()
        new.sendall(WITH_KEY + length(body) + body)
        received = new.recv(65536)
        assert received.startswith(b"HTTP/1.1 200 OK")
        gateway.process.terminate()  # the time for balancers is over
        assert ended(kept), "a connection without a request"
        assert gateway.process.poll() is None
        go_on.set()
        while piece := new.recv(65536):
            received += piece
        assert b"[DONE]" in received
        assert gateway.process.wait(LATE) == 0


def test_a_gateway_that_goes_leaves_when_its_balancers_had_their_time(
    upstream: kit.Upstream, kube: kit.KubeApi, tmp_path: Path
) -> None:
    with told_to_go(upstream, kube, tmp_path, leave_seconds=SECONDS) as (gateway, kept):
        assert ended(kept)
        assert gateway.process.wait(LATE) == 0
