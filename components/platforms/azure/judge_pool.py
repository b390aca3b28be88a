"""Rules of Azure for one GPU pool. Pure; no SDK."""

from __future__ import annotations

import re
from collections.abc import Iterator

from components.platforms.azure.settings import RESERVATION_ID, AzureSettings
from components.platforms.azure.tables import image_key, node_images
from components.platforms.contract import PoolRequest
from components.typed.refusal import Path, Problem

_MOST_NODES = 1000
"""Of one pool. Source: AKS documentation, Quotas, virtual machine size restrictions, and region availability."""
_DISK_GIB = (30, 2048)
"""An OS disk: the image needs 30, Azure allows 2048. Source: azure-native 3.29, AgentPool osDiskSizeGB; AKS
documentation, Storage concepts."""
_RESERVED = ("kubernetes.azure.com/", "kubernetes.io/")
"""Source: AKS documentation, Use labels: Reserved prefixes."""


def judge_pool(at: Path, request: PoolRequest, settings: AzureSettings) -> Iterator[Problem]:
    """Findings on the pool at ``at``."""
    yield from _machine(at, request)
    yield from _zones(at, request, settings)
    yield from _capacity(at, request)
    yield from _disk(at, request)
    yield from _labels(at, request)
    images = node_images().images
    if image_key(request) not in images:
        message, known = "is not a node image of AKS's", ", ".join(images)
        yield Problem(165, (*at, "nodeImage"), message, known, "leave it out", request.pool.node_image)
    if request.pool.max_nodes > _MOST_NODES:
        message, allowed = "is more than AKS has in one pool", f"at most {_MOST_NODES}"
        yield Problem(166, (*at, "max"), message, allowed, "make a second pool", request.pool.max_nodes)


def _machine(at: Path, request: PoolRequest) -> Iterator[Problem]:
    if request.machine is not None and request.machine.architecture != "amd64":
        message = "has an Arm processor; the stack's images are built for x86-64"
        yield Problem(42, (*at, "machine"), message, "an x86-64 machine", "choose another", request.machine.name)


def _zones(at: Path, request: PoolRequest, settings: AzureSettings) -> Iterator[Problem]:
    known = settings.network.zones
    for index, zone in enumerate(request.zones):
        path, fix = (*at, "zones", index), "use one of them, or add it to network.zones"
        if zone not in ("1", "2", "3"):
            yield Problem(152, path, "is not an availability zone", '"1", "2" or "3", in quotes', fix, zone)
        elif known and zone not in known:
            yield Problem(152, path, "is not a zone of the stack's network", ", ".join(known), fix, zone)


def _capacity(at: Path, request: PoolRequest) -> Iterator[Problem]:
    path = (*at, "reservation")
    if request.capacity_block:
        message = "is not sold by Azure: its reservations have no end"
        fix = "name a capacity reservation group under reservation, or take this out"
        yield Problem(163, (*at, "capacityBlock"), message, "nothing, on Azure", fix, True)
    if request.reservation is None:
        return
    if not re.fullmatch(RESERVATION_ID, request.reservation):
        allowed = "/subscriptions/…/providers/Microsoft.Compute/capacityReservationGroups/<name>"
        fix = "copy it from: az capacity reservation group show --query id"
        yield Problem(163, path, "is not the id of a capacity reservation group", allowed, fix, request.reservation)
    if request.spot:
        message = "is spot, which no reservation covers"
        yield Problem(163, (*at, "capacity"), message, "onDemand beside a reservation", "write onDemand", "spot")


def _disk(at: Path, request: PoolRequest) -> Iterator[Problem]:
    disk, least, most = request.disk, *_DISK_GIB
    for key, value in (("iops", disk.iops), ("throughput", disk.throughput_mib)):
        if value is not None:
            message = "cannot be set: on AKS a node's disk is as fast as its size or the machine makes it"
            fix = "take it out; a machine's own disk is the fastest, then a disk of 1Ti (200 MB/s)"
            yield Problem(164, (*at, "disk", key), message, "nothing, on Azure", fix, value)
    if disk.size_gib is not None and not least <= disk.size_gib <= most:
        message, allowed = "is no size of a node's disk", f"{least}Gi to {most}Gi"
        yield Problem(164, (*at, "disk", "size"), message, allowed, "leave it out", f"{disk.size_gib}Gi")


def _labels(at: Path, request: PoolRequest) -> Iterator[Problem]:
    for key in request.pool.labels:
        if key.startswith(_RESERVED):
            message, allowed = "is AKS's own prefix", f"labels without {' and '.join(_RESERVED)}"
            yield Problem(169, (*at, "labels", key), message, allowed, "use another key", request.pool.labels[key])
