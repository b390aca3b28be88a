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
class CheckedValue:
    """One value that was looked at: its ``path`` as the program writes it, its place in the API, the checks that it
    went through, what is wrong with it; or why it could not be looked at."""

    path: str
    at: str = ""
    checks: tuple[str, ...] = ()
    fault: str = ""
    apart: str = ""


def check_inputs(inputs: Mapping[str, Any], fields: Fields, names: Names) -> Iterator[CheckedValue]:
    """Yield everything that is sent, and what is required and missing."""
    yield from _members(inputs, fields, names, "", "")


def _members(value: Mapping[str, Any], fields: Fields, names: Names, path: str, at: str) -> Iterator[CheckedValue]:
    present = set()
    for key, item in value.items():
        here = _joined(path, key)
        if here in names.apart:
            yield CheckedValue(here, apart=names.apart[here])
            continue
        first, *rest = names.renamed.get(here, key).split(".")
        expected = fields.get(first)
        there = _joined(at, expected.at if expected else first)
        present.add(expected.at if expected else "")
        for step in rest:
            inner = expected.item if expected and expected.kind == "list" else expected
            expected = inner.members().get(step) if inner and inner.members else None
            there = _joined(there, step)
        if expected is None:
            near = difflib.get_close_matches(key, fields, 1, 0.5)
            suggestion = f"perhaps {near[0]}" if near else f"allowed: {', '.join(sorted(fields))}"
            yield CheckedValue(here, fault=f"{here}: the API has no {there}; {suggestion}")
        elif expected.deprecated and here not in names.deprecated:
            yield CheckedValue(here, fault=f"{here}: {there} is deprecated")
        elif expected.read_only:
            yield CheckedValue(here, fault=f"{here}: the API only reads {there} out")
        else:
            yield from _one(item, expected, names, here, there)
    for name, each in {each.at: (name, each) for name, each in fields.items()}.values():
        if each.required and each.at not in present and _joined(path, name) not in names.filled:
            yield CheckedValue(_joined(path, name), fault=f"{_joined(path, name)}: is missing, and the API requires it")


def _one(value: Any, expected: Field, names: Names, path: str, at: str) -> Iterator[CheckedValue]:
    required = ("required",) if expected.required else ()
    if value is None or (isinstance(value, str) and (value == HIDDEN or _LATE.search(value))):
        yield CheckedValue(path, at, ("late", *required))
        return
    wrong = _wrong_sort(value, expected)
    if wrong:
        yield CheckedValue(path, at, fault=f"{path}: is {value!r}; {at} is {wrong}")
        return
    if expected.kind == "object" and expected.members:
        yield CheckedValue(path, at, ("type", *required))
        yield from _members(value, expected.members(), names, path, at)
    elif isinstance(value, dict) and expected.item:
        yield CheckedValue(path, at, ("type", *required))
        for item in value.values():
            yield from _one(item, expected.item, names, f"{path}.*", f"{at}.*")
    elif (
        isinstance(value, list)
        and expected.item
        and not (expected.kind == "map" and all(isinstance(i, str) for i in value))
    ):
        yield CheckedValue(path, at, ("type", *required))
        for item in value:
            yield from _one(item, expected.item, names, path, f"{at}.*" if expected.kind == "map" else f"{at}[]")
    else:
        yield from _plain(value, expected, path, at, required)


def _plain(value: Any, expected: Field, path: str, at: str, required: tuple[str, ...]) -> Iterator[CheckedValue]:
    checks = ["type", *required]
    faults = []
    if expected.words:
        checks.append("words")
        if value not in expected.words:
            faults.append(f"allowed: {', '.join(sorted(expected.words))}")
    if expected.pattern and isinstance(value, str):
        checks.append("pattern")
        if not re.search(expected.pattern, value):
            faults.append(f"must match {expected.pattern}")
    if expected.lengths != (None, None):
        checks.append("length")
        if not _within(len(value), expected.lengths):
            faults.append(f"must be {_bounds(expected.lengths)} long")
    if expected.span != (None, None):
        checks.append("range")
        if not _within(float(value), expected.span):
            faults.append(f"must be {_bounds(expected.span)}")
    yield CheckedValue(path, at, tuple(checks), f"{path}: is {value!r}; {at} {'; '.join(faults)}" if faults else "")


def _wrong_sort(value: Any, expected: Field) -> str:
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
    }[expected.kind]
    return "" if fits else expected.kind


def _within(value: float, bounds: tuple[float | None, float | None]) -> bool:
    least, most = bounds
    return (least is None or value >= least) and (most is None or value <= most)


def _bounds(bounds: tuple[float | None, float | None]) -> str:
    least, most = bounds
    return f"{'' if least is None else least} to {'' if most is None else most}".strip()


def _joined(path: str, step: str) -> str:
    return f"{path}.{step}" if path and step else path or step
