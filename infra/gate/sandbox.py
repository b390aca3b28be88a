"""Sandbox for a stranger's program: bubblewrap gives it Python, the environment, its own tree, and nothing else.

It has no network, no process but its own, no file of the machine, no credential, no capability, the system calls that
Python needs and no other, and bounds on time, memory, processes, open files and what it may write. Its graph comes back
through a pipe, so that it needs no folder either.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from infra.gate.hidden_values import without_secrets
from infra.gate.sandbox_use import Sandbox
from infra.gate.system_calls import assemble, read_system_calls
from infra.planner.judgement import SKIP

SECONDS = 240.0
LARGEST_BYTES = 64 * 2**20
MEMORY_BYTES = 3 * 2**30  # of one process, and of all of them together
THREADS = 64
_OWN_THREADS = 1  # bubblewrap's, the first in the sandbox
_LOOK_EVERY_SECONDS = 0.05
_SCRATCH_BYTES = 64 * 2**20
_LIMITS = (
    ("RLIMIT_NPROC", THREADS),  # over all of a user's processes, but in the sandbox's own namespace over its own
    ("RLIMIT_AS", MEMORY_BYTES),
    ("RLIMIT_CPU", int(SECONDS)),
    ("RLIMIT_FSIZE", _SCRATCH_BYTES),
    ("RLIMIT_NOFILE", 256),
    ("RLIMIT_CORE", 0),
)
# A stack file that the planner refuses still gets a graph, so that everything about it is reported at once.
JUDGED_BESIDE = "the gate judges the stack file itself"
UNCONFINED = (
    "this machine cannot shut the program of the change in ({why}), so it was not run; allowed: Linux with bubblewrap "
    "0.8 or newer and user namespaces; fix: apt-get install bubblewrap (where user namespaces are kept back: sysctl "
    "kernel.apparmor_restrict_unprivileged_userns=0), or say --unconfined where nothing on the machine is worth taking"
)
_TREE = "/tree"
_HOME = "/tmp"  # noqa: S108  inside the sandbox, which has its own
_NO_HOME = "/nonexistent"  # the same in every run: paths below it reach the graph
_DEEPEST = 60
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
# Set by the process itself, before anything of the tree is imported. Not every system knows or grants each limit.
_START = f"""
import contextlib, resource, sys
for name, most in {_LIMITS!r} if sys.argv[1] == {_TREE!r} else {_LIMITS[1:]!r}:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        resource.setrlimit(getattr(resource, name), (most, most))
sys.meta_path = [each for each in sys.meta_path if not getattr(each, "__module__", "").startswith("__editable__")]
sys.path = [sys.argv[1], *(each for each in sys.path if "__editable__" not in each)]
from infra.gate.record_process import main
main()
"""
"""Start of a recording: the checkout comes first, and what an editable install would add is out of reach."""


@dataclass(frozen=True)
class Recorded:
    """A recorded graph. ``graph`` is None if the program gave none; ``problem`` says why, in the recorder's own words
    if it left any."""

    graph: list[dict[str, Any]] | None
    problem: str = ""


def environment(home: Path) -> dict[str, str]:
    """Return a process's whole environment, with nothing of this machine's in it."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_CONFIG_HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
    }


def record(tree: Path, stack: str, *more: str, confined: bool) -> Recorded:
    """Record the graph of ``stack`` in the checkout ``tree`` with the recorder in it; ``more`` are arguments for the
    recorder. The program's output is thrown away: it is the author's word, and could be anything."""
    python = [sys.executable, "-I", "-B", "-c", _START]
    if confined:
        return _run([*python, _TREE], stack, more, Path(_HOME), shut_in=tree)
    with tempfile.TemporaryDirectory(prefix="ebbtide-home-", ignore_cleanup_errors=True) as home:
        return _run([*python, str(tree)], stack, more, Path(home), shut_in=None)


