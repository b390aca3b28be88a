"""``settings.yaml`` beside this file, for one environment."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from infra.config.limits import limits

FILE = Path(__file__).with_name("settings.yaml")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class Ceiling(_Data):
    """The most that one stack may hold and cost at its max."""

    gpus: int
    dollars_per_hour: float


class _File(_Data):
    date: datetime.date
    source: str
    ceilings: Mapping[str, Ceiling]
    longest_idle_outside_prod: str
    exempt_namespaces: tuple[str, ...]
    vendor_namespaces: tuple[str, ...]
    operator_above: str
    safe_load_formats: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """What rules compare with. ``longest_idle`` is in seconds and holds outside production."""

    environment: str
    ceiling: Ceiling
    longest_idle: float
    exempt_namespaces: tuple[str, ...]
    vendor_namespaces: tuple[str, ...]
    operator_above: str
    safe_load_formats: tuple[str, ...]
    engine_floor: str


def settings_for(environment: str, file: Path = FILE) -> Settings:
    """The settings of ``environment``; of one that nobody knows, production's."""
    read = _read(file)
    return Settings(
        environment=environment,
        ceiling=read.ceilings.get(environment, read.ceilings["prod"]),
        longest_idle=seconds(read.longest_idle_outside_prod) or 0.0,
        exempt_namespaces=read.exempt_namespaces,
        vendor_namespaces=read.vendor_namespaces,
        operator_above=read.operator_above,
        safe_load_formats=read.safe_load_formats,
        engine_floor=limits().engine_floor.version,
    )


@cache
def _read(file: Path) -> _File:
    return _File.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))


def seconds(value: Any) -> float | None:
    """``20m``, ``90s``, ``1h30m`` or a number of seconds; None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str) or not value:
        return None
    total, digits = 0.0, ""
    for letter in value.replace("ms", "?"):
        if letter.isdigit() or letter == ".":
            digits += letter
        elif letter in _UNITS and digits:
            total, digits = total + float(digits) * _UNITS[letter], ""
        else:
            return None
    return None if digits else total
