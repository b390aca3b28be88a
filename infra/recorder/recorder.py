"""Stand-in for an engine: it records every registration, and answers with unknown outputs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pulumi

from infra.policies.inputs import HIDDEN
from infra.recorder import pulumi_internals
from infra.recorder.unknown_outputs import OutputRegistry, UnknownOutput, joined, program_view, result_properties

PROJECT_NAME = "ebbtide"


@dataclass(frozen=True)
class Record:
    """One registration as it went over the wire. ``inputs`` are in the API's own spelling; ``secrets`` are the paths in
    them that held a secret; where there are any, ``in_clear`` is the inputs with them. ``external``: read, not created.
    ``options`` are the names of what else the engine was asked for, beyond what this project's own program asks for
    (``remote``, ``pluginDownloadURL``, ``importId`` …)."""

    urn: str
    type: str
    name: str
    parent: str
    custom: bool
    inputs: Mapping[str, Any]
    protect: bool
    ignore_changes: tuple[str, ...]
    depends_on: tuple[str, ...]
    provider: str
    secrets: frozenset[str]
    secret_outputs: frozenset[str]
    external: bool = False
    options: tuple[str, ...] = ()
    in_clear: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass
class Recording:
    """Everything one run of the program asked for, in the order of its constructors: each resource after its parent and
    all it depends on. ``notes`` say where code needed the actual text of an unknown output."""

    records: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    exports: dict[str, tuple[Any, bool]] = field(default_factory=dict)


class TwoAlike(Exception):
    """Two resources with one URN, which an engine refuses."""


@dataclass
class _Answer:
    """The answer that the SDK gets for a registration: as much of the protocol's message as it reads."""

    urn: str
    id: Any
    values: Mapping[str, Any]
    secret: frozenset[str]
    result: int = pulumi_internals.SUCCESS
    unknown: bool = False
    propertyDependencies: Mapping[str, Any] = field(default_factory=dict)  # noqa: N815  the protocol's name

    @property
    def object(self) -> _Answer:
        return self

    properties = object


class Recorder(pulumi_internals.Monitor):
    """Recorder of registrations. It invents nothing but the letters of unknown outputs."""

    def __init__(self, stack: str) -> None:
        super().__init__(mocks=None)  # type: ignore[arg-type]  # never called
        self.stack = stack
        self.ledger = OutputRegistry()
        self.recording = Recording()
        self._records: dict[str, Record] = {}
        self._order: dict[int, int] = {}
        self._places: dict[str, int] = {}
        self._constructed: list[pulumi.Resource] = []
        self._wire = Wire(self.ledger)

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """Build the URN as the engine does: with all the components' types, without the stack's."""
        kind = parent.split("::")[2] if parent else pulumi_internals.STACK_TYPE
        qualified = type_ if kind == pulumi_internals.STACK_TYPE else f"{kind}${type_}"
        return f"urn:pulumi:{self.stack}::{PROJECT_NAME}::{qualified}::{name}"

    def constructed(self, args: pulumi.ResourceTransformationArgs) -> None:
        """Note a constructed resource. A transformation that changes nothing: it sees them in the program's order."""
        self._order[id(args.resource)] = len(self._constructed)
        self._constructed.append(args.resource)

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  the protocol's name
        urn = self.make_urn(request.parent, request.type, request.name)
        return self._record(request, urn, request.object, custom=request.custom)

    def ReadResource(self, request: Any) -> Any:  # noqa: N802  the protocol's name
        urn = self.make_urn(request.parent, request.type, request.name)
        return self._record(request, urn, request.properties, custom=True, existing_id=request.id)

    def _record(self, request: Any, urn: str, struct: Any, *, custom: bool, existing_id: str | None = None) -> _Answer:
        if request.type == pulumi_internals.STACK_TYPE:
            return _Answer(urn, None, {}, frozenset())
        if urn in self._records:
            raise TwoAlike(f"two resources are called {request.name} in one place: {urn}")
        secrets: set[str] = set()
        sent = self._wire.values(struct, secrets)
        outputs = frozenset(request.additionalSecretOutputs)
        shown = self._wire.shown(sent, secrets)
        self._records[urn] = Record(
            urn=urn,
            type=request.type,
            name=request.name,
            parent=request.parent,
            custom=custom,
            inputs=shown if existing_id is None else {**shown, "id": self.ledger.written(existing_id)},
            protect=existing_id is None and bool(request.protect),
            ignore_changes=tuple(request.ignoreChanges) if existing_id is None else (),
            depends_on=tuple(request.dependencies),
            provider=request.provider.rpartition("::")[0],
            secrets=frozenset(secrets),
            secret_outputs=outputs,
            external=existing_id is not None,
            options=tuple(pulumi_internals.set_beside(request)),
            in_clear=self._wire.shown(sent, set()) if secrets else None,
        )
        hidden = outputs | {path.partition(".")[0].partition("[")[0] for path in secrets}
        identity = existing_id if existing_id is not None else UnknownOutput(self.ledger, urn, "id") if custom else None
        return _Answer(urn, identity, sent, hidden)

    def resolve(
        self, resource: pulumi.Resource, answer: _Answer, resolvers: Mapping[str, pulumi_internals.Resolve]
    ) -> None:
        """Resolve the outputs of a registered resource."""
        shape = pulumi_internals.declared_by(resource)
        for name, resolver in resolvers.items():
            wire = shape.names.get(name, name)
            kind = (shape.properties or {}).get(wire)
            resolver(
                program_view(self.ledger, answer.urn, wire, answer.values.get(wire), kind),
                True,
                wire in answer.secret,
                None,
                None,
            )
        self._places[answer.urn] = self._order.get(id(resource), len(self._order))

    async def call(self, token: str, arguments: Any, kind: type | None) -> Any:
        """Return the result of a provider's function."""
        needed: dict[str, list[pulumi.Resource]] = {}
        secrets: set[str] = set()
        sent = self._wire.values(await pulumi_internals.serialize(arguments, needed), secrets)
        plain = [f"{key}={value}" for key, value in sorted(sent.items()) if isinstance(value, str)]
        source = f"{token}({','.join(self.ledger.written(text).replace('${', '').replace('}', '') for text in plain)})"
        result: Any = UnknownOutput(self.ledger, source, "result")
        if kind is not None:
            result = pulumi_internals.instance_of(kind, dict(result_properties(self.ledger, source, kind, sent)))
        dependencies = [resource for resources in needed.values() for resource in resources]
        return pulumi_internals.InvokeResult(result, is_secret=bool(secrets), dependencies=dependencies)

    def note(self, text: str) -> None:
        if text not in self.recording.notes:
            self.recording.notes.append(text)

    def finish(self) -> Recording:
        """Return the recording, sorted."""
        place = {urn: order for order, urn in enumerate(sorted(self._records, key=lambda urn: self._places[urn]))}

        def sorted_out(record: Record) -> Record:
            return replace(record, depends_on=tuple(sorted(record.depends_on, key=lambda u: (place.get(u, -1), u))))

        self.recording.records = [sorted_out(self._records[urn]) for urn in place]
        return self.recording


