"""The local machine's first process, run for real: it keeps its parts alive, and ends them in the right order.

It sets a host name, so it runs in a host-name namespace of its own (needs root); the other namespaces are
``test_local_machine.py``'s.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.machine import supervisor

STAYS = 'trap "echo $0 >> {order}; exit 0" TERM; echo up; while :; do sleep 0.05; done'


def wait_for(check: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        result = check()
        if result:
            return result
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


class Supervised:
    """A supervisor in a host-name namespace of its own; what it prints is in ``log``."""

    def __init__(self, folder: Path, processes: list[dict[str, Any]], setup: list[list[str]]) -> None:
        assert os.geteuid() == 0, "these tests need root: they make a host-name namespace"
        self.folder, self.log = folder, folder / "supervisor.log"
        spec = folder / "spec.json"
        spec.write_text(json.dumps({"hostname": "supervised", "setup": setup, "processes": processes}))
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                ["unshare", "--uts", sys.executable, "-I", supervisor.__file__, str(spec)], stdout=out, stderr=out
            )

    def said(self, pattern: str) -> list[str]:
        return re.findall(pattern, self.log.read_text())

    def pid(self, name: str) -> int:
        return int(self.said(rf"started {name} as (\d+)")[-1])


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    started: list[Supervised] = []

    def start(
        programs: dict[str, str],
        setup: list[list[str]] | None = None,
        after: dict[str, str] | None = None,
        **env: str,
    ) -> Supervised:
        processes = [
            {
                "name": name,
                "argv": ["sh", "-c", script, name],
                "log": str(tmp_path / f"{name}.log"),
                "env": env,
                "after": (after or {}).get(name),
            }
            for name, script in programs.items()
        ]
        started.append(Supervised(tmp_path, processes, setup or []))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.terminate()
            each.process.wait(30)


def state_of(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def test_parts_end_last_started_first_and_the_supervisor_with_them(
    run: Callable[..., Supervised], tmp_path: Path
) -> None:
    order = tmp_path / "order"
    machine = run({name: STAYS.format(order=order) for name in ("etcd", "api", "kubelet")})
    wait_for(lambda: all((tmp_path / f"{n}.log").exists() and "up" in (tmp_path / f"{n}.log").read_text()
                         for n in ("etcd", "api", "kubelet")), "all three to be up")  # fmt: skip
    pids = [machine.pid(name) for name in ("etcd", "api", "kubelet")]
    machine.process.send_signal(signal.SIGTERM)
    assert machine.process.wait(30) == 0
    assert order.read_text().split() == ["kubelet", "api", "etcd"]
    assert [state_of(pid) for pid in pids] == [None, None, None]


def test_what_dies_is_started_again_with_a_growing_pause_and_leaves_no_zombie(
    run: Callable[..., Supervised], tmp_path: Path
) -> None:
    machine = run({"short": "echo here; exit 3", "steady": STAYS.format(order=tmp_path / "order")})
    wait_for(lambda: len(machine.said("short ended with")) >= 2, "two ends")
    assert machine.said(r"short ended with \d+ after [\d.]+ s; again in ([\d.]+) s")[:2] == ["1.0", "2.0"]
    assert len(machine.said("started steady")) == 1
    assert (tmp_path / "short.log").read_text().splitlines()[:2] == ["here", "here"]
    children = Path(f"/proc/{machine.process.pid}/task/{machine.process.pid}/children").read_text().split()
    assert "Z" not in {state_of(int(pid)) for pid in children}


def test_a_killed_part_comes_back_as_another_process(run: Callable[..., Supervised], tmp_path: Path) -> None:
    machine = run({"part": STAYS.format(order=tmp_path / "order")})
    wait_for(lambda: machine.said("started part"), "the start")
    first = machine.pid("part")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(machine.said("started part")) == 2, "the second start")
    assert machine.pid("part") != first
    assert state_of(machine.pid("part")) is not None


def test_parts_get_their_own_variables_and_keep_their_logs_from_others(
    run: Callable[..., Supervised], tmp_path: Path
) -> None:
    run({"part": 'echo "colour=$COLOUR host=$(hostname)"; exec sleep 60'}, COLOUR="blue")
    log = tmp_path / "part.log"
    wait_for(lambda: log.exists() and log.read_text(), "the log")
    assert log.read_text() == "colour=blue host=supervised\n"
    assert log.stat().st_mode & 0o077 == 0
    assert os.uname().nodename != "supervised"


def test_a_set_up_that_fails_is_said_and_starts_nothing(run: Callable[..., Supervised]) -> None:
    machine = run({"part": "exec sleep 60"}, setup=[["true"], ["sh", "-c", "echo no such device >&2; exit 2"]])
    assert machine.process.wait(20) == 1
    assert machine.said("set-up failed: .*no such device")
    assert not machine.said("started part")


def test_the_pause_grows_to_five_seconds_and_starts_over_after_a_steady_life(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: now[0])
    part = supervisor.Part({"name": "p"})
    pauses = []
    for lived in (0.1, 0.1, 0.1, 0.1, 31.0, 0.1):
        part.started = now[0]
        now[0] += lived
        part.ended(0)
        pauses.append(round(part.due - now[0], 3))
    assert pauses == [1.0, 2.0, 5.0, 5.0, 0.5, 1.0]


def test_what_needs_an_address_is_started_once_somebody_answers_there(
    run: Callable[..., Supervised], tmp_path: Path
) -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{door.getsockname()[1]}"
        machine = run({"first": STAYS.format(order=tmp_path / "o"), "second": "sleep 60"}, after={"second": address})
        wait_for(lambda: machine.said("started first"), "the first part")
        with pytest.raises(AssertionError, match="in vain"):
            wait_for(lambda: machine.said("started second"), "the second part", seconds=1.5)
        door.listen()
        wait_for(lambda: machine.said("started second"), "the second part")
