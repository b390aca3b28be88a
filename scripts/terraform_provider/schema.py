"""Reader of a Terraform provider's schema (``terraform providers schema -json``), with Pulumi's names beside its own.

Pulumi's provider is a bridge over the same code: it names a property in camelCase, a list in the plural, and passes one
object where Terraform has a list that may hold one. So its names are made here from Terraform's, and never the reverse,
which would have to guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Shape:
    """What one value may be: a list or set (``element``), a mapping with names of the user's own (``values``), an
    object (``fields``, by Terraform's names), or else a single value. ``whole``: an object of which every field has to
    be there, if only as null."""

    element: Shape | None = None
    values: Shape | None = None
    fields: Mapping[str, Shape] | None = None
    settable: bool = True
    whole: bool = False

    def field(self, wire: str) -> tuple[str, Shape] | None:
        """Return Terraform's name and the shape of the field that Pulumi calls ``wire``; None if there is none."""
        for spelled in (camel, lambda name: camel(plural(name))):
            for name, shape in (self.fields or {}).items():
                if spelled(name) == wire:
                    return name, shape
        return None


@dataclass(frozen=True)
class Schema:
    """One provider's own settings and its types of resources, as ``terraform providers schema -json`` tells them."""

    name: str
    settings: Shape
    resources: Mapping[str, Any] = field(repr=False)
    reads: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, output: Mapping[str, Any]) -> Schema:
        """Read the output of the command; one provider is in it."""
        ((source, provider),) = output["provider_schemas"].items()
        return cls(
            source.rpartition("/")[2],
            _block(provider["provider"]["block"]),
            provider["resource_schemas"],
            provider.get("data_source_schemas", {}),
        )

    def type_of(self, token: str) -> str | None:
        """Return the Terraform type that Pulumi calls ``token`` (``aws:ec2/vpc:Vpc`` is ``aws_vpc``), with the module's
        name in it or without; None if there is none, or both."""
        _, module, item = token.replace("/", ":").split(":")[:3]
        return self._named(self.resources, module, item)

    def read_by(self, function: str) -> str | None:
        """Return the data source that Pulumi's ``function`` reads (``aws:eks/getCluster:getCluster``)."""
        _, module, item = function.replace("/", ":").split(":")[:3]
        noun = item.removeprefix("get")
        return self._named(self.reads, module, noun[:1].lower() + noun[1:])

    def _named(self, kinds: Mapping[str, Any], module: str, item: str) -> str | None:
        prefixes = (f"{self.name}_{module}_", f"{self.name}_")
        matches = {
            each
            for each in kinds
            for prefix in prefixes
            if each.startswith(prefix) and camel(each.removeprefix(prefix)) == item
        }
        return matches.pop() if len(matches) == 1 else None

    def shape(self, kind: str) -> Shape:
        """Return the shape of a resource's properties."""
        return _block(self.resources[kind]["block"])

    def read_shape(self, kind: str) -> Shape:
        """Return the shape of what a data source is asked and answers."""
        return _block(self.reads[kind]["block"])


def camel(name: str) -> str:
    """Return a name as Pulumi writes it: ``cidr_block`` is ``cidrBlock``."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def plural(name: str) -> str:
    """Return the plural of a name's last word."""
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "x", "ch", "sh")) else f"{name}s"


def _block(block: Mapping[str, Any]) -> Shape:
    fields = {name: _attribute(entry) for name, entry in block.get("attributes", {}).items()}
    for name, entry in block.get("block_types", {}).items():
        fields[name] = _nested(entry["nesting_mode"], _block(entry["block"]))
    return Shape(fields=fields)


def _attribute(attribute: Mapping[str, Any]) -> Shape:
    settable = bool(attribute.get("required") or attribute.get("optional"))
    if "nested_type" in attribute:
        inner = {name: _attribute(each) for name, each in attribute["nested_type"]["attributes"].items()}
        shape = _nested(attribute["nested_type"]["nesting_mode"], Shape(fields=inner))
    else:
        shape = _type(attribute["type"])
    return replace(shape, settable=settable)


def _nested(mode: str, inner: Shape) -> Shape:
    if mode in ("list", "set"):
        return Shape(element=inner)
    return Shape(values=inner) if mode == "map" else inner


def _type(type_: Any) -> Shape:
    if isinstance(type_, str):
        return Shape()
    kind, inner = type_
    if kind == "object":
        return Shape(fields={name: _type(each) for name, each in inner.items()}, whole=True)
    return _nested(kind, _type(inner))
