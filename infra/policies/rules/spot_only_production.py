"""Production does not stand on interruptible nodes alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from infra.policies.clouds import Pool, gpu_pools
from infra.policies.model import PROD_ONLY, Graph, Outcome, Rule, Violation, each
from infra.policies.settings import Settings
from infra.policies.stackfile import model_pools


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    wanted = [model_pools(model) for _, model in graph.entries("models")]
    spot = {name for name, pool in graph.entries("pools") if pool.get("capacity") == "spot"}
    for name, _ in graph.entries("pools"):
        if _is_all(name, spot, wanted):
            yield Violation(f"stack:pools.{name}", "capacity", "is all that carries the models on it")

    # what the program makes counts as well: it may be spot where the stack file says otherwise
    bought: dict[str, Pool] = {}

    def made(found: Pool) -> Iterator[Outcome]:
        name = _pool_of(found.resource.name, wanted)
        if name is not None and found.is_spot:
            bought[name] = found
        yield from ()

    yield from each(gpu_pools(graph), made, "stack:pools")
    for name, found in bought.items():
        if _is_all(name, spot | bought.keys(), wanted):
            yield found.resource.violation(found.row["spot"]["path"], "is spot, and all that carries the models on it")


def _is_all(name: str, spot: Set[str], wanted: Sequence[Sequence[str]]) -> bool:
    """Whether a model's first choice is ``name`` and all its pools are spot."""
    return any(pools[0] == name and spot >= set(pools) for pools in wanted)


def _pool_of(resource: str, wanted: Sequence[Sequence[str]]) -> str | None:
    """The pool a resource is named after: the longest name, as one may begin like another."""
    return max((name for pools in wanted for name in pools if name in resource), key=len, default=None)


RULE = Rule(
    id="spot-only-production",
    title="In production no model stands on spot nodes alone",
    reason="spot nodes go at two minutes notice or less, all at once, when everybody else wants them too",
    key="pools.<pool>.capacity",
    fix="set capacity: onDemand, or give these models a pool with it under pool or fallbackPools",
    scope="stack",
    judge=judge,
    levels=PROD_ONLY,
)
