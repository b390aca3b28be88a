"""Packages that carry the schemas, read as the archives that they come in: nothing of them is installed or run."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from zipfile import ZipFile

from infra.workspace import PROJECT

FOLDER = PROJECT / ".venv" / "schemas"


class NoSchemas(Exception):
    """Error for a package that is not on this machine; the message says how to get it."""


@cache
def wheel(package: str) -> ZipFile:
    """Return the archive of a package of ``locks/schemas.txt``. Raises ``NoSchemas``."""
    for file in FOLDER.glob(f"{package}-*.whl"):
        return ZipFile(file)
    raise NoSchemas(f"{package} is not in {FOLDER}; fix: scripts/setup.sh schemas")


def version(package: str) -> str:
    """Return the version of a package."""
    return Path(wheel(package).filename or "").name.split("-")[1]
