"""Atomic writes: a file gets all of the new text or keeps the old."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def put(file: Path, text: str) -> None:
    """Write ``text`` to ``file`` in one step; an existing file keeps its permissions. Raises ``OSError``."""
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "w") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        Path(name).chmod(file.stat().st_mode & 0o777 if file.exists() else 0o644)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
