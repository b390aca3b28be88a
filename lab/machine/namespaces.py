"""The lab machine: one set of private namespaces (mounts, processes, network, host name) that holds the whole cluster.

The host sees one process tree and nothing else: no mount, network device or firewall rule of the cluster exists outside
it, and the kernel takes all of them away with the tree, however it ended. Only cgroups need explicit clearing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.atomic_write import atomic_write
from infra.errors import LocalProblem
from infra.workspace import Paths
from lab.machine.debian import SYSTEM_PATH

CGROUP = "ebbtide"
KUBELET = Path("/var/lib/kubelet")
START_SECONDS = 15.0
STOP_SECONDS = 60.0


@dataclass(frozen=True)
class ProcessId:
    """A pid and its start time in clock ticks since boot: together they are never reused."""

    pid: int
    started: int

    @staticmethod
    def of(pid: int) -> ProcessId | None:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in ("Z", "X") else ProcessId(pid, int(fields[19]))

    def alive(self) -> bool:
        return ProcessId.of(self.pid) == self

    def started_at(self) -> datetime:
        """Return the start time, rounded down to the second: as coarse as Kubernetes reports a container's start."""
        with Path("/proc/uptime").open() as uptime:
            booted = time.time() - float(uptime.read().split()[0])
        return datetime.fromtimestamp(int(booted + self.started / os.sysconf("SC_CLK_TCK")), UTC)

    def save(self, file: Path) -> None:
        atomic_write(file, f"{self.pid} {self.started}\n")

    @staticmethod
    def load(file: Path) -> ProcessId | None:
        """Return the process that ``file`` names if it still runs."""
        try:
            pid, started = (int(part) for part in file.read_text().split())
        except (FileNotFoundError, ValueError):
            return None
        process = ProcessId(pid, started)
        return process if process.alive() else None

    def end(self, seconds: float) -> None:
        """Send SIGTERM, wait, then send SIGKILL; return when the process is gone."""
        for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
            deadline = time.monotonic() + patience
            while self.alive() and time.monotonic() < deadline:
                # repeated, because a namespace's first process never gets a signal sent before it had a handler
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)
                time.sleep(0.05)
            if not self.alive():
                return


def _pid_file(paths: Paths) -> Path:
    return paths.state / "machine.pid"


def running(paths: Paths) -> ProcessId | None:
    """Return the machine's first process, by its pid on the host, if it runs."""
    return ProcessId.load(_pid_file(paths))


def strays(script: str, mark: str) -> list[ProcessId]:
    """Return our processes by their command line: ``script`` (a file's name) run with ``mark`` as a word. This also
    finds those that started just before an interruption, so that their pid was never written."""
    processes = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if mark in words and any(Path(word).name == script for word in words):
                process = ProcessId.of(int(entry.name))
                processes += [process] if process else []
    return processes


def _spec_file(paths: Paths) -> Path:
    return paths.state / "machine.json"


def start(spec: dict[str, Any], paths: Paths) -> ProcessId:
    """Make the namespaces and start the supervisor in them. A machine that runs already is left alone."""
    already = running(paths)
    if already:
        return already
    _end_strays(paths)
    clear_cgroups()
    make_cgroups(spec["cgroups"])
    paths.logs.mkdir(parents=True, exist_ok=True)
    spec_file = _spec_file(paths)
    spec_file.write_text(json.dumps(spec, indent=1))
    spec_file.chmod(0o600)
    log = paths.logs / "machine.log"
    supervisor = Path(__file__).with_name("supervisor.py")
    with log.open("a") as out:
        launcher = subprocess.Popen(
            # fmt: off
            [
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "--pid",
                "--net",
                "--uts",
                "--ipc",
                "--fork",
                "--kill-child",
                "--mount-proc",
                sys.executable,
                "-I",
                str(supervisor),
                str(spec_file),
            ],
            # fmt: on
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd="/",
            env={"PATH": SYSTEM_PATH, "HOME": str(paths.cluster), "LANG": "C.UTF-8"},
        )
    deadline = time.monotonic() + START_SECONDS
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
    while time.monotonic() < deadline and launcher.poll() is None:
        pids = children.read_text().split()
        if pids:
            first = ProcessId.of(int(pids[0]))
            if first:
                first.save(_pid_file(paths))
                return first
        time.sleep(0.02)
    raise LocalProblem(
        "the private namespaces for the cluster could not be made",
        "run as root on a Linux that allows namespaces (`unshare --mount --pid --net --fork true` must work)",
        log,
    )


