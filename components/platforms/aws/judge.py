"""Rules of AWS for its settings, for each GPU pool, and between them. Pure; no SDK."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import cast

from components.platforms.aws.rules import (
    ADOPT_INCOMPLETE,
    CERTIFICATE_ELSEWHERE,
    NETWORK_INVALID,
    NODE_RELEASE_INVALID,
    POOL_SIZE_UNSUPPORTED,
    RESERVATION_INVALID,
    SHARING_UNSUPPORTED,
    VERSION_UNKNOWN,
    VOLUME_INVALID,
    ZONES_INVALID,
)
from components.platforms.aws.settings import AwsSettings, ClusterSettings, NetworkSettings
from components.platforms.aws.tables import autoscaler_image, known_minors, node_image_key, node_images
from components.platforms.contract import Disk, PoolRequest
from components.typed.refusal import Path, Problem
from components.typed.rules.stack import ARCHITECTURE_MISMATCH, MIN_ABOVE_MAX, OPEN_TO_INTERNET

_AT: Path = ("platform",)
_FEWEST_ZONES, _MOST_ZONES = 2, 6
# Source: EBS user guide, General Purpose SSD volumes (gp3), and EC2 API reference, ModifyVolume
_IOPS = (3000, 80_000)
_THROUGHPUT_MIB = (125, 2000)
_SIZE_GIB = (20, 65_536)
_MIB_A_SECOND_PER_IOPS = 0.25


def judge(settings: object, pools: Mapping[str, PoolRequest], environment: str) -> Iterator[Problem]:
    """Yield every problem that a single field does not show, with paths as in the stack file."""
    place = cast(AwsSettings, settings)
    yield from _zones(place)
    yield from _addresses(place.network)
    yield from _adoption(place)
    yield from _cluster(place)
    yield from _open_networks(place)
    yield from _certificate(place)
    if place.node_provisioning == "karpenter" and place.node_image_release is None:
        path, allowed = (*_AT, "nodeImageRelease"), "a release like v20260820"
        message = "is missing: Karpenter would take the latest image and replace running nodes whenever one comes out"
        yield NODE_RELEASE_INVALID.at(
            path, message, allowed=allowed, fix="list the releases as docs/clouds/aws.md says"
        )
    for name, request in pools.items():
        yield from judge_pool(place, name, request)


def _zones(place: AwsSettings) -> Iterator[Problem]:
    path: Path = (*_AT, "network", "zones")
    adopt = place.network.adopt
    if adopt is not None:
        path = (*_AT, "network", "adopt", "subnets")
        if place.network.zones:
            message = "has no meaning beside adopt: the subnets tell the zones"
            yield ZONES_INVALID.at(
                (*_AT, "network", "zones"),
                message,
                allowed="nothing",
                fix="take it out",
                value=list(place.network.zones),
            )
    for zone in place.zones:
        if zone[:-1] != place.region:
            fix = f"name zones of {place.region}, or set region: {zone[:-1]}"
            yield ZONES_INVALID.at(
                path, f"has {zone}, which is not in {place.region}", allowed="zones of the region", fix=fix, value=zone
            )
    if len(set(place.zones)) < len(place.zones):
        yield ZONES_INVALID.at(
            path, "names a zone twice", allowed="each once", fix="take one out", value=list(place.zones)
        )
    # Source: EKS user guide, VPC and subnet requirements: subnets in two zones at least
    if not _FEWEST_ZONES <= len(place.zones) <= _MOST_ZONES:
        allowed = f"{_FEWEST_ZONES} to {_MOST_ZONES} zones"
        message = f"has {len(place.zones)} zones; the control plane and the load balancer need two"
        fix = f"write for example [{place.region}a, {place.region}b]"
        yield ZONES_INVALID.at(path, message, allowed=allowed, fix=fix, value=list(place.zones))


def _addresses(network: NetworkSettings) -> Iterator[Problem]:
    if network.adopt is not None:
        return
    path: Path = (*_AT, "network", "cidr")
    allowed = "a private network from /16 to /18 that begins at its own address, like 10.40.0.0/16"
    try:
        block = ipaddress.IPv4Network(network.cidr)
    except ValueError:
        yield NETWORK_INVALID.at(
            path, "is not a network", allowed=allowed, fix="write 10.40.0.0/16", value=network.cidr
        )
        return
    if not 16 <= block.prefixlen <= 18:  # a VPC is /16 at most; below /18 a subnet has too few addresses for pods
        yield NETWORK_INVALID.at(path, f"is a /{block.prefixlen}", allowed=allowed, fix="write /16", value=network.cidr)
    elif not block.is_private:
        yield NETWORK_INVALID.at(
            path, "is not a private network", allowed=allowed, fix="write 10.40.0.0/16", value=network.cidr
        )


def _adoption(place: AwsSettings) -> Iterator[Problem]:
    if place.cluster.adopt is None:
        return
    for field in sorted(place.cluster.model_fields_set - {"adopt"}):
        key = ClusterSettings.model_fields[field].alias or field
        path = (*_AT, "cluster", key)
        message = "has no meaning for an adopted cluster: the stack changes nothing of it"
        yield ADOPT_INCOMPLETE.at(path, message, allowed="adopt alone", fix="take it out, or take adopt out")
    if place.network.adopt is None:
        message = "is missing: the nodes of an adopted cluster go into its own network"
        allowed = "adopt with vpc and subnets"
        fix = f"see: aws eks describe-cluster --name {place.cluster.adopt} --query cluster.resourcesVpcConfig"
        yield ADOPT_INCOMPLETE.at((*_AT, "network", "adopt"), message, allowed=allowed, fix=fix)


def _cluster(place: AwsSettings) -> Iterator[Problem]:
    cluster = place.cluster
    if place.adopted:
        return
    managed = place.node_provisioning == "managed" and place.installs_autoscaler
    if managed and autoscaler_image(cluster.version) is None:
        message = "has no Cluster Autoscaler in components/platforms/aws/versions.yaml"
        fix = "write one of these, or add a row to that file"
        yield VERSION_UNKNOWN.at(
            (*_AT, "cluster", "version"), message, allowed=", ".join(known_minors()), fix=fix, value=cluster.version
        )
    pool, path = cluster.system_pool, (*_AT, "cluster", "systemPool")
    if pool.min > pool.max:
        fix = f"lower min to {pool.max} or raise max to {pool.min}"
        yield MIN_ABOVE_MAX.at(
            (*path, "min"),
            f"is more than max, which is {pool.max}",
            allowed=f"1 to {pool.max}",
            fix=fix,
            value=pool.min,
        )
    if is_arm(pool.machine):
        message = "has an Arm processor; the stack's images are built for x86-64"
        yield ARCHITECTURE_MISMATCH.at(
            (*path, "machine"), message, allowed="an x86-64 type", fix="write m7i.large", value=pool.machine
        )


def is_arm(machine: str) -> bool:
    """Return True if an instance type has Amazon's Graviton: its family's number is followed by ``g`` (``m7g``,
    ``c7gn``, ``g5g``). Source: EC2 instance type naming conventions."""
    return re.match(r"[a-z]+[0-9]+g", machine) is not None


def _open_networks(place: AwsSettings) -> Iterator[Problem]:
    listed = {("cluster", "apiAllowedNetworks"): place.cluster.api_allowed_networks}
    listed[("cluster", "apiPrivateNetworks")] = place.cluster.api_private_networks
    if place.ingress is not None:
        listed[("ingress", "allowedNetworks")] = place.ingress.allowed_networks
        if place.ingress.public and not place.ingress.allowed_networks:
            path, allowed = (*_AT, "ingress", "allowedNetworks"), "the networks of those who may connect"
            message = "is missing: a public load balancer must say who may connect"
            yield OPEN_TO_INTERNET.at(path, message, allowed=allowed, fix="list them")
    for where, networks in listed.items():
        for index, network in enumerate(networks):
            path = (*_AT, *where, index)
            try:
                block = ipaddress.IPv4Network(network, strict=False)
            except ValueError:
                fix = "write it like 203.0.113.0/24"
                yield NETWORK_INVALID.at(
                    path, "is not a network", allowed="IPv4 in CIDR notation", fix=fix, value=network
                )
                continue
            if block.prefixlen < 8:
                message = "lets a large part of the internet in" if block.prefixlen else "lets everybody in"
                fix = "list the networks of those who need it"
                yield OPEN_TO_INTERNET.at(path, message, allowed="/8 or smaller", fix=fix, value=network)


def _certificate(place: AwsSettings) -> Iterator[Problem]:
    if place.ingress is None:
        return
    path: Path = (*_AT, "ingress", "certificate")
    _, _, _, region, account, _ = place.ingress.certificate.split(":", 5)
    allowed = f"a certificate in {place.region}, account {place.account}"
    # Source: Elastic Load Balancing user guide: a listener takes certificates of its own region only
    if region != place.region:
        fix = "request or import it there"
        yield CERTIFICATE_ELSEWHERE.at(
            path, f"is in {region}; a load balancer takes its own region's", allowed=allowed, fix=fix, value=region
        )
    if account != place.account:
        yield CERTIFICATE_ELSEWHERE.at(
            path, "belongs to another account", allowed=allowed, fix="request or import it in this one", value=account
        )
    public = place.ingress.public and place.network.adopt is not None
    if public and len(place.network.adopt.public_subnets if place.network.adopt else ()) < _FEWEST_ZONES:
        where = (*_AT, "network", "adopt", "publicSubnets")
        message = "has fewer than two; a public load balancer stands in two zones at least"
        yield ADOPT_INCOMPLETE.at(where, message, allowed="one a zone, two or more", fix="list them")


def judge_pool(place: AwsSettings, name: str, request: PoolRequest) -> Iterator[Problem]:
    """Yield everything wrong with the pool called ``name``."""
    path: Path = ("pools", name)
    yield from _pool_zones(place, path, request)
    yield from _reservation(place, path, request)
    yield from _disk(path, request.disk)
    yield from _image(path, request)
    if request.machine is not None and request.machine.architecture != "amd64":
        message = "has an Arm processor; the stack's images are built for x86-64"
        yield ARCHITECTURE_MISMATCH.at(
            (*path, "machine"), message, allowed="an x86-64 machine", fix="choose another", value=request.machine.name
        )
    if place.node_provisioning == "karpenter":
        yield from _karpenter(path, request)


def _pool_zones(place: AwsSettings, path: Path, request: PoolRequest) -> Iterator[Problem]:
    for index, zone in enumerate(request.zones):
        if zone not in place.zones:
            allowed = ", ".join(place.zones) or "none: the network has no zones yet"
            message = "is not a zone of the stack's network"
            yield ZONES_INVALID.at(
                (*path, "zones", index), message, allowed=allowed, fix="use one, or add it to the network", value=zone
            )


def _reservation(place: AwsSettings, path: Path, request: PoolRequest) -> Iterator[Problem]:
    at = (*path, "reservation")
    if request.reservation is None:
        if request.capacity_block:
            message = "is missing: a capacity block is told by its reservation"
            yield RESERVATION_INVALID.at(at, message, allowed="cr- and its digits", fix="copy it from the purchase")
        return
    if not request.reservation.startswith("cr-"):
        fix = "copy it from: aws ec2 describe-capacity-reservations"
        yield RESERVATION_INVALID.at(
            at,
            "is not the id of a capacity reservation",
            allowed="cr- and its digits",
            fix=fix,
            value=request.reservation,
        )
    if request.spot:
        message = "is spot, which no reservation covers"
        yield RESERVATION_INVALID.at(
            (*path, "capacity"), message, allowed="onDemand beside a reservation", fix="write onDemand", value="spot"
        )
    # Source: EC2 user guide, Capacity Reservations: each is in one availability zone
    if len(request.zones or place.zones) != 1:
        message = "is missing: a reservation holds in one zone, and nodes elsewhere would be refused or paid extra"
        allowed = "the reservation's zone alone"
        yield RESERVATION_INVALID.at(
            (*path, "zones"), message, allowed=allowed, fix=f"write [{place.region}a] or what it is"
        )


def _disk(path: Path, disk: Disk) -> Iterator[Problem]:
    checks = [("size", disk.size_gib, _SIZE_GIB, "Gi"), ("iops", disk.iops, _IOPS, "")]
    checks.append(("throughput", disk.throughput_mib, _THROUGHPUT_MIB, "Mi"))
    for key, value, (least, most), unit in checks:
        if value is not None and not least <= value <= most:
            allowed = f"{least}{unit} to {most}{unit}"
            fix = f"set {key}: {least if value < least else most}{unit}"
            yield VOLUME_INVALID.at(
                (*path, "disk", key), "is not what a gp3 volume takes", allowed=allowed, fix=fix, value=f"{value}{unit}"
            )
    if disk.throughput_mib and disk.throughput_mib > (disk.iops or _needed_iops(disk)) * _MIB_A_SECOND_PER_IOPS:
        message = "is more than these iops carry: a gp3 volume moves a quarter MiB/s for each"
        fix = f"write iops: {_needed_iops(disk)} or more"
        at = (*path, "disk", "throughput")
        yield VOLUME_INVALID.at(at, message, allowed="a quarter of iops", fix=fix, value=f"{disk.throughput_mib}Mi")


def _needed_iops(disk: Disk) -> int:
    return max(_IOPS[0], round((disk.throughput_mib or 0) / _MIB_A_SECOND_PER_IOPS))


def _image(path: Path, request: PoolRequest) -> Iterator[Problem]:
    known = node_images().images
    image = known.get(node_image_key(request.pool.node_image))
    if image is not None and request.sharing is not None and not image.node_config:
        message = "shares cards by settings of its own, which the stack does not write"
        fix = "write al2023-nvidia, where the GPU operator shares them"
        yield SHARING_UNSUPPORTED.at(
            (*path, "nodeImage"), message, allowed="al2023-nvidia with sharing", fix=fix, value=request.pool.node_image
        )


def _karpenter(path: Path, request: PoolRequest) -> Iterator[Problem]:
    if request.pool.min_nodes > 0:
        message = "is more than none, and Karpenter keeps no node that nobody needs"
        fix = "write 0 and give a model a min, or nodeProvisioning: managed"
        yield POOL_SIZE_UNSUPPORTED.at(
            (*path, "min"), message, allowed="0 with karpenter", fix=fix, value=request.pool.min_nodes
        )
    if request.pool.gpu_resource != "nvidia.com/gpu":
        # Karpenter knows an instance type's GPUs, not what the operator makes of them later
        message = (
            "makes the nodes offer " + request.pool.gpu_resource + ", for which Karpenter brings no node from zero"
        )
        fix = "use a strategy that keeps nvidia.com/gpu, or nodeProvisioning: managed"
        yield SHARING_UNSUPPORTED.at((*path, "sharing"), message, allowed="nvidia.com/gpu with karpenter", fix=fix)
