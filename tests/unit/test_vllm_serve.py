"""The engine image's entry point, with a stand-in for vLLM's server: what a SIGTERM does to it, and when."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.gateway_kit import free_port, until
from tests.unit.serve_kit import serve

# deaf to SIGTERM as vLLM is while it loads; once it listens it takes its time to go, twice told or not
_ENGINE = """
import os, pathlib, signal, socket, sys, time
mode, port, told = sys.argv[1], int(sys.argv[-1]), 0
def hear(*_):
    global told
    told += 1
signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "loads" else hear)
if mode == "ends":
    sys.exit(7)
if mode == "serves":
    door = socket.create_server(("127.0.0.1", port))
pathlib.Path("up.part").write_text(str(os.getpid()))
pathlib.Path("up.part").rename("up")
while not told:
    time.sleep(0.02)
if mode == "serves":
    door.close()
pathlib.Path("told").touch()
until = time.monotonic() + 1
while time.monotonic() < until:
    time.sleep(0.02)
pathlib.Path("drained").write_text(str(told))
"""

Start = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Run the entry point with the stand-in."""

    def run(mode: str) -> subprocess.Popen[bytes]:
        return serve(tmp_path, _ENGINE, mode, "--port", str(free_port()))

    return run


def test_an_engine_that_loads_is_gone_at_once_when_told_to_go(start: Start, tmp_path: Path) -> None:
    serving = start("loads")
    engine = int(until((tmp_path / "up").exists, "the engine runs") and (tmp_path / "up").read_text())
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(10) == 128 + signal.SIGKILL, "143: before the shell had begun to watch it"
    with pytest.raises(ProcessLookupError):
        os.kill(engine, 0)


def test_an_engine_that_serves_is_told_to_go_and_may_finish(start: Start, tmp_path: Path) -> None:
    serving = start("serves")
    until((tmp_path / "up").exists, "the engine listens")
    serving.send_signal(signal.SIGTERM)
    until((tmp_path / "told").exists, "the engine was told")
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(10) == 0
    assert int((tmp_path / "drained").read_text()) == 2


def test_a_headless_engine_is_vllms_own_command_and_is_gone_at_once_when_told_to_go(tmp_path: Path) -> None:
    """It listens nowhere, so nobody's answer is lost with it but its leader's, which is of no use without it."""
    program = "import pathlib, sys; pathlib.Path('argv').write_text(' '.join(sys.argv[1:]))\n" + _ENGINE
    words = ["loads", "--headless", "--port", str(free_port())]
    serving = serve(tmp_path, program.replace("sys.argv[1],", "sys.argv[2],"), *words)
    until((tmp_path / "up").exists, "the engine runs")
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(10) == 128 + signal.SIGKILL
    assert (tmp_path / "argv").read_text() == " ".join(["serve", *words])
    assert (tmp_path / "module").read_text() == "vllm.entrypoints.cli.main"


def test_how_the_engine_ended_is_how_the_container_ends(start: Start) -> None:
    assert start("ends").wait(10) == 7
