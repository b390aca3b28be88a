"""The pinned versions: ``versions.yaml`` beside this file, read once and checked."""

from __future__ import annotations

import datetime
import re
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, field_validator

from components.typed.tables import read_table

_FILE = Path(__file__).with_name("versions.yaml")


class Pinned(BaseModel):
    """One thing at one version. ``date`` is when that version was published, ``source`` where both can be looked up;
    ``image`` is ``repository:tag``, ``digest`` its ``sha256:…`` or None if it has not been read from the registry;
    for a chart it is the archive's. ``cuda`` is the CUDA version the image is built for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    date: datetime.date
    source: str
    image: str | None = None
    digest: str | None = None
    extras: tuple[str, ...] = ()
    cuda: str | None = None

    @field_validator("digest")
    @classmethod
    def _whole(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
            raise ValueError("must be sha256: and 64 hex digits, or null where it is not known")
        return value

    def requirement(self, name: str) -> str:
        """Return the Python package as pip takes it: ``name[extra,…]==version``."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return f"{name}{extras}=={self.version}"

    @property
    def reference(self) -> str | None:
        """Return the image as a build takes it: by tag and digest if the digest is known, else by tag."""
        if self.image is None or self.digest is None:
            return self.image
        return f"{self.image}@{self.digest}"


def numbers(text: str) -> tuple[int, ...]:
    """Parse ``v0.9.1-cu130`` to ``(0, 9, 1)``, for comparing; empty if it does not begin like a version."""
    match = re.match(r"v?([0-9]+(?:\.[0-9]+)+)", text)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


@cache
def versions(file: Path = _FILE) -> dict[str, Pinned]:
    """Return all pinned versions by name. Raises ``pydantic.ValidationError`` with the path of what is wrong."""
    return TypeAdapter(dict[str, Pinned]).validate_python(read_table(file))


def pinned(name: str) -> Pinned:
    """Return one entry. Raises ``KeyError`` with the known names if there is none."""
    known = versions()
    if name not in known:
        raise KeyError(f"{name} is not in {_FILE.name}; it has {', '.join(sorted(known))}")
    return known[name]
