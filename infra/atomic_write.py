"""Atomic writes: a file gets all of the new text or keeps the old."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def atomic_write(file: Path, text: str, mode: int | None = None) -> None:
    """Write ``text`` to ``file`` in one step, making its folder. ``mode`` None: an existing file keeps its permissions,
    a new one gets 0644. Raises ``OSError``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "w") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        existing_mode = file.stat().st_mode & 0o777 if file.exists() else 0o644
        Path(name).chmod(existing_mode if mode is None else mode)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
