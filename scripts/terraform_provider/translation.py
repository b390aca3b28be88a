"""Translator of a recorded graph into Terraform's configuration, by the schema of the provider that will read it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from infra.policies.inputs import HIDDEN
from scripts.terraform_provider.schema import Schema, Shape

_REFERENCE: Final = re.compile(r"\$\{(?P<source>[^{}#]+)#(?P<path>[^{}]*)\}")
_STEP: Final = re.compile(r"\[(?P<index>\d+)\]|(?P<name>[A-Za-z_]\w*)")
_CALL: Final = re.compile(r"(?P<function>[\w:/]+)\((?P<arguments>[^()]*)\)")
_LABEL: Final = re.compile(r"[^A-Za-z0-9_-]")


class CannotTranslate(Exception):
    """A property, a type or a reference that the provider's schema has no place for; the text says which."""


@dataclass(frozen=True)
class Known:
    """What the schema does not tell: types whose names follow no rule, and ``instead``, by type and property: what is
    sent in place of a property that this version of the provider does not take yet (None: nothing)."""

    types: Mapping[str, str] = field(default_factory=dict)
    instead: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """Where a value stands: its path in Pulumi's names and in Terraform's; ``sent`` collects both."""

    sent: dict[str, str]
    ours: str = ""
    terraforms: str = ""

    def below(self, ours: str, terraforms: str) -> _Place:
        place = _Place(self.sent, _path(self.ours, ours), _path(self.terraforms, terraforms))
        self.sent[place.ours] = place.terraforms
        return place


def _path(above: str, name: str) -> str:
    return f"{above}.{name}" if above else name


def own(graph: Iterable[Mapping[str, Any]], provider: str) -> list[Mapping[str, Any]]:
    """Return the resources of the graph that ``provider`` makes."""
    return [each for each in graph if each["custom"] and each["type"].startswith(f"{provider}:")]


