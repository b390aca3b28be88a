"""The kind of a changed file to the gate: data, inert, or program, which a code owner has to read.

Only the standard library is needed, so that the job that comments can tell the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_suffix(".json")


class Kind(StrEnum):
    """``DATA`` is judged completely by the base's code; ``INERT`` files are read by nothing that is run or installed at
    ``up``; ``PROGRAM`` is everything else."""

    DATA = "data"
    INERT = "inert"
    PROGRAM = "program"


@cache
def patterns(file: Path = _FILE) -> Mapping[Kind, tuple[str, ...]]:
    """Return the patterns of the kinds; the first kind with one that matches is the file's, and what none matches is
    ``PROGRAM`` as well."""
    read = json.loads(file.read_text(encoding="utf-8"))
    return {kind: tuple(read[kind]) for kind in (Kind.PROGRAM, Kind.DATA, Kind.INERT)}


def kind_of(path: str) -> Kind:
    """Return the kind of a file by its path in the repository."""
    for kind, listed in patterns().items():
        if any(_regex(pattern).fullmatch(path) for pattern in listed):
            return kind
    return Kind.PROGRAM


def programs(paths: Iterable[str]) -> list[str]:
    """Return the paths that a code owner has to read."""
    return [path for path in paths if kind_of(path) is Kind.PROGRAM]


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    parts = (re.escape(part).replace(r"\*", "[^/]*") for part in pattern.split("**"))
    return re.compile(".*".join(parts), re.DOTALL)
