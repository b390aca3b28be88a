"""Rules between the fields of one pool, the place it is in, and the other pools."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from components.platforms.kinds import kind_of
from components.typed.refusal import Path, Problem
from components.typed.rules.file import LABEL_INVALID
from components.typed.rules.pools import (
    KEY_NOT_FOR_PLATFORM,
    NODE_IN_TWO_POOLS,
    POOL_LABELS_SHARED,
    POOL_WITHOUT_NODES,
    SHARING_INVALID,
    TAINT_REPEATED,
    TURNS_ON_SEVERAL_GPUS,
)
from components.typed.rules.stack import DISK_TOO_SMALL, MACHINE_NOT_IN_REGION, POOL_UNKNOWN, TAINT_EVICTS
from infra.stackfile.limits import limits
from infra.stackfile.partial import Draft, Part
from infra.stackfile.pool_machine import find
from infra.stackfile.pool_order import named
from infra.stackfile.rules.min_and_reason import more_than_max, without_reason
from infra.stackfile.schema.pool import PoolConfig

# Keys of a pool that have a meaning only where the place makes the nodes, and only where it does not.
_OF_MADE = ("machine", "zones", "capacity", "reservation", "capacityBlock", "disk")
_OF_FOUND = ("gpu", "nodes", "nodeLabels")


def judge_pool(part: Part[PoolConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    """Yield all problems of one pool at path ``at`` that its own fields do not show alone."""
    pool = part.value
    if part.sound("min", "max") and pool.min > pool.max:
        yield more_than_max(at, pool.min, pool.max)
    if part.sound("min", "min_reason"):
        yield from without_reason(at, pool.min, pool.min_reason, draft)
    if draft.platform is not None:
        yield from _fitting_keys(part, at, draft)
        if kind_of(draft.platform).makes_nodes and part.sound("max") and pool.max == 0:
            message, fix = "is 0: no model on it could ever start", "write 1, or take the pool out"
            yield POOL_WITHOUT_NODES.at((*at, "max"), message, allowed="1 or more", fix=fix, value=0)
    if part.sound("machine"):
        yield from _region(pool, at, draft)
    yield from _sharing(part, at, draft)
    yield from _marks(part, at, draft)


def judge_pools(draft: Draft) -> Iterator[Problem]:
    """Yield nodes that two pools name, and labels that fit the nodes of two pools."""
    owners: dict[str, str] = {}
    labels_by_pool: dict[str, Mapping[str, str]] = {}
    for name, part in draft.pools.items():
        pool, at = part.value, ("pools", name)
        for index, node in enumerate(pool.nodes if part.sound("nodes") else ()):
            first = owners.setdefault(node, name)
            if first != name:
                message, fix = f"is a node of pool {first} too", "keep it in one of the two"
                yield NODE_IN_TWO_POOLS.at(
                    (*at, "nodes", index), message, allowed="nodes that no other pool names", fix=fix, value=node
                )
        if not part.sound("labels") or not pool.labels:
            continue
        for other, labels in labels_by_pool.items():
            if labels.items() <= pool.labels.items() or pool.labels.items() <= labels.items():
                message = f"also fit the nodes of pool {other}: its models could land on these nodes, or these on its"
                fix = "leave labels out on both: each pool then gets its own name for one"
                yield POOL_LABELS_SHARED.at(
                    (*at, "labels"), message, allowed="labels no other pool's nodes carry", fix=fix
                )
                break
        labels_by_pool[name] = pool.labels


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
        yield KEY_NOT_FOR_PLATFORM.at((*at, key), message, allowed=allowed, fix=fix)


def _region(pool: PoolConfig, at: Path, draft: Draft) -> Iterator[Problem]:
    machine, region = find(pool.place, pool.machine), draft.platform.region if draft.platform else None
    if machine is not None and region is not None and machine.regions and region not in machine.regions:
        message, allowed = f"is not sold in {region}", ", ".join(machine.regions)
        fix = "put the stack in one of these regions, or take another machine"
        yield MACHINE_NOT_IN_REGION.at((*at, "machine"), message, allowed=allowed, fix=fix, value=pool.machine)


def _sharing(part: Part[PoolConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    pool, path = part.value, (*at, "sharing")
    sharing = pool.sharing
    if not part.sound("sharing") or sharing is None:
        return
    on_cpu = part.sound("device") and pool.device == "cpu"
    if len(sharing.ways) != 1:
        fix = "write mig: {profile: 1g.10gb}, timeSlicing: {replicas: 4} or turns: {models: 4}"
        message = f"names {', '.join(sharing.ways)}" if sharing.ways else "names no way of sharing"
        yield SHARING_INVALID.at(path, message, allowed="one of mig, timeSlicing, turns", fix=fix)
        return
    if sharing.turns is not None and part.sound("gpu") and pool.gpu.count > 1 and not on_cpu:
        count = pool.gpu.count
        message = f"is for nodes with one GPU, and these have {count}: nobody can tell which card an engine has"
        fix = "take a machine with one GPU, or share in another way"
        yield TURNS_ON_SEVERAL_GPUS.at(
            (*path, "turns"), message, allowed="turns on a pool with one GPU a node", fix=fix
        )
    if draft.gpu_layer_install == "existing" and not on_cpu:
        message = "is set up by the GPU operator, which this stack does not install"
        fix = "set gpuLayer: {install: helm}, or share in the cluster's own operator and give gpu.count as pods see it"
        yield SHARING_INVALID.at(path, message, allowed="sharing where gpuLayer.install is helm", fix=fix)


def _marks(part: Part[PoolConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    if part.sound("labels") and not part.value.labels:
        message = "is empty: the selector of its models would match any node"
        fix = "leave labels out for workerType and the pool's name"
        yield POOL_UNKNOWN.at((*at, "labels"), message, allowed="at least one label", fix=fix)
    node_labels = part.value.node_labels if part.sound("node_labels") else {}
    for key, value in part.value.labels.items() if part.sound("labels") else ():
        if node_labels.get(key) != value:  # else the nodes have it already
            yield from _reserved(key, (*at, "labels", key), value)
    adopted = draft.platform is not None and not kind_of(draft.platform).makes_nodes
    taints: set[tuple[str, str]] = set()
    for index, taint in enumerate(part.value.taints if part.sound("taints") else ()):
        yield from _reserved(taint.key, (*at, "taints", index, "key"), taint.key)
        if adopted and taint.effect == "NoExecute":
            message = "throws every pod that does not tolerate it off nodes that are there already, at once"
            yield TAINT_EVICTS.at((*at, "taints", index, "effect"), message, value=taint.effect)
        if (taint.key, taint.effect) in taints:
            message, fix = "is there already with this effect, which a node takes once", "take one of the two out"
            path = (*at, "taints", index, "key")
            yield TAINT_REPEATED.at(path, message, allowed="each key once an effect", fix=fix, value=taint.key)
        taints.add((taint.key, taint.effect))


def _reserved(key: str, path: Path, value: str) -> Iterator[Problem]:
    reserved = limits().reserved_labels
    if reserved.hold(key):
        message = "has a prefix that Kubernetes or this product keeps for itself"
        allowed = f"no prefix of {', '.join(reserved.prefixes)}, nor one below them"
        yield LABEL_INVALID.at(path, message, allowed=allowed, fix="use a key like workerType", value=value)


# A node's disk must hold the image and the weights that pass through it.

GIB = 2**30


def judge_disk(part: Part[PoolConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    """Check the disk: one too small is noticed only at night, when the kubelet deletes the image or evicts the pod."""
    if not part.sound("disk", "machine") or part.value.disk.size is None:
        return
    size, image = part.value.disk.size, limits().engine_image.on_disk_bytes
    weights, model = _largest(part.value, draft)
    need = math.ceil((image + weights) / limits().node_disk.usable / GIB)
    if size.bytes >= need * GIB:
        return
    of_weights = f" and {weights / GIB:.0f} GiB of weights ({model})" if weights else ""
    message = (
        f"is too small for {image / GIB:.0f} GiB of image, pulled and unpacked,{of_weights} within "
        f"{limits().node_disk.usable:.0%} of the disk"
    )
    yield DISK_TOO_SMALL.at(
        (*at, "disk", "size"), message, allowed=f"{need}Gi or more", fix=f"set size: {need}Gi", value=str(size)
    )


def _largest(pool: PoolConfig, draft: Draft) -> tuple[int, str]:
    """Return the bytes of the largest weights among the pool's models, and the model; 0 bytes where the machine has a
    fast disk of its own, which takes them."""
    machine = find(pool.place, pool.machine)
    if machine is not None and machine.local_disk_gib > 0:
        return 0, ""
    sizes = [
        (part.value.weights.bytes, name)
        for name, part in draft.models.items()
        if pool.name in named(part) and part.sound("weights") and part.value.weights is not None
    ]
    return max(sizes, default=(0, ""))
