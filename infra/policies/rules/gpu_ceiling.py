"""GPUs of all pools at their max against the ceiling of the environment."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import gpu_pools
from infra.policies.model import Graph, Outcome, Rule, Violation
from infra.policies.settings import Settings
from infra.policies.stackfile import pools


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    most = settings.ceiling.gpus
    declared = sum(pool.max * pool.gpus for pool in pools(graph) if pool.max is not None)
    if declared > most:
        yield Violation(
            "stack:pools", "max", f"may hold {declared} GPUs; the ceiling of {settings.environment} is {most}"
        )
        return
    # what the program asks for counts as well: it may ask for more than the stack file says
    asked = sum((pool.number("max") or 0) * (pool.machine.gpus if pool.machine else 0) for pool in gpu_pools(graph))
    if asked > most:
        yield Violation("stack:pools", "max", f"may hold {asked} GPUs; the ceiling of {settings.environment} is {most}")


RULE = Rule(
    id="gpu-ceiling",
    title="All pools together stay under the ceiling of GPUs",
    reason="a stack whose pools may hold more GPUs than agreed on can empty the budget and the quota of everybody else",
    key="pools.<pool>.max",
    fix="lower max of a pool, or have the ceiling in infra/policies/settings.yaml raised",
    scope="stack",
    judge=judge,
)
