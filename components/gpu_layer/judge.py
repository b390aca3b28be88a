"""What is wrong with the pools of a stack as the one GPU operator of its cluster sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from components.catalog.cuda import least_driver, runs_on
from components.gpu_layer.judge_sharing import judge_sharing, judge_strategies
from components.gpu_layer.node_images import (
    NodeImage,
    images_of,
    near_image,
    node_images,
    node_images_read_on,
    resolve_image,
)
from components.gpu_layer.values import demands
from components.platforms.contract import PoolRequest
from components.typed.refusal import Path, Problem


def judge_gpu_layer(pools: Mapping[str, PoolRequest], place: str, cuda: str | None = None) -> Iterator[Problem]:
    """Every finding, with paths as in the stack file. ``cuda`` is the CUDA version of the engine's image (``13.0``);
    None leaves rule 43 out. Pools of the lab's pretended GPUs, and places whose nodes the table does not know, pass."""
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


def _unknown(at: Path, place: str, wanted: str) -> Problem:
    near = near_image(place, wanted)
    fix = f"write nodeImage: {near}" if near else "leave it out for the first of them"
    allowed = ", ".join(images_of(place))
    return Problem(220, (*at, "nodeImage"), "is not a node image of this place", allowed, fix, wanted)


def _driver(at: Path, request: PoolRequest, image: NodeImage, cuda: str | None) -> Iterator[Problem]:
    machine = request.machine
    vgpu = machine is not None and machine.vgpu
    if vgpu and image.driver == "operator":
        assert machine is not None
        message = f"leaves the driver to the GPU operator, which has none for the vGPU of {machine.name}"
        rows = [node_images()[key] for key in images_of(image.place)]
        fits = ", ".join(row.key for row in rows if row.driver != "operator")
        yield Problem(229, (*at, "nodeImage"), message, fits or "another machine", "take one of them", image.key)
        return
    driver = image.drivers.get("grid" if vgpu else "cuda")
    if cuda is None or driver is None or runs_on(cuda, driver) is not False:
        return
    kind = "vGPU driver" if vgpu else "driver"
    # a driver that its place renews as it likes was that old when somebody looked; one in a pinned image is that old
    renewed = image.driver == "place"
    seen = f" (looked up on {node_images_read_on()})" if renewed else ""
    message = f"has {kind} {driver}{seen}, and the engine's image is built for CUDA {cuda}"
    allowed = f"driver {least_driver(cuda)} or newer for CUDA {cuda.partition('.')[0]}"
    where = (*at, "machine") if vgpu else (*at, "nodeImage")
    fix = "give the stack a build of the engine for CUDA 12 (image.base), or take a machine with another driver"
    value = machine.name if vgpu and machine else image.key
    yield Problem(43, where, message, allowed, fix, value, severity="warning" if renewed else "error")


def _together(images: Mapping[str, NodeImage]) -> Iterator[Problem]:
    """One cluster has one operator, and its values hold on every node."""
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
            yield Problem(47, path, message, allowed, f"give pool {other} nodeImage: {image.key}", image.key)
        elif demands(image) != demands(reference) and not (wants_driver and reference.driver != "operator"):
            asks, had = demands(image), demands(reference)
            differs = ", ".join(key for key, value in asks.items() if value != had[key])
            message = f"asks the one GPU operator for other values than pool {first} ({reference.key}) does: {differs}"
            fix = f"write nodeImage: {reference.key}, or keep such nodes in a stack of their own"
            yield Problem(221, path, message, "node images that ask for the same", fix, image.key)
