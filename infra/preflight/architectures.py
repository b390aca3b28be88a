"""What the pinned engine serves, off the list recorded from its own registry (``record_architectures.py``)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Purpose = Literal["chat", "embed", "classify"]


@dataclass(frozen=True)
class Recorded:
    """The list of one version. ``until`` names architectures given up and the last version that had them."""

    version: str
    chat: frozenset[str]
    embed: frozenset[str]
    classify: frozenset[str]
    through_transformers: frozenset[str]
    until: dict[str, str]


@cache
def recorded() -> Recorded:
    """The list in ``architectures.json``."""
    read = json.loads(Path(__file__).with_name("architectures.json").read_text())
    names = ("chat", "embed", "classify", "through_transformers")
    return Recorded(version=read["version"], until=read["until"], **{name: frozenset(read[name]) for name in names})


def purpose(architecture: str | None) -> Purpose | None:
    """What the engine would serve it for; None where it does not know it. One that can chat counts as that."""
    known = recorded()
    if architecture in known.chat:
        return "chat"
    if architecture in known.embed:
        return "embed"
    return "classify" if architecture in known.classify else None


def last_version_with(architecture: str) -> str | None:
    """The last version that had an architecture now given up."""
    return recorded().until.get(architecture)
