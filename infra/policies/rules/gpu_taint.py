"""Nodes with GPUs turn away pods that need none."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import Pool, gpu_pools
from infra.policies.model import Graph, Outcome, Resource, Rule, each
from infra.policies.seen import look
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    yield from each(gpu_pools(graph), _pool, "stack:pools")
    yield from each(graph.of_kind("NodePatch"), _node, "stack:pools")


def _pool(pool: Pool) -> Iterator[Outcome]:
    if not any(effect in ("NoSchedule", "NoExecute") for _, _, effect in pool.taints):
        yield pool.resource.violation(pool.row["taints"], "has no NoSchedule taint")


def _node(node: Resource) -> Iterator[Outcome]:
    taints = look(node.inputs, "spec.taints") or ()
    if not any(look(taint, "effect") in ("NoSchedule", "NoExecute") for taint in taints):
        yield node.violation("spec.taints", "has no NoSchedule taint")


RULE = Rule(
    id="gpu-taint",
    title="Every GPU pool carries a NoSchedule taint",
    reason="without it any pod can land on a GPU node and keep it, and its bill, up",
    key="pools.<pool>.taints",
    fix="leave taints out for workerType and the name of the pool",
    scope="stack",
    judge=judge,
)
