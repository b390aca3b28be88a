"""Everything that scales has an upper end."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import Pool, gpu_pools
from infra.policies.model import Graph, Outcome, Resource, Rule, Violation, each
from infra.policies.seen import look
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    for section in ("pools", "models"):
        for name, entry in graph.entries(section):
            if entry.get("max") is None:
                yield Violation(f"stack:{section}.{name}", "max", "is missing")
    yield from each(gpu_pools(graph), _pool, "stack:pools")
    yield from each(graph.of_kind("ScaledObject"), _scaled, "stack:models")


def _pool(pool: Pool) -> Iterator[Outcome]:
    if pool.number("max") is None:
        yield pool.resource.violation(pool.row["max"], "is missing", "pools.<pool>.max")


def _scaled(scaled: Resource) -> Iterator[Outcome]:
    if look(scaled.inputs, "spec.maxReplicaCount") is None:
        yield scaled.violation("spec.maxReplicaCount", "is missing", "models.<model>.max")


RULE = Rule(
    id="max-present",
    title="Every pool and every model has a max",
    reason="without a ceiling nothing bounds the cost",
    key="max",
    fix="add max: and the most that may run at once",
    scope="stack",
    judge=judge,
)
