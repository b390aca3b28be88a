"""Rules, the graph they judge, and their outcomes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from infra.planner.judgement import Judgement
from infra.policies.inputs import LATER, InputsMap, Unknown, UnknownValue, get_path
from infra.stackfile.findings.finding import Finding
from infra.stackfile.schema.model import ModelConfig
from infra.stackfile.schema.pool import PoolConfig
from infra.stackfile.schema.stack import StackConfig

Level = Literal["mandatory", "advisory", "disabled"]
Scope = Literal["resource", "stack", "change"]
ENVIRONMENTS = ("local", "dev", "staging", "prod")
MANDATORY: Mapping[str, Level] = dict.fromkeys(ENVIRONMENTS, "mandatory")
PROD_ONLY: Mapping[str, Level] = {"local": "disabled", "dev": "disabled", "staging": "advisory", "prod": "mandatory"}
CLOUD: Mapping[str, Level] = {**MANDATORY, "local": "disabled"}

_LATE = re.compile(r"\$\{(?P<source>[^{}#]+)#(?P<path>[^{}]*)\}")
_INVOKE = re.compile(r"[a-z0-9-]+:[A-Za-z0-9/]+:[A-Za-z0-9]+\(")


@dataclass(frozen=True)
class Violation:
    """One violation of a rule. ``at`` is the resource's URN, or ``stack:`` and a path of the stack file. No message
    holds a secret's text. ``waivable`` is False where nothing could be built even under a waiver."""

    at: str
    path: str
    message: str
    key: str = ""
    waivable: bool = True


@dataclass(frozen=True)
class NotEvaluated:
    """A value that a rule could not judge yet. ``broken``: the rule itself could not read its input, which blocks."""

    at: str
    path: str
    why: str
    broken: bool = False

    @property
    def later(self) -> bool:
        """Return True if ``up`` will know the value and judge it then; anything else only a reviewer can judge."""
        return self.why.startswith(LATER)


Outcome = Violation | NotEvaluated


def place(at: str, path: str = "") -> str:
    """Return a place in words: a resource by its name, or a path of the stack file."""
    name = at.removeprefix("stack:") if at.startswith("stack:") else at.rpartition("::")[2]
    return ": ".join(part for part in (name, path) if part) or "the stack"


@dataclass(frozen=True)
class Resource:
    """One resource as it would be sent. ``inputs`` are in the API's own spelling, read through ``InputsMap``.

    ``custom`` is False for a component, None if nobody says. ``options``: what else an engine is asked for.
    ``completed``: shown by an engine, so that its provider has filled in inputs, and references have become values.
    """

    urn: str
    type: str
    name: str
    inputs: InputsMap
    parent: str = ""
    protect: bool = False
    ignore_changes: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    external: bool = False
    custom: bool | None = None
    options: tuple[str, ...] = ()
    completed: bool = False

    def violation(self, path: str, message: str, key: str = "") -> Violation:
        return Violation(self.urn, path, message, key)

    @property
    def kind(self) -> str:
        """Return ``Deployment`` for ``kubernetes:apps/v1:Deployment``; a patch has its own kind (``NodePatch``)."""
        return self.type.rpartition(":")[2]

    @property
    def is_kubernetes(self) -> bool:
        return self.type.startswith("kubernetes:")

    @property
    def namespace(self) -> str:
        return str(get_path(self.inputs, "metadata.namespace", "default"))

    @property
    def object_name(self) -> str:
        return str(get_path(self.inputs, "metadata.name", ""))


@dataclass(frozen=True, kw_only=True)
class Change:
    """One resource that differs between two graphs, from the gate's diff. ``action`` is created, updated, replaced or
    deleted."""

    action: str
    urn: str
    type: str
    protected: bool = False
    why: str = ""


