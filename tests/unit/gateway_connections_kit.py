"""A gateway with short deadlines before both fakes, and what a test says to it over a raw socket."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit import gateway_kit as kit

KEY = "sk-demo-secret"
KEYS, GROUPS = {"demo": (KEY, "everyone")}, {"everyone": ["*"]}
SECONDS = 2.0  # every deadline of the gateway under test
LATE = 12.0  # a deadline of the test's own, on a busy machine
LIMITS = {
    "maxBodyBytes": 200_000,
    "maxHeldBytes": 300_000,
    "headSeconds": SECONDS,
    "idleSeconds": SECONDS,
    "silentBodySeconds": SECONDS,
    "readerSeconds": SECONDS,
    "keylessConnections": 40,
    "shutdownSeconds": 60,
}
BODY = json.dumps({"model": "small", "messages": kit.HI}).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
WITH_KEY = HEAD + b"Authorization: Bearer " + KEY.encode() + b"\r\n"
MODELS = [{"name": "small", "host": "small.ebbtide-models", "gpus": 1, "holdSeconds": 30, "mostSequences": 48}]


def fixtures() -> tuple[Any, Any, Any, Any]:
    """Return the fixtures ``upstream``, ``kube``, ``gateway`` and ``clean``: the upstream is reset for each test."""
    upstream, kube, gateway = kit.fixtures(MODELS, kit.key_file(KEYS, GROUPS), replicas={"small": 1}, limits=LIMITS)

    @pytest.fixture(autouse=True)
    def clean(upstream: kit.Upstream) -> None:
        upstream.reset()

    return upstream, kube, gateway, clean


@contextlib.contextmanager
def connected(gateway: kit.Gateway) -> Iterator[socket.socket]:
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.settimeout(LATE)
        yield connection


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The next whole answer on it."""
    stream = connection.makefile("rb")
    status = int(stream.readline().split()[1])
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.strip().lower()] = value.strip()
    return status, headers, stream.read(int(headers.get("content-length", 0)))


def code(response: tuple[int, dict[str, str], bytes]) -> tuple[int, Any]:
    return response[0], json.loads(response[2])["error"]["code"]


def ended(connection: socket.socket) -> bool:
    """Whether the other side ends it, by whatever means, in time."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return True


def length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % len(body)
