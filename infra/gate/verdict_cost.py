"""What a stack costs, as the gate needs it. The figures come from the base's catalogue and never from the head's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from infra.policies.model import Graph
from infra.policies.settings import seconds
from infra.policies.stackfile import FilePool, pools

HOURS_A_MONTH = 730


@dataclass(frozen=True)
class Cost:
    """US dollars an hour: ``floor`` while nobody asks, ``ceiling`` with everything at its max. ``unknown`` names what
    has no price and is in neither; ``scope`` says what was counted at all."""

    floor: float
    ceiling: float
    unknown: tuple[str, ...] = ()
    scope: str = "GPU nodes alone"

    @property
    def floor_month(self) -> float:
        return self.floor * HOURS_A_MONTH

    @property
    def ceiling_month(self) -> float:
        return self.ceiling * HOURS_A_MONTH


class Pricer(Protocol):
    """Whatever can price a stack file; the preflight's cost takes this place when it is there."""

    def __call__(self, stack: Mapping[str, Any]) -> Cost: ...


def nodes(stack: Mapping[str, Any]) -> Cost:
    """GPU nodes at the catalogue's prices."""
    graph = Graph((), stack)
    floor = ceiling = 0.0
    unknown = []
    for pool in pools(graph):
        if not pool.is_priced:
            continue
        price = pool.price(graph)
        if price is None:
            unknown.append(f"pools.{pool.name}")
            continue
        floor += max(pool.min, _kept(graph, pool)) * price
        ceiling += (pool.max or 0) * price
    scheduled = any(model.get("schedules") for _, model in graph.entries("models"))
    scope = "GPU nodes alone, without the hours that schedules keep warm" if scheduled else Cost.scope
    return Cost(round(floor, 4), round(ceiling, 4), tuple(unknown), scope)


def _kept(graph: Graph, pool: FilePool) -> int:
    """Nodes that models with a min stand on."""
    gpus = 0
    for _, model in graph.entries("models"):
        if model.get("pool") == pool.name:
            sizes = model.get("min", 0), model.get("nodes", 1), model.get("gpus", 1)
            gpus += math.prod(sizes) if all(isinstance(size, int) for size in sizes) else 0
    return -(-gpus // pool.gpus) if pool.gpus else 0


def cold_starts(stack: Mapping[str, Any]) -> dict[str, float]:
    """Seconds that the longest start of each model may take, as its stack file says."""
    found = {}
    for name, model in Graph((), stack).entries("models"):
        value = seconds(model.get("coldStart", "10m"))
        if value is not None:
            found[name] = value
    return found
