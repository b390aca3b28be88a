"""An engine that waits for its turn on a shared card: what it answers meanwhile, when it starts, what ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.workspace import PROJECT
from tests.unit import keeper_kit
from tests.unit.gateway_kit import free_port, until
from tests.unit.serve_kit import serve

from ebbtide_keeper.gpu_turns import parse_state  # isort: skip

assert keeper_kit

TURN = PROJECT / "images/vllm/turn.py"

_ENGINE = """
import pathlib, socket, sys
door = socket.create_server(("0.0.0.0", int(sys.argv[-1])))
pathlib.Path("up").touch()
door.accept()
"""


class Serving:
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        variables = {"EBBTIDE_TURNS": "1", "EBBTIDE_TURN_PROGRAM": str(TURN)}
        self.process = serve(folder, _ENGINE, "--port", str(self.port), **variables)
        self.up = folder / "up"
        until(self._listens, "its door is open")

    def _listens(self) -> bool:
        with socket.socket() as link:
            return link.connect_ex(("127.0.0.1", self.port)) == 0

    def ask(self, method: str, path: str) -> httpx.Response:
        return httpx.request(method, f"http://127.0.0.1:{self.port}{path}", timeout=5, trust_env=False)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    server = Serving(tmp_path)
    yield server
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait(5)


def test_it_is_not_ready_says_that_it_waits_and_starts_when_it_is_given_the_card(serving: Serving) -> None:
    assert serving.ask("GET", "/health").status_code == 503
    assert serving.ask("POST", "/v1/chat/completions").status_code == 503
    assert serving.ask("POST", "/sleep?level=1&mode=wait").status_code == 503
    metrics = serving.ask("GET", "/metrics?name[]=vllm:engine_sleep_state")
    assert (metrics.status_code, parse_state(metrics.text)) == (200, "waiting")
    assert not serving.up.exists()
    assert serving.ask("POST", "/wake_up").status_code == 200
    until(serving.up.exists, "the engine listens on the same port")
    assert serving.process.poll() is None


def test_who_connects_and_says_nothing_keeps_nobody_waiting(serving: Serving) -> None:
    with socket.create_connection(("127.0.0.1", serving.port)):
        assert serving.ask("GET", "/health").status_code == 503
        assert serving.ask("POST", "/wake_up").status_code == 200
        until(serving.up.exists, "the engine listens")


def test_told_to_go_while_it_waits_it_is_gone_at_once(serving: Serving) -> None:
    serving.process.send_signal(signal.SIGTERM)
    assert serving.process.wait(5) == 128 + signal.SIGTERM
    until(lambda: not serving._listens(), "its door is closed")
    assert not serving.up.exists()
