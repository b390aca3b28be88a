"""What is wrong with how a pool's cards are to be shared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from components.catalog.gpus import gpus
from components.gpu_layer.node_images import NodeImage
from components.platforms.contract import PoolRequest, Sharing
from components.typed.refusal import Path, Problem

MOST_REPLICAS = 48
"""Pods that may take turns on one card. Sources differ in what they allow; beyond this each gets next to nothing."""


def judge_sharing(at: Path, request: PoolRequest, image: NodeImage) -> Iterator[Problem]:
    """Findings on the ``sharing`` of the pool at ``at``, whose nodes run ``image``."""
    sharing = request.sharing
    if sharing is None:
        return
    if image.cuts(sharing) is None:
        what = "MIG" if sharing.kind == "mig" else "time-slicing"
        fix = "take another nodeImage, or leave sharing out"
        path = (*at, "sharing", sharing.key)
        yield Problem(227, path, f"is done by nobody on {image.key}", f"no {what}", fix, has_value=False)
    elif sharing.kind == "mig":
        yield from _mig((*at, "sharing", "mig"), request, sharing, image)
    elif not 2 <= sharing.replicas <= MOST_REPLICAS:
        path = (*at, "sharing", sharing.key, sharing.count_key)
        message = "is not a number of pods that share a card"
        yield Problem(226, path, message, f"a whole number from 2 to {MOST_REPLICAS}", "choose one", sharing.replicas)


def _mig(at: Path, request: PoolRequest, sharing: Sharing, image: NodeImage) -> Iterator[Problem]:
    yield from _profile(at, request, sharing)
    if sharing.strategy == "mixed":
        path = (*at, "strategy")
        if not image.mixed_mig:
            message = f"is not had on {image.key}: its place cuts all cards of a node alike"
            yield Problem(227, path, message, "single", "write strategy: single, one pool a profile", "mixed")
        elif request.machine is not None and request.pool.min_nodes == 0:
            message = "never brings a node from zero: autoscalers know nvidia.com/gpu alone"
            fix = "write strategy: single, one pool a profile; or give the pool min: 1"
            yield Problem(225, path, message, "single where min is 0", fix, "mixed")
    elif image.mig == "operator" and request.machine is not None and request.pool.min_nodes == 0:
        # NVIDIA/gpu-operator 2670
        message = (
            "is cut by the GPU operator after the node has come: the first pod may take a whole card before that, "
            "and the cut waits until it has gone"
        )
        fix = "give the pool min: 1, or take a nodeImage whose place cuts the cards before the node joins"
        yield Problem(228, at, message, "min of 1 or more", fix, has_value=False, severity="warning")


def _profile(at: Path, request: PoolRequest, sharing: Sharing) -> Iterator[Problem]:
    machine = request.machine
    product = gpus().get(machine.gpu) if machine else None
    if machine and product and not product.can_be_cut:
        able = ", ".join(name for name, gpu in gpus().items() if gpu.can_be_cut)
        message = f"is not possible: {machine.name} has {machine.gpu}, which cannot be cut"
        yield Problem(222, at, message, able, "use timeSlicing, or a machine with one of these", has_value=False)
        return
    profiles = ", ".join(product.mig) if product and product.mig else "a profile of the card, like 1g.10gb"
    path = (*at, "profile")
    if sharing.profile is None:
        message = "is missing: all cards of the pool are cut into one profile"
        yield Problem(223, path, message, profiles, "name one", has_value=False)
    elif machine and product and sharing.profile not in (product.mig or {}):
        message, fix = f"is not a profile of {machine.gpu}", "choose one of these"
        if not product.mig:
            message, fix = f"cannot be judged: nobody has looked up the profiles of {machine.gpu}", "leave sharing out"
        yield Problem(223, path, message, profiles, fix, sharing.profile)


def judge_strategies(pools: Mapping[str, PoolRequest]) -> Iterator[Problem]:
    """One operator has one MIG strategy, for all nodes."""
    cut = {name: r.sharing.strategy for name, r in pools.items() if r.sharing and r.sharing.kind == "mig"}
    first = next(iter(cut), None)
    for name, strategy in cut.items():
        if first is not None and strategy != cut[first]:
            message = f"is another MIG strategy than pool {first}'s, and a cluster has one"
            path = ("pools", name, "sharing", "mig", "strategy")
            yield Problem(224, path, message, cut[first], f"write strategy: {cut[first]} for all pools", strategy)
