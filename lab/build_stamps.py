"""Stamps for work done once: a result is finished when its stamp says that it was made from these very inputs."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.atomic_write import atomic_write


def key(*parts: Any) -> str:
    """Return a short digest of plain values and files' contents; it changes when any of them does."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            files = sorted(p for p in part.rglob("*") if p.is_file()) if part.is_dir() else [part]
            for file in files:
                digest.update(str(file.relative_to(part.parent)).encode())
                digest.update(file.read_bytes())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:24]


def is_done(stamp: Path, expected: str) -> bool:
    return stamp.exists() and stamp.read_text().strip() == expected


def mark_done(stamp: Path, text: str) -> None:
    """Write the stamp last and rename it into place, so that a power cut leaves either no stamp or a true one."""
    atomic_write(stamp, text + "\n")


@contextmanager
def exclusive(lock: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock, so that two clones sharing a folder do not do the same work twice. The second one calls ``waiting``,
    then waits. The lock of a dead holder is free."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
