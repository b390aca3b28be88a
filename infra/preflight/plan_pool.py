"""A pool as the planner sees it: how many GPUs a node offers, of which memory, and what they can compute."""

from __future__ import annotations

import re
from dataclasses import dataclass

from components.catalog.gpus import gpus
from components.catalog.machine import Machine
from components.catalog.versions import pinned
from components.gpu_layer.node_images import resolve_image
from infra.config.machines import find
from infra.config.pool import PoolConfig
from infra.config.pool_request import pool_request
from infra.preflight.compatibility_gpu import Gpu, capability
from infra.preflight.memory import GIB


@dataclass(frozen=True)
class PoolPlan:
    """``gpus_per_node`` and ``gpu_bytes`` are of what a pod gets: a card, or a slice of one. None is unknown.
    ``sharers`` is how many pods share one card moment by moment; ``turns`` how many engines have it in turn, and
    ``asleep_bytes`` what those that sleep keep of it. ``gpu`` is None where the engine computes on the CPU."""

    name: str
    machine: Machine | None
    product: str | None
    gpus_per_node: int
    gpu_bytes: int | None
    min: int
    max: int
    capacity: str
    zones: tuple[str, ...]
    device: str
    gpu: Gpu | None
    slice: str | None = None
    sharers: int = 1
    turns: int = 0
    asleep_bytes: int = 0

    @property
    def told(self) -> str:
        """``g5.8xlarge · 1 × A10G, 22.4 GiB``."""
        memory = f", {self.gpu_bytes / GIB:.1f} GiB" if self.gpu_bytes else ", memory unknown"
        cards = (
            f"{self.gpus_per_node} × {self.product or 'GPU of unknown make'}{f' {self.slice}' if self.slice else ''}"
        )
        return (f"{self.machine.name} · " if self.machine else "") + cards + ("" if self.device == "cpu" else memory)


def pool_plan(pool: PoolConfig, cuda: str | None = None, judge_driver: bool = True) -> PoolPlan:
    """Off the stack file and the catalogue. ``judge_driver`` False: the stack file's own rules hold the node's driver
    against the image."""
    request = pool_request(pool)
    machine = find(pool.place, pool.machine)
    product = machine.gpu if machine else pool.gpu.product
    profile = request.sharing.profile if request.sharing and request.sharing.kind == "mig" else None
    turns = pool.sharing.turns if pool.sharing else None
    sliced = request.sharing if request.sharing and request.sharing.kind == "timeSlicing" and not turns else None
    return PoolPlan(
        name=pool.name,
        machine=machine,
        product=product,
        gpus_per_node=request.pool.gpus_per_node,
        gpu_bytes=_slice_bytes(profile) or _card_bytes(pool, machine, product),
        min=pool.min,
        max=pool.max,
        capacity=pool.capacity,
        zones=pool.zones,
        device=pool.device,
        gpu=None if pool.device == "cpu" else _gpu(pool, machine, product, cuda, judge_driver),
        slice=profile,
        sharers=sliced.replicas if sliced else 1,
        turns=turns.models if turns else 0,
        asleep_bytes=(turns.models - 1) * turns.left.bytes if turns else 0,
    )


def _card_bytes(pool: PoolConfig, machine: Machine | None, product: str | None) -> int | None:
    if machine is not None:
        return int(machine.gpu_memory_gib * GIB)
    if pool.gpu.memory is not None:
        return pool.gpu.memory.bytes
    known = gpus().get(product or "")
    return int(known.memory_gib * GIB) if known else None


def _slice_bytes(profile: str | None) -> int | None:
    """The memory in a MIG profile's name, in GB: the slice has a little more on every card but never less."""
    match = re.match(r"[1-7]g\.([0-9]+)gb", profile or "")
    return int(match[1]) * 10**9 if match else None


def _gpu(pool: PoolConfig, machine: Machine | None, product: str | None, cuda: str | None, judge_driver: bool) -> Gpu:
    known = gpus().get(product or "")
    text = machine.compute_capability if machine else known.compute_capability if known else None
    image = resolve_image(pool.place, pool.node_image) if judge_driver else None
    vgpu = machine is not None and machine.vgpu
    driver = image.drivers.get("grid" if vgpu else "cuda") if image else None
    return Gpu(product or "a GPU of unknown make", capability(text) if text else None, driver, cuda)


def engine_cuda(base: str | None) -> str | None:
    """The CUDA version the engine's image is built for; None where the stack brings an image of its own."""
    return pinned("vllm").cuda if base is None else None
