"""The driver a CUDA image needs: ``cuda.yaml`` beside this file, read once and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from components.typed.tables import read_table

_FILE = Path(__file__).with_name("cuda.yaml")


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    read_on: object
    source: list[str] = Field(min_length=1)
    families: Mapping[str, str]


@cache
def _table(file: Path = _FILE) -> _Table:
    return _Table.model_validate(read_table(file))


def parts(version: str) -> tuple[int, ...]:
    """Parse ``570.86.15`` to ``(570, 86, 15)``. Raises ``ValueError`` for anything but numbers between dots."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", version):
        raise ValueError(f"{version!r} is not a version: allowed are whole numbers between dots")
    return tuple(int(part) for part in version.split("."))


def least_driver(cuda: str) -> str | None:
    """Return the oldest driver on which a container of CUDA ``cuda`` (``13.0``) runs, by minor version compatibility;
    None if the table does not have that major version. Source: NVIDIA, CUDA Toolkit Release Notes."""
    return _table().families.get(str(parts(cuda)[0]))


def runs_on(cuda: str, driver: str) -> bool | None:
    """Return True if a container of CUDA ``cuda`` runs on ``driver``; None if the table does not say.

    The forward compatibility package inside an image is ignored: NVIDIA supports it only for some cards and drivers,
    and not with every vGPU.
    """
    least = least_driver(cuda)
    return None if least is None else parts(driver) >= parts(least)
