"""Shapes: a resource's fields folded to paths, and the list of those that this product makes (``shapes.yaml``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from components.typed.tables import read_table
from infra.policies.inputs import HIDDEN, Unknown
from infra.policies.rights import rights_of_document, rights_of_rules

FILE = Path(__file__).with_name("shapes.yaml")
_FOLDING = Path(__file__).with_name("folding.yaml")
REFERENCE = "${}"
"""How the list spells a value that comes from another resource of the stack."""


@dataclass(frozen=True)
class Leaf:
    """One field. ``shape`` is its folded path, ``path`` the real one; ``value`` is ``Unknown``, ``HIDDEN``, plain or
    an empty mapping or list. ``is_word``: only known values of it count."""

    shape: str
    path: str
    value: Any
    is_word: bool = False


@dataclass(frozen=True)
class Folding:
    """What ``folding.yaml`` says."""

    free: frozenset[str]
    free_annotations: frozenset[str]
    open: frozenset[str]
    closed: frozenset[str]
    documents: frozenset[str]
    judged: frozenset[str]

    def is_word(self, kind: str, shape: str, value: Any) -> bool:
        """Return True if only known values of a field count: each true or false, and each text that is not open."""
        if isinstance(value, bool) or f"{kind} {shape}" in self.closed:
            return True
        if not isinstance(value, (str, Unknown)) or shape.endswith(".*"):
            return False
        plain = shape.removesuffix("[*]")
        return not any(plain == name or plain.endswith(f".{name}") for name in self.open)


def _package(kind: str) -> str:
    return kind.partition(":")[0]


@cache
def folding() -> Folding:
    """Return the rules by which inputs are folded."""
    read = read_table(_FOLDING)
    keys = ("free", "freeAnnotations", "open", "closed", "documents", "judged")
    return Folding(*(frozenset(read[key]) for key in keys))


def leaves(kind: str, inputs: Mapping[str, Any]) -> Iterator[Leaf]:
    """Yield the fields of a resource of type ``kind``; ``inputs`` are raw."""
    yield from _fold(kind, inputs, "", "")


def _fold(kind: str, value: Any, shape: str, path: str) -> Iterator[Leaf]:
    name = shape.rpartition(".")[2].rstrip("[*]")
    if name == "rules" and ".authorization.k8s.io" in kind and isinstance(value, Sequence) and not _plain(value):
        yield from (Leaf("rules: right", path, right, True) for right in rights_of_rules(value))
    elif f"{_package(kind)} {name}" in folding().documents and (document := _document(value)) is not None:
        yield from (Leaf(f"{shape}: {what}", path, right, True) for what, right in rights_of_document(document))
    elif isinstance(value, Mapping) and value:
        is_free = name in folding().free or (name == "annotations" and kind in folding().free_annotations)
        for key, item in value.items():
            step = "*" if is_free else str(key)
            yield from _fold(kind, item, f"{shape}.{step}" if shape else step, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)) and value:
        for index, item in enumerate(value):
            yield from _fold(kind, item, f"{shape}[*]", f"{path}[{index}]")
    else:
        yield Leaf(shape, path, value, folding().is_word(kind, shape, value))


def _plain(value: Any) -> bool:
    return isinstance(value, (str, Unknown))


def _document(value: Any) -> Mapping[str, Any] | None:
    """Return the document that a text holds, with the values in it that are not known yet spelled out."""
    text = value.text if isinstance(value, Unknown) else value
    try:
        read = json.loads(text) if isinstance(text, str) and text[:1] == "{" else None
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def word(value: Any) -> str:
    """Return a value as the list of known shapes spells it: an id by its last part, which says which role it is."""
    if isinstance(value, Unknown):
        return REFERENCE
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text.rpartition("/")[2] if text.startswith("/subscriptions/") else text


# The list itself.


@dataclass(frozen=True)
class Field:
    """What is known of a field: the words that may stand in it (empty: any), and if it may be hidden."""

    words: frozenset[str] = frozenset()
    hidden: bool = False


@dataclass(frozen=True)
class Shape:
    """What is known of a type: its fields, by their folded paths, and the paths on the way to one."""

    fields: Mapping[str, Field]
    ways: frozenset[str]


@dataclass(frozen=True)
class Shapes:
    """All known types: ``components``, which only group others, and resources."""

    components: frozenset[str]
    types: Mapping[str, Shape]

    @property
    def packages(self) -> frozenset[str]:
        """Return the packages of the known types, whose providers an engine starts by itself."""
        return frozenset(kind.partition(":")[0] for kind in self.types)


@cache
def shapes(file: Path = FILE) -> Shapes:
    """Return the list of known shapes."""
    read = read_table(file)
    return Shapes(frozenset(read["components"]), {kind: shape_of(fields) for kind, fields in read["types"].items()})


def shape_of(fields: Mapping[str, Any]) -> Shape:
    """Return the shape of one type from its fields as the file has them."""
    return _shape({path: _field(entry) for path, entry in fields.items()})


def _shape(known: Mapping[str, Field]) -> Shape:
    return Shape(known, frozenset(way for path in known for way in _ways(path)))


def widened(shape: Shape | None, paths: Iterable[str]) -> Shape:
    """Return the shape with these fields besides, spelled as the file spells them, in which anything may stand."""
    return _shape({**(shape.fields if shape is not None else {}), **dict.fromkeys(paths, Field(hidden=True))})


def _field(entry: Any) -> Field:
    words = [entry] if isinstance(entry, str) else entry or ()
    return Field(frozenset(words) - {HIDDEN}, HIDDEN in words)


def _ways(path: str) -> Iterator[str]:
    """Yield what a path begins with: each step of it, and the names of lists."""
    for index, letter in enumerate(path):
        if letter in ".[:":
            yield path[:index]


def problems(kind: str, inputs: Mapping[str, Any], shape: Shape, *, resolved: bool) -> Iterator[tuple[str, str, bool]]:
    """Yield path, what is wrong, and True where only ``up`` can tell. ``resolved``: references have become values."""
    for leaf in leaves(kind, inputs):
        field = shape.fields.get(leaf.shape)
        if field is not None and f"{kind} {leaf.shape}" in folding().judged:
            continue
        if field is None:
            if leaf.shape not in shape.ways:
                yield leaf.path, "is no field that this product sets", False
            elif isinstance(leaf.value, Unknown):
                yield leaf.path, leaf.value.of, True
            elif leaf.value == HIDDEN:
                yield leaf.path, "is hidden: nobody can judge what stands in it", False
            elif leaf.value not in ({}, [], None):
                yield leaf.path, "is of another shape than this product gives it", False
        elif leaf.value == HIDDEN:
            if not field.hidden:
                yield leaf.path, "is hidden: nobody can judge it", False
        elif leaf.is_word and field.words and not _known(leaf.value, field.words, resolved):
            if isinstance(leaf.value, Unknown):
                yield leaf.path, leaf.value.of, True
            else:
                yield leaf.path, "has a value that this product never gives it", False


def _known(value: Any, words: frozenset[str], resolved: bool) -> bool:
    return word(value) in words or (resolved and REFERENCE in words)