@cache
def why_not_confined() -> str:
    """Return why this machine cannot shut a process in; empty if it can."""
    if shutil.which("bwrap") is None:
        return "no bubblewrap"
    if read_system_calls(platform.machine()) is None:
        return f"no filter of system calls for {platform.machine()}"
    with tempfile.TemporaryDirectory() as tree:
        command = [sys.executable, "-I", "-c", "pass"]
        process, sandbox = _start_shut_in(command, Path(tree), (), errors=subprocess.PIPE)
        _, errors = process.communicate()
    message = errors.decode(errors="replace").strip().rpartition("\n")[2][:200]
    if sandbox is None:
        return message or "its processes cannot be seen"
    return message or f"status {process.returncode}" if process.returncode else ""


def _start(command: list[str], files: tuple[int, ...], home: Path, errors: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, env={**environment(home), "HOME": _NO_HOME, SKIP: JUDGED_BESIDE},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
        pass_fds=files, cwd=home if home.is_dir() else "/",
    )  # fmt: skip


def _start_shut_in(
    command: list[str], tree: Path, files: tuple[int, ...], errors: int = subprocess.DEVNULL
) -> tuple[subprocess.Popen[bytes], Sandbox | None]:
    """Start a command in the sandbox, once the bounds that are set from outside hold. The sandbox is None if it was not
    made, or cannot be measured; the command has not run then."""
    calls = read_system_calls(platform.machine())
    assert calls is not None, "no command is started here where there is a reason against it"
    info, info_in = os.pipe()
    go_out, go = os.pipe()
    with open(info, "rb") as info_file, open(go, "wb", buffering=0) as start, tempfile.TemporaryFile() as filter_:
        filter_.write(assemble(calls))
        filter_.seek(0)
        inside = (filter_.fileno(), info_in, go_out)
        try:
            process = _start([*_bubblewrap(tree, *inside), *command], (*inside, *files), Path(_HOME), errors)
        finally:
            os.close(info_in)
            os.close(go_out)
        namespaces = json.loads(info_file.read() or "{}")
        if not namespaces:
            return process, None
        sandbox = Sandbox(first=namespaces["child-pid"], namespace=namespaces["pid-namespace"], scratch=_HOME)
        _bound(sandbox.first)
        if not sandbox.use().threads:
            _end(process)
            return process, None
        with contextlib.suppress(BrokenPipeError):
            start.write(b"x")
    return process, sandbox


def _bound(process: int) -> None:
    """Have the kernel end the sandbox first where the machine is short of memory, and give its core dumps to no program
    of the machine (apport, systemd-coredump), which only a limit of 1 does. Each where the machine grants it."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{process}/oom_score_adj").write_text("1000", encoding="ascii")
    with contextlib.suppress(OSError, ValueError):
        resource.prlimit(process, resource.RLIMIT_CORE, (1, 1))


def _bubblewrap(tree: Path, filter_: int, info: int, go: int) -> list[str]:
    read_only = [argument for path in _python_files() for argument in ("--ro-bind", path, path)]
    return [
        "bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
        "--cap-drop", "ALL", "--uid", "65534", "--gid", "65534", "--hostname", "gate",
        "--seccomp", str(filter_), "--info-fd", str(info), "--block-fd", str(go),
        "--size", str(_SCRATCH_BYTES), "--tmpfs", _HOME, *read_only, "--ro-bind", str(tree), _TREE,
        "--dev-bind", "/dev/null", "/dev/null", "--dev-bind", "/dev/urandom", "/dev/urandom",
        "--remount-ro", "/", "--chdir", _TREE, "--",
    ]  # fmt: skip


@cache
def _python_files() -> tuple[str, ...]:
    """Return what Python needs: its own files, the environment's, and the libraries that they are linked to."""
    prefixes = dict.fromkeys((sys.prefix, os.path.realpath(sys.prefix)))
    environment = [os.path.join(at, name) for at in prefixes for name in ("bin", "lib", "lib64", "pyvenv.cfg")]
    paths = [*environment, *_links(sys.executable), os.path.join(sys.base_prefix, "lib"), *_LIBRARIES]
    paths += [path for name in ("stdlib", "platstdlib", "purelib", "platlib") if (path := sysconfig.get_path(name))]
    existing = sorted({os.path.abspath(path) for path in paths if os.path.exists(path)})
    return tuple(path for path in existing if not any(path.startswith(f"{other}/") for other in existing))


