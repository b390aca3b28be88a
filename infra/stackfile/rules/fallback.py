"""Rules for a model's fall-back pools: each must suit the same pod as the first pool, and is named once."""

from __future__ import annotations

from collections.abc import Iterator

from components.typed.refusal import Path, Problem
from components.typed.rules.pools import (
    FALLBACK_DIFFERS,
    FALLBACK_ORDER,
    FALLBACK_ORDER_UNKNOWN,
    FALLBACK_REPEATED,
    NODES_COUNT,
    SHARING_INVALID,
)
from components.typed.rules.stack import GPUS_EXCEED_NODE, POOL_UNKNOWN
from infra.stackfile.partial import Draft, Part
from infra.stackfile.pool_order import named, preferences
from infra.stackfile.pool_request import pool_request
from infra.stackfile.schema.model import ModelConfig
from infra.stackfile.schema.pool import PoolConfig


def judge_fallback(part: Part[ModelConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    """Yield all problems of one model's ``fallbackPools``."""
    if not part.sound("fallback_pools"):
        return
    model = part.value
    indexes: dict[str, int] = {}
    for index, name in enumerate(model.fallback_pools):
        path = (*at, "fallbackPools", index)
        if part.sound("pool") and name == model.pool:
            message = "is its first choice already, under pool"
            yield FALLBACK_REPEATED.at(path, message, allowed="another pool than pool", fix="take it out", value=name)
        elif name in indexes:
            message = f"is there already, as fallbackPools[{indexes[name]}]"
            yield FALLBACK_REPEATED.at(path, message, allowed="each pool once", fix="take it out", value=name)
        elif name not in draft.pool_names:
            names = ", ".join(draft.pool_names)
            fix = f"use one of them, or add {name} under pools"
            yield POOL_UNKNOWN.at(
                path, "is not a pool of this stack", allowed=names or "none: there is no pool yet", fix=fix, value=name
            )
        else:
            yield from _alike(part, name, path, draft)
        indexes.setdefault(name, index)


def _alike(part: Part[ModelConfig], name: str, path: Path, draft: Draft) -> Iterator[Problem]:
    """Check that a pool suits the model's pod, whose requests and image are the same wherever it lands."""
    other = draft.pools.get(name)
    if other is None:
        return
    model = part.value
    first = draft.pools.get(model.pool) if part.sound("pool") else None
    if first is not None and not first.broken and not other.broken:
        yield from _same(first.value, other.value, path)
    if not part.sound("gpus", "nodes"):
        return
    if other.sound("sharing") and other.value.sharing is not None and model.replica_gpus > 1:
        key, count = ("gpus", model.gpus) if model.gpus > 1 else ("nodes", model.nodes)
        message = f"shares its cards, and {key} is {count}: slices do not work together"
        yield SHARING_INVALID.at(
            path, message, allowed="a pool without sharing", fix=f"take it out, or set {key}: 1", value=name
        )
    elif other.sound("gpu") and model.gpus > other.value.gpu.count:
        message = f"has nodes with {other.value.gpu.count} of the {model.gpus} GPUs the model asks for"
        fix = "take it out, or name a pool with more GPUs a node"
        yield GPUS_EXCEED_NODE.at(
            path, message, allowed=f"a pool with {model.gpus} or more GPUs a node", fix=fix, value=name
        )
    elif other.sound("max") and 1 < model.nodes > other.value.max:
        message = f"may have {other.value.max} of the {model.nodes} machines that one replica takes"
        fix = f"take it out, or set max of pool {name} to {model.nodes} or more"
        yield NODES_COUNT.at(path, message, allowed=f"a pool with a max of {model.nodes} or more", fix=fix, value=name)


def _same(first: PoolConfig, other: PoolConfig, path: Path) -> Iterator[Problem]:
    primary, stand_in = pool_request(first).pool, pool_request(other).pool
    fix = "name a pool that does, or make a model of its own for this one"
    if stand_in.device != primary.device:
        message = (
            f"computes on {stand_in.device}, and pool {first.name} on {primary.device}: they need different images"
        )
        yield FALLBACK_DIFFERS.at(
            path, message, allowed=f"pools with device: {primary.device}", fix=fix, value=other.name
        )
    elif stand_in.gpu_resource != primary.gpu_resource:
        message = (
            f"offers {stand_in.gpu_resource}, and pool {first.name} {primary.gpu_resource}: a pod asks for one of them"
        )
        yield FALLBACK_DIFFERS.at(
            path, message, allowed=f"pools that offer {primary.gpu_resource}", fix=fix, value=other.name
        )
    elif stand_in.turns != primary.turns:
        one, none = (other.name, first.name) if stand_in.turns else (first.name, other.name)
        message = f"cannot stand in: models take turns on the cards of pool {one} and not of {none}"
        yield FALLBACK_DIFFERS.at(
            path, message, allowed="pools that share their cards alike", fix=fix, value=other.name
        )


def judge_orders(draft: Draft) -> Iterator[Problem]:
    """Yield models whose order of pools may not be followed: the place is not told it, or it contradicts another's, and
    an autoscaler may know only one order for all pods."""
    why = draft.platform.ignores_order if draft.platform is not None else None
    if why is not None:
        yield from _unknown_order(draft, why)
    orders = {n: p.value.pools for n, p in draft.models.items() if p.sound("pool", "fallback_pools")}
    clean = {name: pools for name, pools in orders.items() if len(set(pools)) == len(pools)}
    for each in preferences(clean)[1]:
        name = clean[each.model][each.index + 1]
        message = (
            f"comes before {each.before} for a model above: an autoscaler that has one order for all models "
            f"takes {name} first for this one too"
        )
        fix = "write the pools in the same order, or give this model pools of its own"
        path = ("models", each.model, "fallbackPools", each.index)
        yield FALLBACK_ORDER.at(path, message, allowed="one order of pools in all models", fix=fix, value=name)


def _unknown_order(draft: Draft, why: str) -> Iterator[Problem]:
    for name, part in draft.models.items():
        if part.sound("fallback_pools") and part.value.fallback_pools:
            path = ("models", name, "fallbackPools")
            yield FALLBACK_ORDER_UNKNOWN.at(path, f"is no promise of the order in which nodes come: {why}")


def spot_alone(part: Part[ModelConfig], draft: Draft) -> bool:
    """Return True if every pool of the model is spot; False if unknown."""
    if not part.sound("pool", "fallback_pools"):
        return False
    pools = [draft.pools.get(name) for name in named(part)]
    return all(pool is not None and pool.sound("capacity") and pool.value.capacity == "spot" for pool in pools)
