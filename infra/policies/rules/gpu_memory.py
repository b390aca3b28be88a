"""Weights fit the GPUs they are loaded on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.policies.model import Graph, NotEvaluated, Outcome, Rule, Violation
from infra.policies.settings import Settings
from infra.policies.stackfile import FilePool, model_pools, pools, size


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    by_name = {pool.name: pool for pool in pools(graph)}
    for name, model in graph.entries("models"):
        for pool in (by_name[each] for each in model_pools(model) if each in by_name):
            yield from _fits(f"stack:models.{name}", model, pool)


def _fits(at: str, model: Mapping[str, Any], pool: FilePool) -> Iterator[Outcome]:
    weights = size(model.get("weights"))
    if pool.on_cpu:
        return
    if weights is None or pool.gpu_memory is None:
        missing = "weights" if weights is None else f"the memory of a GPU of pool {pool.name}"
        yield NotEvaluated(at, "weights", f"needs {missing}, which nobody has said")
        return
    each, nodes, share = model.get("gpus", 1), model.get("nodes", 1), model.get("gpuMemoryUtilization", 0.9)
    if not (isinstance(each, int) and isinstance(nodes, int) and isinstance(share, (int, float))):
        return
    gpus = nodes * each
    if weights > gpus * pool.gpu_memory * share:
        room = gpus * pool.gpu_memory * share / 2**30
        yield Violation(
            at, "weights", f"are {weights / 2**30:.1f} GiB; {gpus} GPUs of {pool.name} leave {room:.1f} GiB"
        )


RULE = Rule(
    id="gpu-memory",
    title="The weights of every model fit the memory of its GPUs",
    reason="a model that does not fit is paid for while it crashes, again and again",
    key="models.<model>.gpus",
    fix="take more GPUs, a machine with more memory, or a quantized variant",
    scope="stack",
    judge=judge,
)
