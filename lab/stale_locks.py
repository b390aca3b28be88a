"""Removal of the lock that an interrupted `pulumi` leaves in the local back-end, only when its holder is dead."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

WAIT_SECONDS = 120.0


def release(backend: Path) -> list[Path]:
    """Remove the locks below ``backend`` whose process, by pid and host, no longer runs, and return them.

    A living holder keeps its lock, and the engine then names the holder. A lock that cannot be read stays too.
    """
    removed = []
    for lock in sorted((backend / ".pulumi" / "locks").rglob("*.json")):
        try:
            held = json.loads(lock.read_text())
            dead = held["hostname"] == socket.gethostname() and not Path(f"/proc/{int(held['pid'])}").exists()
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if dead:
            lock.unlink(missing_ok=True)
            removed.append(lock)
    return removed


def settle(backend: Path, waiting: Callable[[], None], seconds: float = WAIT_SECONDS) -> bool:
    """Remove dead locks and wait for living holders to end; return True if the back-end is free now.

    An engine whose caller was killed is asked to stop, but finishes what it is doing."""
    deadline = time.monotonic() + seconds
    announced = False
    while True:
        release(backend)
        if not any((backend / ".pulumi" / "locks").rglob("*.json")):
            return True
        if time.monotonic() > deadline:
            return False
        if not announced:
            waiting()
            announced = True
        time.sleep(0.5)
