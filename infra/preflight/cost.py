"""What a stack costs when nobody asks (floor) and when everything runs (ceiling), by pool and by model. Pure.

The floor is an average over a week where keep-warm windows hold replicas in some of its hours.

A node's price is ``infra.config.judge_cost.price_per_hour``, the same that the cap in the stack file is held against.
Counted are the GPU nodes alone: the cluster itself, its system pool, network, storage and traffic are not in the
catalogue, and the report says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from infra.config.judge_cost import price_per_hour
from infra.config.keep_warm import Replicas, week
from infra.config.machines import find
from infra.config.model import ModelConfig
from infra.config.pool import PoolConfig
from infra.config.stack import StackConfig

HOURS_A_MONTH = 730
HOURS_A_WEEK = 168
NOT_COUNTED = "the cluster itself, its system pool, network, load balancer, storage and traffic"


@dataclass(frozen=True)
class NodePrice:
    """US dollars an hour for one node; None is unknown. ``paid`` is what this pool pays: its own ``pricePerHour``, or
    the catalogue's price for its capacity. ``free`` where the nodes are there already and nobody bills by the hour."""

    paid: float | None
    on_demand: float | None
    spot: float | None
    free: bool
    told: str


@dataclass(frozen=True)
class PoolCost:
    """One pool: nodes that are always there, nodes at its max. ``warm_nodes`` is what keep-warm windows add to the
    first, on average over a week."""

    name: str
    price: NodePrice
    floor_nodes: int
    ceiling_nodes: int
    warm_nodes: float = 0.0

    def per_hour(self, nodes: float, price: float | None = None) -> float | None:
        """Dollars for ``nodes``: none cost nothing, also at an unknown price. ``price`` None: what the pool pays."""
        each = self.price.paid if price is None else price
        if nodes == 0 or (self.price.free and each is None):
            return 0.0
        return None if each is None else nodes * each

    @property
    def floor(self) -> float | None:
        return self.per_hour(self.floor_nodes + self.warm_nodes)

    @property
    def ceiling(self) -> float | None:
        return self.per_hour(self.ceiling_nodes)

    def ceiling_at(self, price: float | None) -> float | None:
        """At another price, like spot in place of on demand; None where that is unknown."""
        return None if price is None and not self.price.free else self.per_hour(self.ceiling_nodes, price)


@dataclass(frozen=True)
class ModelCost:
    """A model's part of the nodes its replicas hold, by GPUs: the rest of a node is billed all the same.
    ``warm_hours`` is how long in a week windows keep more replicas than its min, added up over these replicas."""

    name: str
    floor: float | None
    ceiling: float | None
    one_replica: float | None
    warm_hours: float = 0.0


@dataclass(frozen=True)
class Cost:
    """Dollars an hour. Sums have the known prices only; ``unknown`` names the pools that are missing in them."""

    pools: tuple[PoolCost, ...]
    models: tuple[ModelCost, ...]
    cap: float | None
    unknown: tuple[str, ...]

    @property
    def floor(self) -> float:
        return sum(pool.floor or 0 for pool in self.pools)

    @property
    def ceiling(self) -> float:
        return sum(pool.ceiling or 0 for pool in self.pools)

    def ceiling_at(self, kind: str) -> float | None:
        """All pools at their max ``on_demand`` or ``spot``; None where one has no such price."""
        sums = [pool.ceiling_at(getattr(pool.price, kind)) for pool in self.pools]
        return None if None in sums else sum(each or 0 for each in sums)


def month(per_hour: float | None) -> float | None:
    """Of 730 hours."""
    return None if per_hour is None else per_hour * HOURS_A_MONTH


def node_price(pool: PoolConfig, region: str | None) -> NodePrice:
    """What one node costs, and where that is from."""
    paid = price_per_hour(pool, region)
    machine = find(pool.place, pool.machine)
    known = machine.prices.get(region) if machine is not None and region is not None else None
    on_demand, spot = (known.on_demand, known.spot) if known else (None, None)
    if pool.price_per_hour is not None:
        told = "pricePerHour of the stack file"
    elif machine is None:
        told = "the nodes are there already: no price by the hour"
    elif known is None:
        told = f"unknown: no price of {machine.name} in {region} has been looked up"
    else:
        told = f"{known.source}, read {known.read_on}"
        if pool.capacity == "spot" and spot is None:
            told += "; spot unknown, counted at the price on demand"
    return NodePrice(paid, on_demand, spot, machine is None, told)


