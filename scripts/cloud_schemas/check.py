"""Recorded inputs of a resource against the fields of the request that its provider makes of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.policies.inputs import HIDDEN
from scripts.cloud_schemas.field import Field, Fields

_LATE = re.compile(r"\$\{[^}]+#[^}]+\}")


@dataclass(frozen=True)
class Names:
    """What differs between the program's names and the API's. By the program's path without indices: ``renamed`` has
    the path in the API from the object around it, ``apart`` why a property cannot be looked at. ``filled`` has required
    properties that the SDK or the provider adds."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    apart: Mapping[str, str] = field(default_factory=dict)
    filled: frozenset[str] = frozenset()
    deprecated: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Seen:
    """One value that was looked at: its ``path`` as the program writes it, its place in the API, the checks that it
    went through, what is wrong with it; or why it could not be looked at."""

    path: str
    at: str = ""
    checks: tuple[str, ...] = ()
    fault: str = ""
    apart: str = ""


def look(inputs: Mapping[str, Any], fields: Fields, names: Names) -> Iterator[Seen]:
    """Yield everything that is sent, and what is required and missing."""
    yield from _members(inputs, fields, names, "", "")


def _members(value: Mapping[str, Any], fields: Fields, names: Names, path: str, at: str) -> Iterator[Seen]:
    given = set()
    for key, item in value.items():
        here = _joined(path, key)
        if here in names.apart:
            yield Seen(here, apart=names.apart[here])
            continue
        first, *rest = names.renamed.get(here, key).split(".")
        found = fields.get(first)
        there = _joined(at, found.at if found else first)
        given.add(found.at if found else "")
        for step in rest:
            inner = found.item if found and found.kind == "list" else found
            found = inner.members().get(step) if inner and inner.members else None
            there = _joined(there, step)
        if found is None:
            near = difflib.get_close_matches(key, fields, 1, 0.5)
            meant = f"perhaps {near[0]}" if near else f"allowed: {', '.join(sorted(fields))}"
            yield Seen(here, fault=f"{here}: the API has no {there}; {meant}")
        elif found.deprecated and here not in names.deprecated:
            yield Seen(here, fault=f"{here}: {there} is deprecated")
        elif found.read_only:
            yield Seen(here, fault=f"{here}: the API only reads {there} out")
        else:
            yield from _one(item, found, names, here, there)
    for name, each in {each.at: (name, each) for name, each in fields.items()}.values():
        if each.required and each.at not in given and _joined(path, name) not in names.filled:
            yield Seen(_joined(path, name), fault=f"{_joined(path, name)}: is missing, and the API requires it")


def _one(value: Any, told: Field, names: Names, path: str, at: str) -> Iterator[Seen]:
    required = ("required",) if told.required else ()
    if value is None or (isinstance(value, str) and (value == HIDDEN or _LATE.search(value))):
        yield Seen(path, at, ("late", *required))
        return
    wrong = _wrong_sort(value, told)
    if wrong:
        yield Seen(path, at, fault=f"{path}: is {value!r}; {at} is {wrong}")
        return
    if told.kind == "object" and told.members:
        yield Seen(path, at, ("type", *required))
        yield from _members(value, told.members(), names, path, at)
    elif isinstance(value, dict) and told.item:
        yield Seen(path, at, ("type", *required))
        for item in value.values():
            yield from _one(item, told.item, names, f"{path}.*", f"{at}.*")
    elif isinstance(value, list) and told.item and not (told.kind == "map" and all(isinstance(i, str) for i in value)):
        yield Seen(path, at, ("type", *required))
        for item in value:
            yield from _one(item, told.item, names, path, f"{at}.*" if told.kind == "map" else f"{at}[]")
    else:
        yield from _plain(value, told, path, at, required)


def _plain(value: Any, told: Field, path: str, at: str, required: tuple[str, ...]) -> Iterator[Seen]:
    checks = ["type", *required]
    faults = []
    if told.words:
        checks.append("words")
        if value not in told.words:
            faults.append(f"allowed: {', '.join(sorted(told.words))}")
    if told.pattern and isinstance(value, str):
        checks.append("pattern")
        if not re.search(told.pattern, value):
            faults.append(f"must match {told.pattern}")
    if told.lengths != (None, None):
        checks.append("length")
        if not _within(len(value), told.lengths):
            faults.append(f"must be {_bounds(told.lengths)} long")
    if told.span != (None, None):
        checks.append("range")
        if not _within(float(value), told.span):
            faults.append(f"must be {_bounds(told.span)}")
    yield Seen(path, at, tuple(checks), f"{path}: is {value!r}; {at} {'; '.join(faults)}" if faults else "")


def _wrong_sort(value: Any, told: Field) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    fits = {
        "any": True,
        "text": isinstance(value, str),
        "integer": whole or (isinstance(value, float) and value.is_integer()),
        "number": whole or isinstance(value, float),
        "boolean": isinstance(value, bool),
        "list": isinstance(value, list),
        "map": isinstance(value, (dict, list)),
        "object": isinstance(value, dict),
    }[told.kind]
    return "" if fits else told.kind


def _within(value: float, bounds: tuple[float | None, float | None]) -> bool:
    least, most = bounds
    return (least is None or value >= least) and (most is None or value <= most)


def _bounds(bounds: tuple[float | None, float | None]) -> str:
    least, most = bounds
    return f"{'' if least is None else least} to {'' if most is None else most}".strip()


def _joined(path: str, step: str) -> str:
    return f"{path}.{step}" if path and step else path or step
