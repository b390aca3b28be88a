"""Virtual environment with the gateway image's own Python packages, for tests that run the real gateway."""

from __future__ import annotations

from pathlib import Path

from infra.workspace import PROJECT
from tests.installed import locked_python

LOCK = PROJECT / "images" / "gateway" / "requirements.txt"


def gateway_python(lock: Path = LOCK) -> Path:
    """Return the interpreter of a venv with the image's hash-locked requirements; the venv is made when missing."""
    return locked_python("gateway", lock)