def _links(path: str) -> Iterator[str]:
    """Yield ``path`` and every link on the way to the file that it is."""
    yield path
    while os.path.islink(path):
        path = os.path.join(os.path.dirname(path), os.readlink(path))
        yield path


def _run(command: list[str], stack: str, more: tuple[str, ...], home: Path, shut_in: Path | None) -> Recorded:
    reader, writer = os.pipe()
    command = [*command, stack, str(writer), *more]
    sandbox = None
    try:
        if shut_in is None:
            process = _start(command, (writer,), home, subprocess.DEVNULL)
        else:
            process, sandbox = _start_shut_in(command, shut_in, (writer,))
    finally:
        os.close(writer)
    left = _Reader(reader)
    try:
        too_much = _wait(process, sandbox)
    finally:
        _end(process)
        written = left.finish()
    return Recorded(None, too_much) if too_much else _read(written, process.returncode)


def _wait(process: subprocess.Popen[bytes], sandbox: Sandbox | None) -> str:
    """Wait until the process has ended; return what it took too much of, if it did."""
    end = time.monotonic() + SECONDS
    while (left := end - time.monotonic()) > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(left if sandbox is None else min(left, _LOOK_EVERY_SECONDS))
            return ""
        use = sandbox.use() if sandbox is not None else None
        if use is not None and use.memory > MEMORY_BYTES:
            return f"the program took more than {MEMORY_BYTES // 2**20} MiB of memory in all of its processes"
        if use is not None and use.threads > THREADS + _OWN_THREADS:
            return f"the program ran more than {THREADS} processes and threads"
    return f"the program took more than {SECONDS:.0f} seconds"


class _Reader:
    """A thread that reads a pipe to its end; more than the largest graph is read and thrown away."""

    def __init__(self, pipe: int) -> None:
        self._written = bytearray()
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with open(self._pipe, "rb", buffering=0) as stream:
            while part := stream.read(2**16):
                if len(self._written) <= LARGEST_BYTES:
                    self._written += part

    def finish(self) -> bytes:
        """Return what was written; the writers must have ended."""
        self._thread.join(SECONDS)
        return bytes(self._written)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(written: bytes, status: int) -> Recorded:
    if not written:
        return Recorded(None, f"the program gave no graph (exit status {status})")
    if len(written) > LARGEST_BYTES:
        return Recorded(None, f"the graph is larger than {LARGEST_BYTES // 2**20} MiB")
    try:
        answer = json.loads(written)
    except (ValueError, RecursionError):
        return Recorded(None, "the program gave something that is no graph")
    if not isinstance(answer, dict) or not ("graph" in answer or "problem" in answer):
        return Recorded(None, "the program gave something that is no graph")
    problem, graph = answer.get("problem"), answer.get("graph")
    if problem is not None:
        return Recorded(None, str(problem))
    if not isinstance(graph, list) or not all(_is_entry(entry) for entry in graph):
        return Recorded(None, "the program gave something that is no graph")
    return Recorded([without_secrets(entry) for entry in graph])


def _is_entry(entry: Any) -> bool:
    """Return True for what the recorder writes: the program may have written it instead."""
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(key), str) for key in ("urn", "type", "name"))
        and all(isinstance(entry.get(key, ""), str) for key in ("parent", "provider"))
        and all(isinstance(entry.get(key, False), bool) for key in ("custom", "protect", "external"))
        and all(_are_texts(entry.get(key, [])) for key in ("ignoreChanges", "dependsOn", "aliases"))
        and isinstance(entry.get("inputs", {}), dict)
        and _depth(entry) <= _DEEPEST
    )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= _DEEPEST:
        inner = [list(each.values()) if isinstance(each, dict) else each for each in level]
        level = [item for items in inner if isinstance(items, list) for item in items if isinstance(item, (dict, list))]
        depth += 1
    return depth
