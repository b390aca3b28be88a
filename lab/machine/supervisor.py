"""PID 1 of the lab machine: starts its parts, restarts what dies, reaps orphans, ends everything on SIGTERM/SIGINT.

Run inside fresh namespaces as ``python supervisor.py SPEC.json``. Standard library only: it must start in any Python.
SPEC: ``{"hostname": str, "setup": [[argv…]…], "processes": [{"name", "argv", "log", "env", "after"}…]}``; a process
with ``after`` (``host:port``) is started once something answers there, at the latest after AFTER_SECONDS.
When this process ends, the kernel ends every process of the namespaces and takes their mounts and devices with them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESTART_SECONDS = (0.5, 1.0, 2.0, 5.0)
STEADY_SECONDS = 30.0
STOP_SECONDS = 8.0
AFTER_SECONDS = 15.0
POLL_SECONDS = 0.2


class Part:
    """One long-running program and when it may be started again."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.pid: int | None = None
        self.started = 0.0
        self.failures = 0
        self.due = 0.0
        self.patient_until = time.monotonic() + AFTER_SECONDS

    def may_start(self) -> bool:
        """Return True if the part is due and its ``after`` address answers (or has had its time to)."""
        if time.monotonic() < self.due:
            return False
        after = self.spec.get("after")
        return not after or time.monotonic() > self.patient_until or answers(after)

    def start(self) -> None:
        log = os.open(self.spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self.pid = os.posix_spawnp(
                self.spec["argv"][0],
                self.spec["argv"],
                {**os.environ, **self.spec.get("env", {})},
                file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
                setsid=True,
                setsigmask=[],
                setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGCHLD],
            )
        finally:
            os.close(log)
        self.started = time.monotonic()
        print(f"started {self.spec['name']} as {self.pid}", flush=True)

    def ended(self, status: int) -> None:
        lived = time.monotonic() - self.started
        self.failures = 0 if lived > STEADY_SECONDS else self.failures + 1
        pause = RESTART_SECONDS[min(self.failures, len(RESTART_SECONDS) - 1)]
        self.due = time.monotonic() + pause
        self.pid = None
        print(f"{self.spec['name']} ended with {status} after {lived:.1f} s; again in {pause} s", flush=True)


def supervise(parts: list[Part], stopping: list[bool]) -> None:
    """Start what is due and collect what ended, until ``stopping`` has an entry."""
    while not stopping:
        for part in parts:
            if part.pid is None and part.may_start():
                part.start()
        collect(parts)
        signal.sigtimedwait({signal.SIGCHLD}, POLL_SECONDS)


def answers(address: str) -> bool:
    """Return True if a connection to ``host:port`` is accepted."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=POLL_SECONDS).close()
    except OSError:
        return False
    return True


def collect(parts: list[Part]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        for part in parts:
            if part.pid == pid:
                part.ended(status)


def stop(parts: list[Part]) -> None:
    """Stop the parts, last started first, so that etcd writes its last page after all others are gone."""
    for part in reversed(parts):
        if part.pid is None:
            continue
        os.kill(part.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while part.pid is not None and time.monotonic() < deadline:
            collect(parts)
            if part.pid is not None:
                signal.sigtimedwait({signal.SIGCHLD}, 0.2)


def main(spec_file: str) -> int:
    spec = json.loads(Path(spec_file).read_text())
    stopping: list[bool] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.append(True))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    socket.sethostname(spec["hostname"])
    for argv in spec["setup"]:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"set-up failed: {' '.join(argv)}: {done.stderr.strip()}", flush=True)
            return 1
    parts = [Part(process) for process in spec["processes"]]
    supervise(parts, stopping)
    stop(parts)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
