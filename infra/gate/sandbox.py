"""Sandbox for a stranger's program: no credentials, an empty HOME and, where namespaces are available, no network."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from infra.planner.judgement import SKIP

SECONDS = 240.0
LARGEST_BYTES = 64 * 2**20
# A stack file that the planner refuses still gets a graph, so that everything about it is reported at once.
JUDGED_BESIDE = "the gate judges the stack file itself"
# A namespace of its own: no network, no sight of other processes (whose environment could be read under /proc).
_NAMESPACE = ("unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--mount-proc", "--kill-child")


# Within it the gate's own folder is hidden, only the run's own folder is writable, and a second namespace keeps that
# from being undone.
_COVER = (
    "sh", "-c",
    'mount --bind "$1" "$1" && mount -t tmpfs tmpfs "$0" && mount -o remount,bind,ro / && shift'
    ' && exec unshare --user --map-root-user --mount "$@"',
)  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """A recorded graph. ``graph`` is None if the program gave none; ``problem`` says why, in the recorder's own words
    if it left any."""

    graph: list[dict[str, Any]] | None
    problem: str = ""


@cache
def namespaces() -> bool:
    """Return True if this machine can shut a process in."""
    if shutil.which(_NAMESPACE[0]) is None:
        return False
    with tempfile.TemporaryDirectory() as covered, tempfile.TemporaryDirectory() as room:
        shut = [*_NAMESPACE, *_COVER, covered, room, "true"]
        return subprocess.run(shut, capture_output=True, check=False).returncode == 0


def environment(home: Path) -> dict[str, str]:
    """Return the program's whole environment, with nothing of this machine's in it."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_CONFIG_HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
    }


def record(tree: Path, stack: str, room: Path, covered: Path, *more: str) -> Recorded:
    """Record the graph of ``stack`` in the checkout ``tree`` with the recorder in it. ``room`` is new and beside
    ``tree``; the folder of both is this run's alone. ``covered`` is hidden from the program where namespaces are
    available; ``more`` are arguments for the recorder. The program's output is thrown away: it is the author's word,
    and could be anything."""
    home, out = room / "home", room / "graph.json"
    home.mkdir(parents=True)
    start = "import sys; sys.path.insert(0, sys.argv[1]); from infra.gate.record_process import main; main()"
    command = [sys.executable, "-I", "-B", "-c", start, str(tree), stack, str(out), *more]
    if namespaces():
        command = [*_NAMESPACE, *_COVER, str(covered), str(tree.parent), *command]
    process = subprocess.Popen(
        command, cwd=tree, env={**environment(home), SKIP: JUDGED_BESIDE}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        return Recorded(None, f"the program took more than {SECONDS:.0f} seconds")
    finally:
        _end(process)
    return _read(out, process.returncode)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(out: Path, status: int) -> Recorded:
    if not out.is_file() or out.is_symlink():
        return Recorded(None, f"the program gave no graph (exit status {status})")
    if out.stat().st_size > LARGEST_BYTES:
        return Recorded(None, f"the graph is larger than {LARGEST_BYTES // 2**20} MiB")
    try:
        told = json.loads(out.read_text(encoding="utf-8"))
    except ValueError:
        return Recorded(None, "the program gave something that is no graph")
    if not isinstance(told, dict) or not ("graph" in told or "problem" in told):
        return Recorded(None, "the program gave something that is no graph")
    problem, graph = told.get("problem"), told.get("graph")
    if problem is not None:
        return Recorded(None, str(problem))
    if not isinstance(graph, list) or not all(_is_entry(entry) for entry in graph):
        return Recorded(None, "the program gave something that is no graph")
    return Recorded(graph)


def _is_entry(entry: Any) -> bool:
    texts = ("urn", "type", "name")
    return isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in texts)
