"""Memory and threads that a sandbox takes of the machine, over all of its processes.

A limit bounds each process alone, the one on their number does not hold for root, and a cgroup cannot be made on every
runner. So the judge measures from outside, by what no process can hide: their PID namespace, which none of them can
leave, says which belong to the sandbox.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

# Memory that no process shows. A socket's buffer holds net.core.wmem_default (208 KiB), and one more message of that.
_SOCKET_BYTES = 2**19
_FILE_BYTES = 2**10
_MEMORY = re.compile(r"^(?:VmRSS|VmSwap|VmPTE):\s*(\d+) kB$", re.MULTILINE)
_THREADS = re.compile(r"^Threads:\s*(\d+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Use:
    """Bytes of memory, with what processes share counted for each, and the number of threads in all of them."""

    memory: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A sandbox from outside: its first process, its PID namespace, and the folder that can be written to."""

    first: int
    namespace: int
    scratch: str

    def use(self) -> Use:
        """Return what the sandbox takes at this moment; nothing before it begins and once it has ended."""
        processes = [use_of_process(status) for status in self._statuses()]
        memory = sum(process.memory for process in processes) + self._files() + self._sockets()
        return Use(memory=memory, threads=sum(process.threads for process in processes))

    def _statuses(self) -> Iterator[str]:
        for name in os.listdir("/proc"):
            with suppress(OSError):  # it has ended, or is not ours to look at
                if name.isdigit() and os.stat(f"/proc/{name}/ns/pid").st_ino == self.namespace:
                    yield _status(f"/proc/{name}")

    def _files(self) -> int:
        """Return what lies in the folder. Until its first process is shut in, that name is a folder of this machine."""
        root = f"/proc/{self.first}/root"
        with suppress(OSError):
            if os.stat(f"{root}/").st_dev == os.stat("/").st_dev:
                return 0
            disk = os.statvfs(f"{root}{self.scratch}")
            return (disk.f_blocks - disk.f_bfree) * disk.f_frsize + (disk.f_files - disk.f_ffree) * _FILE_BYTES
        return 0

    def _sockets(self) -> int:
        with suppress(OSError):
            return int(_read(f"/proc/{self.first}/net/sockstat").split()[2]) * _SOCKET_BYTES
        return 0


def use_of_process(status: str) -> Use:
    """Return what one process takes, from the text of its ``status`` in ``/proc``; one that has ended has no memory."""
    threads = _THREADS.search(status)
    memory = sum(int(kib) for kib in _MEMORY.findall(status)) * 2**10
    return Use(memory=memory, threads=int(threads[1]) if threads else 0)


def _status(process: str) -> str:
    """Return a process's status; where its first thread has ended and others go on, theirs has the memory."""
    status = _read(f"{process}/status")
    if "VmRSS" in status:
        return status
    others = (_read(f"{process}/task/{thread}/status") for thread in os.listdir(f"{process}/task"))
    return next((other for other in others if "VmRSS" in other), status)


def _read(file: str) -> str:
    with open(file, encoding="utf-8", errors="replace") as stream:
        return stream.read()
