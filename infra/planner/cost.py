"""Cost of a stack while every model sleeps (floor) and with every pool at its max (ceiling). Pure.

Two parts are kept separate everywhere: the GPU nodes, by pool and by model, and what stands without them (the cluster,
its system nodes, ways in and out, stores), from the place's own list. The floor is an average over a week where
keep-warm windows hold replicas in some of its hours. This is the only cost arithmetic: the plan, its page, the gate and
its comment show its figures, and caps are compared with its ceiling for the GPU nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from components.platforms.kinds import kind_of
from components.platforms.standing import HOURS_A_MONTH, Line, StandingFacts, lines, prices
from infra.stackfile.keep_warm import Replicas, week
from infra.stackfile.node_price import NodePrice, node_price
from infra.stackfile.pool_request import pool_request
from infra.stackfile.schema.model import ModelConfig
from infra.stackfile.schema.pool import Capacity, PoolConfig
from infra.stackfile.schema.stack import StackConfig

HOURS_A_WEEK = 168
_GIB = 2**30
_NEVER_COUNTED = ("disks of GPU nodes", "traffic")


@dataclass(frozen=True, kw_only=True)
class PoolCost:
    """Nodes of one pool: those always there, and those at its max. ``warm_nodes`` is what keep-warm windows add to the
    first, on average over a week; windows over all of it are always there."""

    name: str
    price: NodePrice
    floor_nodes: int
    ceiling_nodes: int
    warm_nodes: float = 0.0

    @property
    def floor(self) -> float | None:
        return self.price.for_nodes(self.floor_nodes + self.warm_nodes)

    @property
    def ceiling(self) -> float | None:
        return self.price.for_nodes(self.ceiling_nodes)

    def ceiling_at(self, capacity: Capacity) -> float | None:
        """Return the ceiling at the catalogue's price for another capacity; None where that is unknown."""
        return self.price.for_nodes(self.ceiling_nodes, capacity)


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """A model's share of the nodes its replicas hold, by GPUs: the rest of a node is billed all the same.
    ``warm_hours`` is how long in a week windows keep more replicas than its min, summed over these replicas."""

    name: str
    floor: float | None
    ceiling: float | None
    one_replica: float | None
    warm_hours: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Dollars an hour: ``floor`` while every model sleeps, ``ceiling`` with every pool at its max."""

    floor: float
    ceiling: float

    def __add__(self, other: Bounds) -> Bounds:
        return Bounds(floor=self.floor + other.floor, ceiling=self.ceiling + other.ceiling)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of the whole stack. Sums hold known prices only: ``unknown`` names what they lack. ``not_counted`` is in
    none of them: billed by use, or paid by others. ``cap`` is the stack file's, for GPU nodes."""

    pools: tuple[PoolCost, ...] = ()
    models: tuple[ModelCost, ...] = ()
    standing: tuple[Line, ...] = ()
    cap: float | None = None
    not_counted: tuple[str, ...] = _NEVER_COUNTED

    @property
    def gpu_nodes(self) -> Bounds:
        """Return the cost of the GPU nodes alone."""
        return _sum(self.pools)

    @property
    def cluster(self) -> Bounds:
        """Return the cost of everything but the GPU nodes."""
        return _sum(self.standing)

    @property
    def standing_at_most(self) -> float:
        """Return what the cluster may cost an hour, to hold a ceiling against: a price that is unknown in the region
        counts as the highest of any region."""
        return sum(line.most * (line.highest or 0) for line in self.standing)

    @property
    def total(self) -> Bounds:
        """Return both together."""
        return self.gpu_nodes + self.cluster

    @property
    def unknown_pools(self) -> tuple[str, ...]:
        return tuple(pool.name for pool in self.pools if pool.ceiling is None)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Return the names of everything without a known price."""
        return (*self.unknown_pools, *(line.what for line in self.standing if line.price is None))

    def gpu_ceiling_at(self, capacity: Capacity) -> float | None:
        """Return the cost of all pools at their max as ``onDemand`` or ``spot``; None where one has no such price."""
        sums = [pool.ceiling_at(capacity) for pool in self.pools]
        return None if None in sums else sum(each or 0 for each in sums)


def _sum(parts: Iterable[PoolCost | Line]) -> Bounds:
    known = [(part.floor or 0, part.ceiling or 0) for part in parts]
    return Bounds(floor=sum(floor for floor, _ in known), ceiling=sum(ceiling for _, ceiling in known))


def month(per_hour: float | None) -> float | None:
    """Return the monthly cost (730 hours); None where it is unknown."""
    return None if per_hour is None else per_hour * HOURS_A_MONTH


def nodes_kept(pool: PoolConfig, per_node: int, models: Iterable[ModelConfig], replicas: Replicas | None = None) -> int:
    """Return the nodes that stay without requests: what ``replicas`` (default: each model's min) need, at least the
    pool's min and at most its max."""
    free: list[int] = []
    counts = ((m.gpus, m.nodes * (m.min if replicas is None else replicas[m.name])) for m in models)
    for gpus in sorted((gpus for gpus, count in counts for _ in range(count)), reverse=True):
        fitting = next((index for index, left in enumerate(free) if left >= gpus), None)
        if fitting is None:
            free.append(per_node - gpus)
        else:
            free[fitting] -= gpus
    return max(pool.min, min(len(free), pool.max))


def cost(stack: StackConfig) -> Cost:
    """Return the cost of the whole stack."""
    per_node = {name: pool_request(pool).pool.gpus_per_node for name, pool in stack.pools.items()}
    by_pool: dict[str, list[ModelConfig]] = {}
    for model in stack.models.values():
        by_pool.setdefault(model.pool, []).append(model)
    pools = tuple(
        _pool(pool, node_price(pool, stack.platform.region), per_node[name], by_pool.get(name, []))
        for name, pool in stack.pools.items()
    )
    of = {pool.name: pool for pool in pools}
    models = tuple(
        _model(model, [(of[name], per_node[name]) for name in model.pools if name in of])
        for model in stack.models.values()
        if model.pool in of
    )
    standing, not_counted = _standing(stack, pools)
    return Cost(
        pools=pools,
        models=models,
        standing=standing,
        cap=stack.guard.max_dollars_per_hour,
        not_counted=not_counted,
    )


def _standing(stack: StackConfig, pools: Sequence[PoolCost]) -> tuple[tuple[Line, ...], tuple[str, ...]]:
    """Return what the place bills without GPU nodes, and the names of what is not counted here."""
    kind = kind_of(stack.platform)
    stands = kind.standing()
    if stands is None:
        return (), ("the cluster itself, which is there already", *_NEVER_COUNTED)
    stored = {(model.id, model.revision): model for model in stack.models.values()}
    sizes = {model.name: model.weights.bytes if model.weights else None for model in stored.values()}
    facts = StandingFacts(
        environment=stack.environment,
        protect=stack.protect,
        gpu_nodes=(sum(pool.floor_nodes for pool in pools), sum(pool.ceiling_nodes for pool in pools)),
        weights_gib=sum(size or 0 for size in sizes.values()) / _GIB,
    )
    standing = stands(stack.platform, facts)
    without = [name for name, size in sizes.items() if size is None]
    unsized = (f"weights of {', '.join(without)}, whose size the stack file does not give",) if without else ()
    not_counted = (*standing.elsewhere, *unsized, _NEVER_COUNTED[0], *prices(kind.name).by_use)
    return lines(kind.name, standing.items, stack.platform.region), not_counted


def _pool(pool: PoolConfig, price: NodePrice, per_node: int, models: list[ModelConfig]) -> PoolCost:
    warm = [(share, nodes_kept(pool, per_node, models, replicas)) for share, replicas in week(models)]
    least = min(nodes for _, nodes in warm)
    average = sum(share * (nodes - least) for share, nodes in warm)
    return PoolCost(name=pool.name, price=price, floor_nodes=least, ceiling_nodes=pool.max, warm_nodes=average)


def _model(model: ModelConfig, pools: Sequence[tuple[PoolCost, int]]) -> ModelCost:
    """Return a model's cost. ``pools`` have their GPUs per node, the first choice first: floor and one replica use that
    one. The ceiling uses the most expensive nodes its pods may hold, as nobody knows which pool will have room on a bad
    day; each pod of a replica on several machines finds its pool by itself.
    """
    warm = sum(share * (replicas[model.name] - model.min) for share, replicas in week([model]))
    places = [(_pod(model, pool, per_node), _room(model, pool, per_node)) for pool, per_node in pools]
    one = _times(places[0][0], model.nodes)
    ceiling: float | None = 0.0
    left = model.nodes * min(model.max, sum(room for _, room in places) // model.nodes)
    # an unknown price comes first: it may be the highest
    for price, room in sorted(places, key=lambda each: float("-inf") if each[0] is None else -each[0]):
        part = _times(price, min(left, room))
        ceiling = None if ceiling is None or part is None else ceiling + part
        left -= min(left, room)
    return ModelCost(
        name=model.name,
        floor=_times(one, model.min + warm),
        ceiling=ceiling,
        one_replica=one,
        warm_hours=warm * HOURS_A_WEEK,
    )


def _pod(model: ModelConfig, pool: PoolCost, per_node: int) -> float | None:
    """Return the cost of one machine's part of a replica."""
    node = pool.price.for_nodes(1)
    return None if node is None else node * model.gpus / max(1, per_node)


def _room(model: ModelConfig, pool: PoolCost, per_node: int) -> int:
    return pool.ceiling_nodes * per_node // max(1, model.gpus)


def _times(one: float | None, replicas: float) -> float | None:
    return 0.0 if replicas == 0 else None if one is None else one * replicas
