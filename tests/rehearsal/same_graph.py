"""Comparison of `ebbtide graph`, which runs no engine, with the state that the engine wrote for the same stack file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from infra.policies.inputs import HIDDEN
from tests.rehearsal.charts import RELEASE

STAND_INS: Mapping[str, set[str]] = {
    RELEASE: {"chart", "repositoryOpts", "compat"},  # the last is between SDK and provider alone
    "docker-build:index:Image": {"context", "dockerfile"},  # folders, from where the program lies
}
"""Inputs that the rehearsal itself changes."""
LATE = "${"
"""What `graph` writes for a value that is known only when the resource that it comes from is there."""


def differences(graph: Iterable[Mapping[str, Any]], state: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield each resource that only one of them has, and each value that they have differently."""
    recorded = {each["urn"]: each for each in graph}
    by_urn = {each["urn"]: each for each in state if not _is_the_engines(each)}
    yield from (f"only in the graph: {urn}" for urn in recorded.keys() - by_urn.keys())
    yield from (f"only in the state: {urn}" for urn in by_urn.keys() - recorded.keys())
    for urn in sorted(recorded.keys() & by_urn.keys()):
        kept = {
            name: value
            for name, value in recorded[urn]["inputs"].items()
            if name not in STAND_INS.get(recorded[urn]["type"], ())
        }
        yield from (f"{urn}: {each}" for each in _values(kept, by_urn[urn].get("inputs") or {}, "inputs"))
        if recorded[urn]["protect"] != bool(by_urn[urn].get("protect")):
            yield f"{urn}: protect"


def _is_the_engines(resource: Mapping[str, Any]) -> bool:
    """Return True for what the engine adds by itself: the stack, and a provider where the program names none."""
    kind, name = resource["type"], resource["urn"].rpartition("::")[2]
    return kind == "pulumi:pulumi:Stack" or (kind.startswith("pulumi:providers:") and name.startswith("default"))


def _values(graph: Any, state: Any, path: str) -> Iterator[str]:
    if isinstance(graph, str) and (LATE in graph or graph == HIDDEN):
        return
    if isinstance(graph, Mapping) and isinstance(state, Mapping):
        for name, value in graph.items():
            yield from _values(value, state.get(name), f"{path}.{name}")
    elif isinstance(graph, list) and isinstance(state, list) and len(graph) == len(state):
        for number, (one, other) in enumerate(zip(graph, state, strict=True)):
            yield from _values(one, other, f"{path}[{number}]")
    elif graph != state:
        yield f"{path} is {graph!r} in the graph, {state!r} in the state"
