"""Facts about each type beyond the SDK's hints: ``facts/<package>.yaml``, dated and sourced."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from components.typed.tables import read_table

FOLDER = Path(__file__).parent / "facts"
_HOLE = re.compile(r"\{([A-Za-z][\w.]*)\}")
_STEP = re.compile(r"([^.\[\]]+)(\[\*\])?")


@dataclass(frozen=True)
class Facts:
    """Facts about one type. Texts may have holes like ``{region}`` or ``{vpcId}``, filled by `fill`.

    ``id``: the id's form. ``names``: inputs generated when the program gives none. ``unique``: inputs that no two
    resources may share. ``frozen``: inputs that the provider sends as an update and the API then refuses. ``needs``:
    inputs that name another resource, with its type; ``holds``: the same, and the other cannot be deleted before this
    one. ``outputs``: values that the cloud computes. ``defaults``: values it fills in for inputs left out. ``values``:
    allowed values of inputs typed as mere text. ``counter``: an output that counts changes. ``keeps``: inputs that an
    update leaves as the autoscaler set them. ``keys``: outputs by which others may name this one, beside its id.
    ``stays``: the resource can be forgotten but never deleted, and its name stays taken. ``inside``: like ``needs``,
    and this one is deleted with the other. ``lock``: an input that forbids deletion while it is true. ``errors``: error
    texts of this type.
    """

    id: str = ""
    names: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    holds: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    counter: str = ""
    keeps: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    stays: bool = False
    inside: Mapping[str, str] = field(default_factory=dict)
    lock: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Book:
    """All facts of a package: its types, the texts of its errors, the answers to its functions."""

    version: str
    types: Mapping[str, Facts]
    errors: Mapping[str, str]
    answers: Mapping[str, Any]

    def of(self, token: str) -> Facts:
        """Return the facts of a type; empty ones for a type that is not in the file."""
        return self.types.get(token) or Facts()

    def text(self, token: str, kind: str, holes: Mapping[str, Any]) -> str:
        """Return an error in the words of this cloud's API."""
        return str(fill(self.of(token).errors.get(kind) or self.errors[kind], holes))


@functools.cache
def book(package: str) -> Book:
    """Return the facts of one package. Raises ``ValueError`` naming an entry that has a key nobody reads."""
    document = read_table(FOLDER / f"{package}.yaml")
    known = {each.name for each in fields(Facts)}
    types = {}
    for token, raw_entry in document["types"].items():
        if unknown := set(raw_entry) - known:
            raise ValueError(f"facts/{package}.yaml: {token}: {', '.join(sorted(unknown))}: nobody reads this")
        entry: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in raw_entry.items()}
        types[token] = Facts(**entry)
    return Book(document["version"], types, document["errors"], document.get("answers") or {})


def fill(template: Any, holes: Mapping[str, Any]) -> Any:
    """Return ``template`` with every hole in its texts filled; a text that is one hole becomes the value itself."""
    if isinstance(template, Mapping):
        return {key: fill(item, holes) for key, item in template.items()}
    if isinstance(template, list):
        return [fill(item, holes) for item in template]
    if not isinstance(template, str):
        return template
    if whole := _HOLE.fullmatch(template):
        return _hole(whole.group(1), holes)
    return _HOLE.sub(lambda match: _text(_hole(match.group(1), holes)), template)


def _hole(path: str, holes: Mapping[str, Any]) -> Any:
    value: Any = holes
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def at(value: Any, path: str) -> Iterator[Any]:
    """Yield everything at a path like ``vpcConfig.subnetIds[*]`` or ``name``; nothing where it leads nowhere."""
    values = [value]
    for step, each in _STEP.findall(path):
        values = [item[step] for item in values if isinstance(item, Mapping) and item.get(step) is not None]
        if each:
            values = [part for item in values if isinstance(item, list) for part in item]
    yield from values
