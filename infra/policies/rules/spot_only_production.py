"""Production does not stand on interruptible nodes alone."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import Pool, gpu_pools
from infra.policies.model import PROD_ONLY, Graph, Outcome, Rule, Violation, each
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    used = {str(model.get("pool")) for _, model in graph.entries("models")}
    for name, pool in graph.entries("pools"):
        if pool.get("capacity") == "spot" and name in used:
            yield Violation(f"stack:pools.{name}", "capacity", "is all that carries the models on it")

    def made(found: Pool) -> Iterator[Outcome]:
        if found.is_spot and any(name in found.resource.name for name in used):
            yield found.resource.violation(found.row["spot"]["path"], "is spot, and all that carries the models on it")

    yield from each(gpu_pools(graph), made, "stack:pools")


RULE = Rule(
    id="spot-only-production",
    title="In production no model stands on spot nodes alone",
    reason="spot nodes go at two minutes notice or less, all at once, when everybody else wants them too",
    key="pools.<pool>.capacity",
    fix="set capacity: onDemand, or put these models on another pool",
    scope="stack",
    judge=judge,
    levels=PROD_ONLY,
)
