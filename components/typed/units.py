"""Values with a unit: ``20m`` and ``80Gi`` are read once, here, and are never bare numbers afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from pydantic_core import CoreSchema, core_schema

from components.typed.refusal import Rule
from components.typed.rules.file import QUANTITY_INVALID, TIME_OF_DAY_INVALID
from components.typed.rules.stack import DURATION_INVALID

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_LONGEST_HOURS = 720
_BYTES = {
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
    "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
}  # fmt: skip

# units of which fractions are read, with what they are rounded down to
_DIVIDED = {"Gi": 2**20, "Ti": 2**20, "G": 10**6, "T": 10**6}


@dataclass(frozen=True, order=True)
class Duration:
    """A span of time in whole seconds, written ``60s``, ``20m`` or ``1h``."""

    seconds: int

    @classmethod
    def parse(cls, text: Any) -> Self:
        """Read ``60s | 20m | 1h``. Raises ValueError with what is wrong, worded to follow the value."""
        if isinstance(text, (int, float)) and not isinstance(text, bool):
            raise ValueError("has no unit" if 0 < text < float("inf") else "is not a length of time")
        match = re.fullmatch(r"([0-9]{1,12})([smh])", text) if isinstance(text, str) else None
        if match is None:
            bare = isinstance(text, str) and re.fullmatch(r"[0-9]+", text)
            raise ValueError("has no unit" if bare else "is not a length of time")
        seconds = int(match[1]) * _SECONDS[match[2]]
        if not 1 <= seconds <= _LONGEST_HOURS * 3600:
            raise ValueError("is too short" if seconds < 1 else f"is longer than {_LONGEST_HOURS}h")
        return cls(seconds)

    def __str__(self) -> str:
        unit = next(unit for unit in ("h", "m", "s") if self.seconds % _SECONDS[unit] == 0)
        return f"{self.seconds // _SECONDS[unit]}{unit}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        allowed = f"a whole number with a unit from 1s to {_LONGEST_HOURS}h, like 60s, 20m or 1h"
        return _text_schema(cls, cls.parse, DURATION_INVALID, allowed, "write a number and its unit, like 20m")


@dataclass(frozen=True, order=True)
class Quantity:
    """An amount of memory in bytes, written as Kubernetes writes it: ``80Gi``, ``512Mi``, ``80G``."""

    bytes: int

    @classmethod
    def parse(cls, text: Any) -> Self:
        """Read ``80Gi``, or a fraction like ``23.6Gi``, rounded down to whole Mi (without ``i``: to whole M). Raises
        ValueError with what is wrong, worded to follow the value."""
        units = "|".join(_BYTES)
        pattern = rf"([0-9]{{1,12}})(\.[0-9]{{1,3}})?({units})"
        match = re.fullmatch(pattern, text) if isinstance(text, str) else None
        if match is None or (match[2] and match[3] not in _DIVIDED):
            raise ValueError("is not an amount of memory")
        size = int(match[1]) * _BYTES[match[3]]
        if match[2]:
            step = _DIVIDED[match[3]]
            size += int(match[2][1:]) * _BYTES[match[3]] // 10 ** len(match[2][1:])
            size -= size % step
        if size == 0:
            raise ValueError("is nothing")
        return cls(size)

    @property
    def gib(self) -> float:
        """Return the amount in GiB (2**30 bytes)."""
        return self.bytes / 2**30

    def __str__(self) -> str:
        units = ("Ti", "T", "Gi", "G", "Mi", "M", "Ki", "k")
        unit = next((unit for unit in units if self.bytes % _BYTES[unit] == 0), None)
        return f"{self.bytes // _BYTES[unit]}{unit}" if unit else str(self.bytes)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        allowed = f"a number with a unit ({', '.join(_BYTES)}), like 80Gi"
        return _text_schema(cls, cls.parse, QUANTITY_INVALID, allowed, "write a number and its unit, like 24Gi")


def read_seconds(text: Any) -> int | None:
    """Return the seconds of ``20m`` as ``Duration`` reads it; None for anything else."""
    try:
        return Duration.parse(text).seconds
    except ValueError:
        return None


def read_bytes(text: Any) -> int | None:
    """Return the bytes of ``80Gi`` as ``Quantity`` reads it; None for anything else."""
    try:
        return Quantity.parse(text).bytes
    except ValueError:
        return None


@dataclass(frozen=True, order=True)
class TimeOfDay:
    """A moment of the day in whole minutes, written ``08:30``; ``24:00`` is the end of the day."""

    minutes: int

    @classmethod
    def parse(cls, text: Any) -> Self:
        """Read ``08:30``. Raises ValueError with what is wrong, worded to follow the value."""
        if isinstance(text, int) and not isinstance(text, bool):
            raise ValueError("is a number: without quotes YAML reads a time as one")
        match = re.fullmatch(r"([0-9]{2}):([0-9]{2})", text) if isinstance(text, str) else None
        if match is None or int(match[2]) > 59 or int(match[1]) * 60 + int(match[2]) > 24 * 60:
            raise ValueError("is not a time of day")
        return cls(int(match[1]) * 60 + int(match[2]))

    def __str__(self) -> str:
        return f"{self.minutes // 60:02}:{self.minutes % 60:02}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        allowed = 'hours and minutes from "00:00" to "24:00", in quotes'
        return _text_schema(cls, cls.parse, TIME_OF_DAY_INVALID, allowed, 'write it in quotes, like "08:30"')


def _text_schema(cls: type, parse: Callable[[Any], Any], rule: Rule, allowed: str, fix: str) -> CoreSchema:
    def validate(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        try:
            return parse(value)
        except ValueError as error:
            raise rule.refusal(str(error), allowed=allowed, fix=fix) from None

    return core_schema.no_info_plain_validator_function(validate, serialization=core_schema.to_string_ser_schema())
