"""Plain processes that belong to one rehearsal: each carries a mark in its environment, by which it is found again.

The mark names the folder and the process that started it, so that what a killed rehearsal left is not confused with
what a running one still needs; nothing is ever ended by its program's name.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from infra.errors import LocalProblem
from lab.machine.namespaces import ProcessId

MARK: Final = "EBBTIDE_REHEARSAL"
_STOP_SECONDS: Final = 15.0


@dataclass(frozen=True)
class Part:
    """One program with its arguments; the log is ``<logs>/<name>.log``."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Marked:
    """A process found by its mark, with its folder and the process that started it."""

    process: ProcessId
    root: Path
    owner: ProcessId


def _own_id() -> ProcessId:
    process = ProcessId.of(os.getpid())
    assert process is not None
    return process


def marked() -> list[Marked]:
    """Return every process of every rehearsal on this machine, as far as this user may see it."""
    processes = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError):
            environment = (entry / "environ").read_bytes().split(b"\0")
            mark = next((each for each in environment if each.startswith(f"{MARK}=".encode())), None)
            process = ProcessId.of(int(entry.name))
            if mark and process:
                pid, started, root = mark.decode().partition("=")[2].split(" ", 2)
                processes.append(Marked(process, Path(root), ProcessId(int(pid), int(started))))
    return processes


def end_stale() -> int:
    """End the processes that killed rehearsals left behind; return how many there were."""
    stale = [each.process for each in marked() if not each.owner.alive()]
    for process in stale:
        process.end(_STOP_SECONDS)
    return len(stale)


class Parts:
    """The running programs of one folder, ended last started first."""

    def __init__(self, root: Path, logs: Path) -> None:
        self._root, self._logs = root, logs
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def refuse_company(self) -> None:
        """Raise ``LocalProblem`` if another rehearsal runs in the folder: the two would write over each other."""
        others = {each.owner.pid for each in marked() if each.root == self._root and each.owner.alive()}
        if others:
            pids = ", ".join(map(str, sorted(others)))
            raise LocalProblem(
                f"a rehearsal runs already in {self._root} (process {pids})",
                "wait for it or end it, or give this one a folder of its own",
            )

    def start(self, part: Part) -> None:
        """Start a part; its output goes to its log. Raises ``LocalProblem`` when its program is missing."""
        owner = _own_id()
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._root),
            "LANG": "C.UTF-8",
            **part.environment,
            MARK: f"{owner.pid} {owner.started} {self._root}",
        }
        try:
            with self.log(part.name).open("ab") as log:
                process = subprocess.Popen(
                    part.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self._root,
                    env=environment,
                    start_new_session=True,  # a Ctrl-C is for the rehearsal, which ends its parts in order
                )
        except FileNotFoundError:
            raise LocalProblem(
                f"{part.argv[0]} is missing", "run `ebbtide local up` or `ebbtide local tools`, then this again"
            ) from None
        self._running.append((part.name, process))

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def pids(self) -> dict[str, int]:
        """Return the running programs' pids by name."""
        return {name: process.pid for name, process in self._running if process.poll() is None}

    def refuse_dead(self) -> None:
        """Raise ``LocalProblem`` with the log's end when a program has ended by itself."""
        for name, process in self._running:
            if process.poll() is not None:
                raise LocalProblem(
                    f"{name} ended with status {process.returncode}", "see the lines above", self.log(name)
                )

    def end(self, name: str) -> None:
        """End one part; nothing happens when it does not run."""
        self._end([each for each in self._running if each[0] == name])

    def end_all(self) -> None:
        """End all parts, last started first, so that etcd writes its last page after all others are gone."""
        self._end(list(self._running))

    def _end(self, those: list[tuple[str, subprocess.Popen[bytes]]]) -> None:
        for each in reversed(those):
            _, process = each
            _quietly(process.terminate)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                _quietly(process.kill)
                process.wait(_STOP_SECONDS)
            self._running.remove(each)


def _quietly(action: Callable[[], None]) -> None:
    with contextlib.suppress(ProcessLookupError):
        action()
