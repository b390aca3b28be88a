"""Settings of the rules for one environment, from ``settings.yaml`` beside this file."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from components.typed.tables import read_table
from infra.policies.shapes import Shapes
from infra.stackfile.limits import Ceiling, limits

FILE = Path(__file__).with_name("settings.yaml")


WideWays = Mapping[str, Mapping[str, Mapping[str, tuple[str, ...]]]]
"""Kind of pod (``models``, ``others``) → ``ingress`` or ``egress`` → who → protocols and ports, like ``TCP/443``."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class _File(_Data):
    date: datetime.date
    source: str
    exempt_namespaces: tuple[str, ...]
    operator_above: str
    safe_load_formats: tuple[str, ...]
    known_besides: Mapping[str, tuple[str, ...]]
    wide_ways: WideWays


@dataclass(frozen=True)
class Settings:
    """Values that rules compare with. ``longest_idle`` is in seconds and holds outside production."""

    environment: str
    ceiling: Ceiling
    longest_idle: int
    exempt_namespaces: tuple[str, ...]
    operator_above: str
    safe_load_formats: tuple[str, ...]
    engine_floor: str
    known_besides: Mapping[str, tuple[str, ...]]
    wide_ways: WideWays
    shapes: Shapes | None = None
    """The known shapes, where it is not the list of this checkout that counts."""


def settings_for(environment: str, file: Path = FILE) -> Settings:
    """Return the settings for ``environment``; an unknown environment gets production's."""
    read = _read(file)
    return Settings(
        environment=environment,
        ceiling=limits().ceiling(environment),
        longest_idle=limits().longest_idle_outside_prod.seconds,
        exempt_namespaces=read.exempt_namespaces,
        operator_above=read.operator_above,
        safe_load_formats=read.safe_load_formats,
        engine_floor=limits().engine_floor.version,
        known_besides=read.known_besides,
        wide_ways=read.wide_ways,
    )


@cache
def _read(file: Path) -> _File:
    return _File.model_validate(read_table(file))
