"""Rules of AWS for one GPU pool. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from components.platforms.aws.settings import AwsSettings
from components.platforms.aws.tables import node_image_key, node_images
from components.platforms.contract import Disk, PoolRequest
from components.typed.refusal import Path, Problem

# Source: EBS user guide, General Purpose SSD volumes (gp3), and EC2 API reference, ModifyVolume
_IOPS = (3000, 80_000)
_THROUGHPUT_MIB = (125, 2000)
_SIZE_GIB = (20, 65_536)
_MIB_A_SECOND_PER_IOPS = 0.25


def judge_pool(place: AwsSettings, name: str, request: PoolRequest) -> Iterator[Problem]:
    """Everything wrong with the pool called ``name``."""
    path: Path = ("pools", name)
    yield from _zones(place, path, request)
    yield from _reservation(place, path, request)
    yield from _disk(path, request.disk)
    yield from _image(path, request)
    if request.machine is not None and request.machine.architecture != "amd64":
        message = "has an Arm processor; the stack's images are built for x86-64"
        yield Problem(42, (*path, "machine"), message, "an x86-64 machine", "choose another", request.machine.name)
    if place.node_provisioning == "karpenter":
        yield from _karpenter(path, request)
    elif request.pool.max_nodes < 1:  # Source: EKS API reference, NodegroupScalingConfig: maxSize is 1 or more
        message = "is 0, and a node group takes 1 at least"
        yield Problem(135, (*path, "max"), message, "1 or more", "write 1, or take the pool out", 0)


def _zones(place: AwsSettings, path: Path, request: PoolRequest) -> Iterator[Problem]:
    for index, zone in enumerate(request.zones):
        if zone not in place.zones:
            allowed = ", ".join(place.zones) or "none: the network has no zones yet"
            message = "is not a zone of the stack's network"
            yield Problem(132, (*path, "zones", index), message, allowed, "use one, or add it to the network", zone)


def _reservation(place: AwsSettings, path: Path, request: PoolRequest) -> Iterator[Problem]:
    at = (*path, "reservation")
    if request.reservation is None:
        if request.capacity_block:
            message = "is missing: a capacity block is told by its reservation"
            yield Problem(137, at, message, "cr- and its digits", "copy it from the purchase", has_value=False)
        return
    if not request.reservation.startswith("cr-"):
        fix = "copy it from: aws ec2 describe-capacity-reservations"
        yield Problem(
            137, at, "is not the id of a capacity reservation", "cr- and its digits", fix, request.reservation
        )
    if request.spot:
        message = "is spot, which no reservation covers"
        yield Problem(137, (*path, "capacity"), message, "onDemand beside a reservation", "write onDemand", "spot")
    # Source: EC2 user guide, Capacity Reservations: each is in one availability zone
    if len(request.zones or place.zones) != 1:
        message = "is missing: a reservation holds in one zone, and nodes elsewhere would be refused or paid extra"
        allowed = "the reservation's zone alone"
        yield Problem(
            137, (*path, "zones"), message, allowed, f"write [{place.region}a] or what it is", has_value=False
        )


def _disk(path: Path, disk: Disk) -> Iterator[Problem]:
    checks = [("size", disk.size_gib, _SIZE_GIB, "Gi"), ("iops", disk.iops, _IOPS, "")]
    checks.append(("throughput", disk.throughput_mib, _THROUGHPUT_MIB, "Mi"))
    for key, value, (least, most), unit in checks:
        if value is not None and not least <= value <= most:
            allowed = f"{least}{unit} to {most}{unit}"
            fix = f"set {key}: {least if value < least else most}{unit}"
            yield Problem(138, (*path, "disk", key), "is not what a gp3 volume takes", allowed, fix, f"{value}{unit}")
    if disk.throughput_mib and disk.throughput_mib > (disk.iops or _needed_iops(disk)) * _MIB_A_SECOND_PER_IOPS:
        message = "is more than these iops carry: a gp3 volume moves a quarter MiB/s for each"
        fix = f"write iops: {_needed_iops(disk)} or more"
        at = (*path, "disk", "throughput")
        yield Problem(138, at, message, "a quarter of iops", fix, f"{disk.throughput_mib}Mi")


def _needed_iops(disk: Disk) -> int:
    return max(_IOPS[0], round((disk.throughput_mib or 0) / _MIB_A_SECOND_PER_IOPS))


def _image(path: Path, request: PoolRequest) -> Iterator[Problem]:
    known = node_images().images
    image = known.get(node_image_key(request.pool.node_image))
    if image is not None and request.sharing is not None and not image.node_config:
        message = "shares cards by settings of its own, which the stack does not write"
        fix = "write al2023-nvidia, where the GPU operator shares them"
        yield Problem(136, (*path, "nodeImage"), message, "al2023-nvidia with sharing", fix, request.pool.node_image)


def _karpenter(path: Path, request: PoolRequest) -> Iterator[Problem]:
    if request.pool.min_nodes > 0:
        message = "is more than none, and Karpenter keeps no node that nobody needs"
        fix = "write 0 and give a model a min, or nodeProvisioning: managed"
        yield Problem(135, (*path, "min"), message, "0 with karpenter", fix, request.pool.min_nodes)
    if request.pool.gpu_resource != "nvidia.com/gpu":
        # Karpenter knows an instance type's GPUs, not what the operator makes of them later
        message = (
            "makes the nodes offer " + request.pool.gpu_resource + ", for which Karpenter brings no node from zero"
        )
        fix = "use a strategy that keeps nvidia.com/gpu, or nodeProvisioning: managed"
        yield Problem(136, (*path, "sharing"), message, "nvidia.com/gpu with karpenter", fix, has_value=False)