class Translation:
    """One graph and one provider's schema."""

    def __init__(self, graph: Iterable[Mapping[str, Any]], schema: Schema, known: Known) -> None:
        self._graph, self._schema, self._known = list(graph), schema, known
        self._read: dict[str, dict[str, Any]] = {}
        self._sent: dict[str, dict[str, str]] = {}
        self._by_urn = {each["urn"]: each for each in own(self._graph, schema.name)}
        self._places = {urn: f"{self._type(each)}.{_label(each['name'])}" for urn, each in self._by_urn.items()}
        if len(set(self._places.values())) != len(self._places):
            raise CannotTranslate("two resources of one type have one name, which Terraform takes for one resource")

    def configuration(self) -> dict[str, Any]:
        """Return the file ``main.tf.json``. What Pulumi alone does is left out: ``protect``, and what other providers
        make. Raises ``CannotTranslate`` with everything that has no place."""
        problems: list[str] = []
        resources: dict[str, dict[str, Any]] = {}
        for urn, each in self._by_urn.items():
            kind, label = self._places[urn].split(".", 1)
            try:
                resources.setdefault(kind, {})[label] = self._resource(each)
            except CannotTranslate as problem:
                problems.append(f"{each['type']} {each['name']}: {problem}")
        if problems:
            raise CannotTranslate("\n".join(problems))
        document = {"provider": {self._schema.name: self._settings()}, "resource": resources}
        return document | ({"data": self._read} if self._read else {})

    def addresses(self) -> dict[str, str]:
        """Return the type that Pulumi knows of each resource, by its address in Terraform."""
        return {place: self._by_urn[urn]["type"] for urn, place in self._places.items()}

    def properties(self) -> dict[str, dict[str, str]]:
        """Return Terraform's path of each property that was sent, by Pulumi's type and path; known after
        ``configuration``. Objects are left to the properties in them."""
        return {
            kind: {at: place for at, place in paths.items() if not any(other.startswith(f"{at}.") for other in paths)}
            for kind, paths in self._sent.items()
        }

    def _type(self, entry: Mapping[str, Any]) -> str:
        name = self._known.types.get(entry["type"]) or self._schema.type_of(entry["type"])
        if name is None:
            raise CannotTranslate(f"{entry['type']}: the provider has no such type")
        return name

    def _shape(self, entry: Mapping[str, Any]) -> Shape:
        return self._schema.shape(self._type(entry))

    def _resource(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        shape, inputs = self._shape(entry), dict(entry["inputs"])
        for name, sent in self._known.instead.get(entry["type"], {}).items():
            if name in inputs:
                inputs[name] = sent
        sent = self._sent.setdefault(entry["type"], {})
        block = self._value({key: value for key, value in inputs.items() if value is not None}, shape, _Place(sent))
        ignored = [_joined(_steps(path, shape)) for path in entry["ignoreChanges"]]
        if ignored:
            block["lifecycle"] = [{"ignore_changes": ignored}]
        needs = [self._places[urn] for urn in entry["dependsOn"] if urn in self._places]
        if needs:
            block["depends_on"] = needs
        return dict(block)

    def _settings(self) -> dict[str, Any]:
        """Return the provider's own settings, which Pulumi sends as JSON where they are not plain text."""
        (entry,) = (each for each in self._graph if each["type"] == f"pulumi:providers:{self._schema.name}")
        decoded = {}
        for key, value in entry["inputs"].items():
            known_field = self._schema.settings.field(key)
            plain = known_field is None or known_field[1] == Shape(settable=known_field[1].settable)
            decoded[key] = value if plain else json.loads(value)
        return dict(self._value(decoded, self._schema.settings, _Place({})))

    def _value(self, value: Any, shape: Shape, at: _Place) -> Any:
        if shape.element is not None:
            # the bridge passes one object in place of a list that may hold one
            return [self._value(each, shape.element, at) for each in (value if isinstance(value, list) else [value])]
        if shape.values is not None and isinstance(value, dict):
            below = at.below("*", "*")
            return {self._text(key, at): self._value(each, shape.values, below) for key, each in value.items()}
        if shape.fields is not None and isinstance(value, dict):
            missing = dict.fromkeys(shape.fields) if shape.whole else {}
            return missing | dict(self._field(key, each, shape, at) for key, each in value.items())
        if isinstance(value, (dict, list)) or shape.fields is not None or shape.values is not None:
            raise CannotTranslate(f"{at.ours}: the provider has another shape there")
        return self._text(value, at) if isinstance(value, str) else value

    def _field(self, key: str, value: Any, shape: Shape, at: _Place) -> tuple[str, Any]:
        known_field = shape.field(key)
        if known_field is None:
            raise CannotTranslate(f"{_path(at.ours, key)}: the provider has no such property")
        name, inner = known_field
        if not inner.settable:
            raise CannotTranslate(f"{_path(at.ours, key)}: the provider only reads this out")
        return name, self._value(value, inner, at.below(key, name))

    def _text(self, text: str, at: _Place) -> str:
        """Return a text in which references are Terraform's and all else is literal."""
        if text == HIDDEN:
            raise CannotTranslate(f"{at.ours}: is a secret, which no recorded graph has")
        parts, end = [], 0
        for match in _REFERENCE.finditer(text):
            parts += [_literal(text[end : match.start()]), f"${{{self._reference(match, at)}}}"]
            end = match.end()
        return "".join([*parts, _literal(text[end:])])

    def _reference(self, match: re.Match[str], at: _Place) -> str:
        source, path = match["source"], match["path"]
        call = _CALL.fullmatch(source)
        kind = self._schema.read_by(call["function"]) if call else None
        if call and kind is not None:
            return self._read_of(kind, call["arguments"], path)
        if source not in self._by_urn:
            raise CannotTranslate(f"{at.ours}: refers to {source}, which the provider does not make")
        shape = self._shape(self._by_urn[source])
        return ".".join([self._places[source], _joined(_steps(path, shape))])

    def _read_of(self, kind: str, arguments: str, path: str) -> str:
        """Return a reference to what a function of the provider's answers, and have it asked."""
        shape, label = self._schema.read_shape(kind), _label(arguments or "it")
        arguments_by_name = dict(each.split("=", 1) for each in arguments.split(",") if each)
        self._read.setdefault(kind, {})[label] = self._value(arguments_by_name, shape, _Place({}))
        return ".".join(["data", kind, label, _joined(_steps(path, shape))])


def _steps(path: str, shape: Shape) -> Iterator[str]:
    """Yield a property path's steps in Terraform's spelling; where the bridge has one object, the list's first."""
    for step in _STEP.finditer(path):
        if shape.element is not None:
            yield f"[{step['index'] or 0}]"
            shape = shape.element
            if step["index"]:
                continue
        known_field = shape.field(step["name"] or "")
        if known_field is None:
            raise CannotTranslate(f"the provider has no {path}")
        yield known_field[0]
        shape = known_field[1]


def _joined(steps: Iterable[str]) -> str:
    return ".".join(steps).replace(".[", "[")


def _label(name: str) -> str:
    label = _LABEL.sub("-", name)
    return label if label[:1].isalpha() else f"_{label}"


def _literal(text: str) -> str:
    return text.replace("${", "$${").replace("%{", "%%{")