# The protocol's values made plain: without the marks of secrets, references and files.


class Wire:
    """Reader of a registration's inputs."""

    def __init__(self, ledger: OutputRegistry) -> None:
        self.ledger = ledger

    def values(self, struct: Any, secrets: set[str]) -> dict[str, Any]:
        """Return the inputs with unknown outputs as tokens and secrets in clear, for the program to go on with;
        ``secrets`` gets the paths that held one."""
        return {key: self._plain(value, joined("", key), secrets) for key, value in struct.fields.items()}

    def _plain(self, value: Any, at: str, secrets: set[str]) -> Any:
        kind = value.WhichOneof("kind")
        if kind == "string_value":
            return value.string_value
        if kind == "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        if kind == "bool_value":
            return value.bool_value
        if kind == "list_value":
            return [self._plain(item, f"{at}[{i}]", secrets) for i, item in enumerate(value.list_value.values)]
        if kind == "struct_value":
            return self._mapping(value.struct_value.fields, at, secrets)
        return None

    def _mapping(self, fields: Any, at: str, secrets: set[str]) -> Any:
        mark = fields[pulumi_internals.SIGNATURE].string_value if pulumi_internals.SIGNATURE in fields else None
        if mark == pulumi_internals.SECRET:
            secrets.add(at)
            return self._plain(fields["value"], at, set())
        if mark == pulumi_internals.RESOURCE:
            return UnknownOutput(self.ledger, fields["urn"].string_value, "id" if "id" in fields else "urn")
        if mark in (pulumi_internals.ASSET, pulumi_internals.ARCHIVE):
            return {
                key: self._plain(value, at, secrets)
                for key, value in fields.items()
                if key != pulumi_internals.SIGNATURE
            }
        return {key: self._plain(value, joined(at, key), secrets) for key, value in fields.items()}

    def shown(self, sent: Mapping[str, Any], secrets: set[str]) -> dict[str, Any]:
        """Return the same for people: unknown outputs spelled out, secrets hidden."""
        return {key: self._show(sent[key], joined("", key), secrets) for key in sorted(sent)}

    def _show(self, value: Any, at: str, secrets: set[str]) -> Any:
        if at in secrets:
            return HIDDEN
        if isinstance(value, str):
            return self.ledger.written(value)
        if isinstance(value, dict):
            # the protocol keeps no order of keys: they are sorted, so that two runs agree
            return {self.ledger.written(key): self._show(value[key], joined(at, key), secrets) for key in sorted(value)}
        if isinstance(value, list):
            return [self._show(item, f"{at}[{index}]", secrets) for index, item in enumerate(value)]
        return value


# The recorded graph as JSON: one object per resource, in the order of creation.


def resource(record: Record) -> dict[str, Any]:
    """Return one entry. ``parent`` is the stack's own URN if the program names none; the stack itself is not listed.
    ``external`` is there, and true, only if the stack reads a resource that is not its own; ``options`` only if the
    engine is asked for something that this project's program never asks for."""
    entry: dict[str, Any] = {
        "urn": record.urn,
        "type": record.type,
        "name": record.name,
        "parent": record.parent,
        "custom": record.custom,
        "inputs": record.inputs,
        "protect": record.protect,
        "ignoreChanges": list(record.ignore_changes),
        "dependsOn": list(record.depends_on),
        "provider": record.provider,
    }
    if record.external:
        entry["external"] = True
    if record.options:
        entry["options"] = list(record.options)
    return entry


def graph(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return the whole array."""
    return [resource(record) for record in records]


def text(resources: list[dict[str, Any]]) -> str:
    """Return the text of the file: one resource per line, so that a line-wise diff is a diff of resources."""
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in resources)
    return f"[\n{lines}\n]\n" if lines else "[]\n"
