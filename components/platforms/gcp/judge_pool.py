"""What Google Cloud says to one pool."""

from __future__ import annotations

import re
from collections.abc import Iterator

from components.platforms.contract import PoolRequest
from components.platforms.gcp.accelerators import accelerator_of, accelerators, family, maximum_shared_clients
from components.platforms.gcp.node_images import GKE_IMAGES, image_key
from components.platforms.gcp.settings import GcpSettings
from components.typed.refusal import Path, Problem

LOCAL_SSD_GIB = 375
SPOT_GRACE_SECONDS = 15
"""A pod's time to end on a spot node. Source: GKE documentation, Spot VMs, and Kubernetes' graceful node shutdown as
GKE sets it: 30 s, of which 15 s are for critical pods."""
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")


def judge_pool(at: Path, request: PoolRequest, settings: GcpSettings) -> Iterator[Problem]:
    """Findings on the pool at ``at``."""
    yield from _name(at)
    yield from _machine(at, request)
    yield from _zones(at, request, settings)
    yield from _capacity(at, request)
    yield from _disk(at, request)
    yield from _sharing(at, request)
    if image_key(request) not in GKE_IMAGES:
        known = ", ".join(GKE_IMAGES)
        yield Problem(
            187, (*at, "nodeImage"), "is not an image of GKE's", known, "leave it out", request.pool.node_image
        )


def _name(at: Path) -> Iterator[Problem]:
    name = str(at[-1])
    if not _NAME.fullmatch(name):
        allowed = "at most 40 of a-z, 0-9 and -, beginning with a letter"
        yield Problem(
            177, at, "is not a name GKE takes for a node pool", allowed, "choose a shorter name", has_value=False
        )


def _machine(at: Path, request: PoolRequest) -> Iterator[Problem]:
    where = (*at, "machine")
    if request.machine is not None and accelerator_of(request.machine.name) is None:
        families = ", ".join(sorted(accelerators()))
        message = f"is of a family whose GPUs GKE's node pools have no name for here ({family(request.machine.name)})"
        yield Problem(178, where, message, families, "choose a machine of these families", request.machine.name)


def _zones(at: Path, request: PoolRequest, settings: GcpSettings) -> Iterator[Problem]:
    known = settings.network.zones
    for index, zone in enumerate(request.zones):
        if zone.rpartition("-")[0] != settings.region:
            yield Problem(
                174, (*at, "zones", index), f"is not in {settings.region}", "zones of the region", "mend it", zone
            )
        elif known and zone not in known:
            yield Problem(
                174, (*at, "zones", index), "is not among network.zones", ", ".join(known), "add it there", zone
            )


def _capacity(at: Path, request: PoolRequest) -> Iterator[Problem]:
    # spot beside a reservation, and a block without one, are refused for every place alike
    if request.reservation is not None and len(request.zones) != 1:
        message = "is of one zone, and the pool does not say which"
        fix = "write the reservation's zone: zones: [REGION-b]"
        yield Problem(183, (*at, "zones"), message, "exactly one zone", fix, list(request.zones))
    if request.spot:
        message = f"gives a pod {SPOT_GRACE_SECONDS} s to end, however long its drain: answers longer than that are cut"
        fix = "keep an on-demand pool for models whose answers must not be cut"
        yield Problem(184, (*at, "capacity"), message, "spot or onDemand", fix, "spot", severity="warning")


def _disk(at: Path, request: PoolRequest) -> Iterator[Problem]:
    if request.machine is None or (card := accelerator_of(request.machine.name)) is None or card.provisioned:
        return
    for field, value in (("iops", request.disk.iops), ("throughput", request.disk.throughput_mib)):
        if value is not None:
            message = f"cannot be bought for {request.machine.name}: its boot disk is a {card.boot_disk}"
            fix = "take it out and raise disk.size: this disk's speed grows with it"
            yield Problem(182, (*at, "disk", field), message, "size alone", fix, value)


def _sharing(at: Path, request: PoolRequest) -> Iterator[Problem]:
    sharing, machine = request.sharing, request.machine
    if sharing is None or machine is None or (card := accelerator_of(machine.name)) is None:
        return
    if sharing.kind == "timeSlicing":
        most = maximum_shared_clients()
        if not 2 <= sharing.replicas <= most:
            where = (*at, "sharing", sharing.key, sharing.count_key)
            yield Problem(
                188, where, "is not a number GKE shares a GPU by", f"2 to {most}", "choose one", sharing.replicas
            )
        return
    if not card.mig:
        message = f"is not possible: {machine.name} has {machine.gpu}, which is not known to be cut by GKE"
        yield Problem(
            179, (*at, "sharing", "mig"), message, "A100, H100, H200 or B200", "use timeSlicing", has_value=False
        )
    if sharing.strategy == "mixed":
        where = (*at, "sharing", "mig", "strategy")
        message = "is not GKE's: a node pool cuts all its cards alike"
        yield Problem(179, where, message, "single", "make one pool a profile", sharing.strategy)
