"""How far a waiver's pattern reaches: tried on things of every kind, under names that nobody gives."""

from __future__ import annotations

import string
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from components.typed.tables import read_table
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.schema.model import ModelConfig
from infra.stackfile.schema.pool import PoolConfig
from infra.stackfile.schema.stack import SECTIONS
from infra.workspace import PROJECT

# Every letter and digit: a pattern that fits it by a letter or two fits nearly any name.
_ANY = "sphinx-of-black-quartz-judge-my-vow-0123456789"
_TYPES: tuple[str, ...] = tuple(read_table(Path(__file__).with_suffix(".yaml"))["types"])


def kinds_matched(pattern: str) -> list[str]:
    """Return the sections of the stack file and the types of resources of which a pattern matches some thing whatever
    that is called."""
    tried = Waiver(rule="", resource=pattern, owner="", reason="", expiry=date.max)
    return list(dict.fromkeys(kind for kind, at in _things() if tried.covers("", at)))


@cache
def _things() -> tuple[tuple[str, str], ...]:
    return (*_places(), *_resources())


def _places() -> Iterator[tuple[str, str]]:
    fields: dict[str, Any] = {"pools": PoolConfig, "models": ModelConfig}
    for section in SECTIONS:
        shape = fields[section].model_fields if section in fields else {}
        known = [field.alias or name for name, field in shape.items()]
        for below in ("", f".{_ANY}", *(f".{_ANY}.{key}" for key in (_ANY, *known))):
            yield section, f"stack:{section}{below}"


def _resources() -> Iterator[tuple[str, str]]:
    files = (PROJECT / "stacks").glob("Pulumi.*.yaml")
    stacks = (_ANY, *(file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in files))
    names = (_ANY, *(f"{letter}-{_ANY}-{letter}" for letter in string.ascii_lowercase + string.digits))
    for kind in _TYPES:
        yield from ((kind, f"urn:pulumi:{stack}::ebbtide::{kind}::{_ANY}") for stack in stacks)
        yield from ((kind, f"urn:pulumi:{_ANY}::ebbtide::{kind}::{name}") for name in names)