def stop(paths: Paths) -> None:
    """End the machine and everything in it. Safe when nothing runs."""
    process = running(paths)
    if process:
        process.end(STOP_SECONDS)
    _end_strays(paths)
    _pid_file(paths).unlink(missing_ok=True)
    clear_cgroups()
    # the mount point of a tmpfs inside the machine. rmdir also removes what is mounted on it in other namespaces, so it
    # waits while a machine of another state folder still has processes; it refuses a folder with files in it
    if not cgroups_left():
        with contextlib.suppress(OSError):
            KUBELET.rmdir()


def _end_strays(paths: Paths) -> None:
    """End a machine whose pid was never written: its launcher takes it along (``--kill-child``)."""
    for stray in strays("supervisor.py", str(_spec_file(paths))):
        stray.end(STOP_SECONDS)


def inside(paths: Paths, argv: Sequence[str], *, network_only: bool = False) -> list[str]:
    """Return ``argv`` as a command that runs in the machine (or only in its network, with the host's files).

    Raises ``LocalProblem`` when no machine runs.
    """
    process = running(paths)
    if not process:
        raise LocalProblem("the local cluster is not running", "run `make local` or `ebbtide local up`")
    spaces = ["--net"] if network_only else ["--mount", "--pid", "--net", "--uts", "--ipc"]
    return ["nsenter", "--target", str(process.pid), *spaces, "--", *argv]


def clear_cgroups(seconds: float = 10.0) -> None:
    """Remove the cluster's cgroups in every hierarchy, deepest first; wait up to ``seconds`` for the last processes of
    a killed machine to leave them."""
    deadline = time.monotonic() + seconds
    while True:
        left = [folder for root in _cgroup_roots() for folder in _deepest_first(root / CGROUP)]
        for folder in left:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if not any(folder.exists() for folder in left) or time.monotonic() > deadline:
            return
        time.sleep(0.1)


def make_cgroups(names: Sequence[str]) -> None:
    """Create ``/ebbtide/<name>`` in every hierarchy: kubelet refuses a root that is not there."""
    for root in _cgroup_roots():
        parent = root / CGROUP
        _delegate(root)
        for folder in (parent, *(parent / name for name in names)):
            folder.mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):
                # a v1 cpuset starts empty and then takes no process
                own = folder / file
                if own.exists() and not (root / "cgroup.controllers").exists() and not own.read_text().strip():
                    own.write_text((folder.parent / file).read_text())
            _delegate(folder)


def _delegate(folder: Path) -> None:
    """Pass every controller of a cgroup v2 folder on to the folders below it. They are enabled one by one, because one
    refusal (the root of a container, a controller in use) must not lose the rest. There is nothing to do on v1."""
    controllers = folder / "cgroup.controllers"
    for name in controllers.read_text().split() if controllers.exists() else ():
        with contextlib.suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(f"+{name}")


def cgroups_left() -> list[Path]:
    return [root / CGROUP for root in _cgroup_roots() if (root / CGROUP).exists()]


def _cgroup_roots() -> list[Path]:
    base = Path("/sys/fs/cgroup")
    if (base / "cgroup.controllers").exists():
        return [base]
    return [folder for folder in sorted(base.iterdir()) if folder.is_dir() and not folder.is_symlink()]


def _deepest_first(root: Path) -> list[Path]:
    if not root.exists():
        return []
    return sorted((Path(at) for at, _, _ in os.walk(root)), key=lambda p: len(p.parts), reverse=True)
