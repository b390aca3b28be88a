"""Conversion of a pool of the stack file to the request for a place."""

from __future__ import annotations

from components.gpu_layer.sharing import shared_resource
from components.platforms.contract import Disk, Pool, PoolRequest, Sharing, Taint
from components.typed.units import Quantity
from infra.stackfile.pool_machine import find
from infra.stackfile.schema.pool import DiskConfig, PoolConfig, SharingConfig

GIB, MIB = 2**30, 2**20


def pool_request(declared: PoolConfig) -> PoolRequest:
    """Return the pool as the scheduler will see it, and how to obtain its nodes."""
    return PoolRequest(
        pool=_pool(declared),
        machine=find(declared.place, declared.machine),
        zones=declared.zones,
        spot=declared.capacity == "spot",
        reservation=declared.reservation,
        capacity_block=declared.capacity_block,
        disk=_disk(declared.disk),
        sharing=_sharing(declared.sharing),
        nodes=declared.nodes,
        node_labels=dict(declared.node_labels),
    )


def _pool(declared: PoolConfig) -> Pool:
    gpu, machine = declared.gpu, find(declared.place, declared.machine)
    try:
        resource, count = shared_resource(gpu.resource, gpu.count, gpu.product, _sharing(declared.sharing))
    except ValueError:  # a profile the card does not have: the rules report it, and nothing is built
        resource, count = gpu.resource, gpu.count
    return Pool(
        name=declared.name,
        labels=dict(declared.labels),
        taints=tuple(Taint(t.key, t.value, t.effect) for t in declared.taints),
        gpus_per_node=count,
        gpu_resource=resource,
        min_nodes=declared.min,
        max_nodes=declared.max,
        node_image=declared.node_image,
        device=declared.device,
        turns=declared.sharing is not None and declared.sharing.turns is not None,
        node_memory_gib=machine.memory_gib if machine else None,
        node_vcpus=machine.vcpus if machine else None,
    )


def _disk(declared: DiskConfig) -> Disk:
    return Disk(_whole(declared.size, GIB), declared.iops, _whole(declared.throughput, MIB))


def _whole(amount: Quantity | None, unit: int) -> int | None:
    """Return whole units, rounded up: a disk smaller than asked for would be a surprise."""
    return None if amount is None else -(-amount.bytes // unit)


def _sharing(declared: SharingConfig | None) -> Sharing | None:
    if declared is None or len(declared.ways) != 1:  # the rules refuse none and several
        return None
    if declared.mig is not None:
        return Sharing("mig", strategy=declared.mig.strategy, profile=declared.mig.profile)
    # to the device plugin, a card whose models take turns is a time-sliced card
    sliced, turns = declared.time_slicing, declared.turns
    if turns is not None:
        return Sharing("timeSlicing", replicas=turns.models, turns=True)
    return Sharing("timeSlicing", replicas=sliced.replicas if sliced else 1)
