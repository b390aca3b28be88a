"""Rules between the fields of one pool, the place it is in, and the other pools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from components.platforms.kinds import kind_of
from components.typed.refusal import Path, Problem
from infra.config.draft import Draft, Part
from infra.config.judge_reason import more_than_max, without_reason
from infra.config.machines import find
from infra.config.pool import PoolConfig

# Keys of a pool that only say something where the place makes the nodes, and where it does not.
_OF_MADE = ("machine", "zones", "capacity", "reservation", "capacityBlock", "disk")
_OF_FOUND = ("gpu", "nodes", "nodeLabels")


def judge_pool(part: Part[PoolConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    """All problems of one pool at path ``at`` that its own fields do not show alone."""
    pool = part.value
    if part.sound("min", "max") and pool.min > pool.max:
        yield more_than_max(at, pool.min, pool.max)
    if part.sound("min", "min_reason"):
        yield from without_reason(at, pool.min, pool.min_reason, draft)
    if draft.platform is not None:
        yield from _fitting_keys(part, at, draft)
    if part.sound("machine"):
        yield from _region(pool, at, draft)
    yield from _sharing(part, at, draft)
    yield from _marks(part, at)


def judge_pools(draft: Draft) -> Iterator[Problem]:
    """Pools that get in each other's way."""
    owners: dict[str, str] = {}
    seen: dict[str, Mapping[str, str]] = {}
    for name, part in draft.pools.items():
        pool, at = part.value, ("pools", name)
        for index, node in enumerate(pool.nodes if part.sound("nodes") else ()):
            first = owners.setdefault(node, name)
            if first != name:
                message, fix = f"is a node of pool {first} too", "keep it in one of the two"
                yield Problem(197, (*at, "nodes", index), message, "nodes that no other pool names", fix, node)
        if not part.sound("labels") or not pool.labels:
            continue
        for other, labels in seen.items():
            if labels.items() <= pool.labels.items() or pool.labels.items() <= labels.items():
                message = f"also fit the nodes of pool {other}: its models could land on these nodes, or these on its"
                fix = "leave labels out on both: each pool then gets its own name for one"
                yield Problem(196, (*at, "labels"), message, "labels no other pool's nodes carry", fix, has_value=False)
                break
        seen[name] = pool.labels


def _fitting_keys(part: Part[PoolConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    kind = kind_of(draft.platform)
    foreign = _OF_FOUND if kind.makes_nodes else _OF_MADE
    for key in part.raw:
        if key not in foreign:
            continue
        if kind.makes_nodes:
            message = f"has no meaning on platform {kind.name}, which makes its nodes from machines"
            allowed, fix = "a machine, which says what GPUs its nodes have", "take it out, and name a machine"
        else:
            message = f"has no meaning on platform {kind.name}, where the nodes are there already"
            allowed, fix = "gpu, and nodes or nodeLabels", "take it out, and describe the nodes under gpu"
        yield Problem(194, (*at, key), message, allowed, fix, has_value=False)


def _region(pool: PoolConfig, at: Path, draft: Draft) -> Iterator[Problem]:
    machine, region = find(pool.place, pool.machine), getattr(draft.platform, "region", None)
    if machine is not None and region is not None and machine.regions and region not in machine.regions:
        message, allowed = f"is not sold in {region}", ", ".join(machine.regions)
        fix = "put the stack in one of these regions, or take another machine"
        yield Problem(5, (*at, "machine"), message, allowed, fix, pool.machine)


def _sharing(part: Part[PoolConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    pool, path = part.value, (*at, "sharing")
    sharing = pool.sharing
    if not part.sound("sharing") or sharing is None:
        return
    on_cpu = part.sound("device") and pool.device == "cpu"
    if len(sharing.ways) != 1:
        fix = "write mig: {profile: 1g.10gb}, timeSlicing: {replicas: 4} or turns: {models: 4}"
        message = f"names {', '.join(sharing.ways)}" if sharing.ways else "names no way of sharing"
        yield Problem(198, path, message, "one of mig, timeSlicing, turns", fix, has_value=False)
        return
    if sharing.turns is not None and part.sound("gpu") and pool.gpu.count > 1 and not on_cpu:
        count = pool.gpu.count
        message = f"is for nodes with one GPU, and these have {count}: nobody can tell which card an engine has"
        fix = "take a machine with one GPU, or share in another way"
        yield Problem(204, (*path, "turns"), message, "turns on a pool with one GPU a node", fix, has_value=False)
    if draft.gpu_layer_install == "existing" and not on_cpu:
        message = "is set up by the GPU operator, which this stack does not install"
        fix = "set gpuLayer: {install: helm}, or share in the cluster's own operator and give gpu.count as pods see it"
        yield Problem(198, path, message, "sharing where gpuLayer.install is helm", fix, has_value=False)


def _marks(part: Part[PoolConfig], at: Path) -> Iterator[Problem]:
    if part.sound("labels") and not part.value.labels:
        message = "is empty: the selector of its models would match any node"
        fix = "leave labels out for workerType and the pool's name"
        yield Problem(37, (*at, "labels"), message, "at least one label", fix, has_value=False)
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(part.value.taints if part.sound("taints") else ()):
        if (taint.key, taint.effect) in seen:
            message, fix = "is there already with this effect, which a node takes once", "take one of the two out"
            path = (*at, "taints", index, "key")
            yield Problem(199, path, message, "each key once an effect", fix, taint.key)
        seen.add((taint.key, taint.effect))