def nodes_kept(pool: PoolConfig, per_node: int, models: Iterable[ModelConfig], replicas: Replicas | None = None) -> int:
    """Nodes that are there when nobody asks: the pool's own min, and those that ``replicas`` need, by default each
    model's min."""
    free: list[int] = []
    counts = ((m.gpus, m.nodes * (m.min if replicas is None else replicas[m.name])) for m in models)
    for gpus in sorted((gpus for gpus, count in counts for _ in range(count)), reverse=True):
        fitting = next((index for index, left in enumerate(free) if left >= gpus), None)
        if fitting is None:
            free.append(per_node - gpus)
        else:
            free[fitting] -= gpus
    return max(pool.min, min(len(free), pool.max))


def cost(stack: StackConfig, gpus_per_node: Mapping[str, int]) -> Cost:
    """Of the whole stack; ``gpus_per_node`` as the scheduler counts them, by pool."""
    region = getattr(stack.platform, "region", None)
    by_pool: dict[str, list[ModelConfig]] = {}
    for model in stack.models.values():
        by_pool.setdefault(model.pool, []).append(model)
    pools = tuple(
        _pool(pool, node_price(pool, region), gpus_per_node[name], by_pool.get(name, []))
        for name, pool in stack.pools.items()
    )
    of = {pool.name: pool for pool in pools}
    models = tuple(
        _model(model, [(of[name], gpus_per_node[name]) for name in model.pools if name in of])
        for model in stack.models.values()
        if model.pool in of
    )
    unknown = tuple(pool.name for pool in pools if pool.ceiling is None)
    return Cost(pools, models, stack.guard.max_dollars_per_hour, unknown)


def _pool(pool: PoolConfig, price: NodePrice, per_node: int, models: list[ModelConfig]) -> PoolCost:
    least = nodes_kept(pool, per_node, models)
    average = sum(share * (nodes_kept(pool, per_node, models, replicas) - least) for share, replicas in week(models))
    return PoolCost(pool.name, price, least, pool.max, average)


def _model(model: ModelConfig, pools: Sequence[tuple[PoolCost, int]]) -> ModelCost:
    """``pools`` with their GPUs a node, the first choice first: floor and one replica are of that one. The ceiling is
    of the dearest nodes its pods may hold, as nobody knows which pool will have room on a bad day; of a replica on
    several machines each pod finds its pool by itself.
    """
    warm = sum(share * (replicas[model.name] - model.min) for share, replicas in week([model]))
    places = [(_pod(model, pool, per_node), _room(model, pool, per_node)) for pool, per_node in pools]
    one = _times(places[0][0], model.nodes)
    ceiling: float | None = 0.0
    left = model.nodes * min(model.max, sum(room for _, room in places) // model.nodes)
    # a price nobody knows comes first: it may be the dearest
    for price, room in sorted(places, key=lambda each: float("-inf") if each[0] is None else -each[0]):
        part = _times(price, min(left, room))
        ceiling = None if ceiling is None or part is None else ceiling + part
        left -= min(left, room)
    return ModelCost(model.name, _times(one, model.min + warm), ceiling, one, warm * HOURS_A_WEEK)


def _pod(model: ModelConfig, pool: PoolCost, per_node: int) -> float | None:
    """One machine's part of a replica."""
    node = pool.per_hour(1)
    return None if node is None else node * model.gpus / max(1, per_node)


def _room(model: ModelConfig, pool: PoolCost, per_node: int) -> int:
    return pool.ceiling_nodes * per_node // max(1, model.gpus)


def _times(one: float | None, replicas: float) -> float | None:
    return 0.0 if replicas == 0 else None if one is None else one * replicas