@dataclass(frozen=True)
class Graph:
    """All resources of a stack, the valid part of its stack file (None if nothing in it could be read), and the
    findings of the one judgement of that file."""

    resources: tuple[Resource, ...]
    stack: StackConfig | None = None
    findings: tuple[Finding, ...] = ()
    changes: tuple[Change, ...] = ()

    def of_kind(self, *kinds: str) -> Iterator[Resource]:
        """Return the Kubernetes objects of these kinds that the stack creates."""
        return (r for r in self.resources if r.is_kubernetes and r.kind in kinds and not r.external)

    @property
    def models(self) -> Mapping[str, ModelConfig]:
        """Return the models of the stack file that could be read."""
        return self.stack.models if self.stack is not None else {}

    @property
    def pools(self) -> Mapping[str, PoolConfig]:
        """Return the pools of the stack file that could be read."""
        return self.stack.pools if self.stack is not None else {}

    def unknown(self, *codes: str) -> Iterator[NotEvaluated]:
        """Yield what the judgement of the stack file left open: its findings with one of ``codes``."""
        for finding in self.findings:
            if finding.code in codes:
                yield NotEvaluated(f"stack:{finding.path}", "", f"{finding.message} [{finding.code}]")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule. ``key`` is what to change in the stack file, ``fix`` how. ``judge`` takes a ``Resource`` if ``scope`` is
    resource and ``types`` (a pattern) matches its type; else the ``Graph``. Scope ``change`` needs a base to compare
    with."""

    id: str
    title: str
    reason: str
    key: str
    fix: str
    scope: Scope
    judge: Any = field(repr=False)
    levels: Mapping[str, Level] = field(default_factory=lambda: MANDATORY)
    types: str = ".*"

    def level(self, environment: str) -> Level:
        """Return the level in ``environment``; an unknown environment gets the level of ``prod``."""
        return self.levels.get(environment, self.levels["prod"])

    def wants(self, resource: Resource) -> bool:
        return not resource.external and re.fullmatch(self.types, resource.type) is not None


def rule(
    *,
    id: str,
    title: str,
    reason: str,
    key: str,
    fix: str,
    scope: Scope,
    levels: Mapping[str, Level] = MANDATORY,
    types: str = ".*",
) -> Callable[[Callable[[Any, Any], Iterator[Outcome]]], Rule]:
    """Return a decorator that makes a rule from a function that judges."""
    return lambda judge: Rule(
        id=id, title=title, reason=reason, key=key, fix=fix, scope=scope, judge=judge, levels=levels, types=types
    )


UNREADABLE = (UnknownValue, TypeError, ValueError, KeyError, IndexError, AttributeError)
"""What a rule stops with at a value that is not known, that is hidden, or that has an unexpected shape."""


def unjudged(error: Exception, at: str) -> NotEvaluated:
    """Return what a rule left open. What is hidden, or has a shape that the rule cannot read, no later run will judge:
    it counts as broken. The text of any other error could quote the inputs."""
    if isinstance(error, UnknownValue):
        return NotEvaluated(at, error.path, error.why, broken=error.hidden)
    return NotEvaluated(at, "", f"has a shape this rule cannot read ({type(error).__name__})", broken=True)


def each(things: Iterable[Any], judge: Callable[[Any], Iterator[Outcome]], at: str) -> Iterator[Outcome]:
    """Judge one thing after the other: what cannot be read in one does not keep the others from being judged."""
    iterator = iter(things)
    thing: Any = None
    while True:
        try:
            thing = next(iterator)
            yield from judge(thing)
        except StopIteration:
            return
        except UNREADABLE as error:
            yield unjudged(error, getattr(getattr(thing, "owner", thing), "urn", at))


def graph_of(
    entries: Iterable[Mapping[str, Any]],
    judgement: Judgement | None,
    changes: Iterable[Change] = (),
    *,
    completed: bool = False,
) -> Graph:
    """Build the graph from the recorded graph's JSON and the judgement of the stack file (None: there is no such file).
    A text that refers to an output of a resource in it, or of a provider function, is not known yet; one that only
    looks like a reference is text. ``completed``: an engine shows them; a recorded graph cannot say so of itself."""
    entries = list(entries)
    urns = {str(entry["urn"]) for entry in entries}
    resources = tuple(_resource(entry, urns, completed) for entry in entries)
    if judgement is None:
        return Graph(resources, changes=tuple(changes))
    return Graph(resources, judgement.reading.partial, judgement.findings, tuple(changes))


def _resource(entry: Mapping[str, Any], urns: set[str], completed: bool) -> Resource:
    return Resource(
        urn=str(entry["urn"]),
        type=str(entry["type"]),
        name=str(entry["name"]),
        inputs=InputsMap(_marked(entry.get("inputs") or {}, urns)),
        parent=str(entry.get("parent") or ""),
        protect=bool(entry.get("protect")),
        ignore_changes=tuple(map(str, entry.get("ignoreChanges") or ())),
        depends_on=tuple(map(str, entry.get("dependsOn") or ())),
        external=bool(entry.get("external")),
        custom=bool(entry.get("custom", True)),
        options=tuple(map(str, entry.get("options") or ())),
        completed=completed,
    )


def _marked(value: Any, urns: set[str]) -> Any:
    if isinstance(value, str):
        for match in _LATE.finditer(value):
            source = match["source"]
            if source in urns or _INVOKE.match(source):
                return Unknown(source.rpartition("::")[2] or source, value)
        return value
    if isinstance(value, Mapping):
        return {str(key): _marked(item, urns) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_marked(item, urns) for item in value]
    return value
