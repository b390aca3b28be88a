"""Findings on the pools of a stack as the one GPU operator of its cluster serves them, and on how their cards are to be
shared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from components.catalog.cuda import least_driver, runs_on
from components.catalog.gpus import gpus
from components.gpu_layer.node_images import (
    NodeImage,
    images_of,
    near_image,
    node_images,
    node_images_read_on,
    resolve_image,
)
from components.gpu_layer.values import demands
from components.platforms.contract import PoolRequest, Sharing
from components.typed.refusal import Path, Problem
from components.typed.rules.pools import (
    CARD_WITHOUT_MIG,
    MIG_AFTER_JOIN,
    MIG_PROFILE_MISSING,
    MIG_STRATEGIES_CONFLICT,
    MIXED_FROM_ZERO,
    NODE_IMAGE_UNKNOWN,
    OPERATOR_SETTINGS_CONFLICT,
    SHARING_NOT_ON_IMAGE,
    TIME_SLICES_COUNT,
    VGPU_DRIVER_MISSING,
)
from components.typed.rules.stack import DRIVER_TOO_OLD, DRIVERS_CONFLICT

MOST_REPLICAS = 48
"""Most pods that may take turns on one card. Sources differ in their limit; beyond this each gets next to nothing."""


def judge_gpu_layer(pools: Mapping[str, PoolRequest], place: str, cuda: str | None = None) -> Iterator[Problem]:
    """Yield every finding, with paths as in the stack file. ``cuda`` is the CUDA version of the engine's image
    (``13.0``); None leaves rule 43 out. Pools of the lab's stand-in GPUs, and places whose nodes the table does not
    know, pass."""
    images: dict[str, NodeImage] = {}
    for name, request in pools.items():
        if request.pool.device == "cpu" or not images_of(place):
            continue
        at: Path = ("pools", name)
        image = resolve_image(place, request.pool.node_image)
        if image is None:
            yield _unknown(at, place, request.pool.node_image)
            continue
        images[name] = image
        yield from judge_sharing(at, request, image)
        yield from _driver(at, request, image, cuda)
    yield from _together(images)
    yield from judge_strategies({name: pools[name] for name in images})


def _unknown(at: Path, place: str, image: str) -> Problem:
    near = near_image(place, image)
    fix = f"write nodeImage: {near}" if near else "leave it out for the first of them"
    allowed = ", ".join(images_of(place))
    return NODE_IMAGE_UNKNOWN.at(
        (*at, "nodeImage"), "is not a node image of this place", allowed=allowed, fix=fix, value=image
    )


def _driver(at: Path, request: PoolRequest, image: NodeImage, cuda: str | None) -> Iterator[Problem]:
    machine = request.machine
    vgpu = machine is not None and machine.vgpu
    if vgpu and image.driver == "operator":
        assert machine is not None
        message = f"leaves the driver to the GPU operator, which has none for the vGPU of {machine.name}"
        rows = [node_images()[key] for key in images_of(image.place)]
        fits = ", ".join(row.key for row in rows if row.driver != "operator")
        yield VGPU_DRIVER_MISSING.at(
            (*at, "nodeImage"), message, allowed=fits or "another machine", fix="take one of them", value=image.key
        )
        return
    driver = image.drivers.get("grid" if vgpu else "cuda")
    if cuda is None or driver is None or runs_on(cuda, driver) is not False:
        return
    kind = "vGPU driver" if vgpu else "driver"
    # a driver that its place renews at will was that old at the lookup; one in a pinned image is that old. vGPU drivers
    # stay on one branch for years, so one that is too old remains so
    renewed = image.driver == "place"
    lookup = f" (looked up on {node_images_read_on()})" if renewed else ""
    message = f"has {kind} {driver}{lookup}, and the engine's image is built for CUDA {cuda}"
    allowed = f"driver {least_driver(cuda)} or newer for CUDA {cuda.partition('.')[0]}"
    where = (*at, "machine") if vgpu else (*at, "nodeImage")
    fix = "give the stack a build of the engine for CUDA 12 (image.base), or take a machine with another driver"
    value = machine.name if vgpu and machine else image.key
    yield DRIVER_TOO_OLD.at(
        where, message, allowed=allowed, fix=fix, value=value, severity="warning" if renewed and not vgpu else "error"
    )


def _together(images: Mapping[str, NodeImage]) -> Iterator[Problem]:
    """Yield conflicts between node images: one cluster has one operator, and its values hold on every node."""
    if not images:
        return
    first, reference = next(iter(images.items()))
    wants_driver = [name for name, image in images.items() if image.driver == "operator"]
    for name, image in images.items():
        path: Path = ("pools", name, "nodeImage")
        if image.driver != "operator" and wants_driver:
            other = wants_driver[0]
            message = (
                f"brings its own driver, and for pool {other} ({images[other].key}) the GPU operator would install one "
                "on every node"
            )
            allowed = "node images that agree on who installs the driver"
            yield DRIVERS_CONFLICT.at(
                path, message, allowed=allowed, fix=f"give pool {other} nodeImage: {image.key}", value=image.key
            )
        elif demands(image) != demands(reference) and not (wants_driver and reference.driver != "operator"):
            asks, had = demands(image), demands(reference)
            differs = ", ".join(key for key, value in asks.items() if value != had[key])
            message = f"asks the one GPU operator for other values than pool {first} ({reference.key}) does: {differs}"
            fix = f"write nodeImage: {reference.key}, or keep such nodes in a stack of their own"
            yield OPERATOR_SETTINGS_CONFLICT.at(
                path, message, allowed="node images that ask for the same", fix=fix, value=image.key
            )


def judge_sharing(at: Path, request: PoolRequest, image: NodeImage) -> Iterator[Problem]:
    """Yield findings on the ``sharing`` of the pool at ``at``, whose nodes run ``image``."""
    sharing = request.sharing
    if sharing is None:
        return
    if image.cuts(sharing) is None:
        what = "MIG" if sharing.kind == "mig" else "time-slicing"
        fix = "take another nodeImage, or leave sharing out"
        path = (*at, "sharing", sharing.key)
        yield SHARING_NOT_ON_IMAGE.at(path, f"is done by nobody on {image.key}", allowed=f"no {what}", fix=fix)
    elif sharing.kind == "mig":
        yield from _mig((*at, "sharing", "mig"), request, sharing, image)
    elif not 2 <= sharing.replicas <= MOST_REPLICAS:
        path = (*at, "sharing", sharing.key, sharing.count_key)
        message = "is not a number of pods that share a card"
        yield TIME_SLICES_COUNT.at(
            path, message, allowed=f"a whole number from 2 to {MOST_REPLICAS}", fix="choose one", value=sharing.replicas
        )


def _mig(at: Path, request: PoolRequest, sharing: Sharing, image: NodeImage) -> Iterator[Problem]:
    yield from _profile(at, request, sharing)
    if sharing.strategy == "mixed":
        path = (*at, "strategy")
        if not image.mixed_mig:
            message = f"is not had on {image.key}: its place cuts all cards of a node alike"
            yield SHARING_NOT_ON_IMAGE.at(
                path, message, allowed="single", fix="write strategy: single, one pool a profile", value="mixed"
            )
        elif request.machine is not None and request.pool.min_nodes == 0:
            message = "never brings a node from zero: autoscalers know nvidia.com/gpu alone"
            fix = "write strategy: single, one pool a profile; or give the pool min: 1"
            yield MIXED_FROM_ZERO.at(path, message, allowed="single where min is 0", fix=fix, value="mixed")
    elif image.mig == "operator" and request.machine is not None and request.pool.min_nodes == 0:
        # NVIDIA/gpu-operator 2670
        message = (
            "is cut by the GPU operator after the node has come: the first pod may take a whole card before that, "
            "and the cut waits until it has gone"
        )
        fix = "give the pool min: 1, or take a nodeImage whose place cuts the cards before the node joins"
        yield MIG_AFTER_JOIN.at(at, message, allowed="min of 1 or more", fix=fix)


def _profile(at: Path, request: PoolRequest, sharing: Sharing) -> Iterator[Problem]:
    machine = request.machine
    product = gpus().get(machine.gpu) if machine else None
    if machine and product and not product.can_be_cut:
        able = ", ".join(name for name, gpu in gpus().items() if gpu.can_be_cut)
        message = f"is not possible: {machine.name} has {machine.gpu}, which cannot be cut"
        yield CARD_WITHOUT_MIG.at(at, message, allowed=able, fix="use timeSlicing, or a machine with one of these")
        return
    profiles = ", ".join(product.mig) if product and product.mig else "a profile of the card, like 1g.10gb"
    path = (*at, "profile")
    if sharing.profile is None:
        message = "is missing: all cards of the pool are cut into one profile"
        yield MIG_PROFILE_MISSING.at(path, message, allowed=profiles, fix="name one")
    elif machine and product and sharing.profile not in (product.mig or {}):
        message, fix = f"is not a profile of {machine.gpu}", "choose one of these"
        if not product.mig:
            message, fix = f"cannot be judged: nobody has looked up the profiles of {machine.gpu}", "leave sharing out"
        yield MIG_PROFILE_MISSING.at(path, message, allowed=profiles, fix=fix, value=sharing.profile)


def judge_strategies(pools: Mapping[str, PoolRequest]) -> Iterator[Problem]:
    """Yield conflicts between MIG strategies: one operator has one, for all nodes."""
    cut = {name: r.sharing.strategy for name, r in pools.items() if r.sharing and r.sharing.kind == "mig"}
    first = next(iter(cut), None)
    for name, strategy in cut.items():
        if first is not None and strategy != cut[first]:
            message = f"is another MIG strategy than pool {first}'s, and a cluster has one"
            path = ("pools", name, "sharing", "mig", "strategy")
            yield MIG_STRATEGIES_CONFLICT.at(
                path, message, allowed=cut[first], fix=f"write strategy: {cut[first]} for all pools", value=strategy
            )
