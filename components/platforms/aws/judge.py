"""Rules between the settings of a place on AWS and the pools it is asked for. Pure; no SDK."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import cast

from components.platforms.aws.judge_pool import judge_pool
from components.platforms.aws.settings import AwsSettings, ClusterSettings, NetworkSettings
from components.platforms.aws.tables import autoscaler_image, known_minors
from components.platforms.contract import PoolRequest
from components.typed.refusal import Path, Problem

_AT: Path = ("platform",)
_FEWEST_ZONES, _MOST_ZONES = 2, 6


def judge(settings: object, pools: Mapping[str, PoolRequest], environment: str) -> Iterator[Problem]:
    """Every problem that a single field does not show, with paths as in the stack file."""
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
        yield Problem(134, path, message, allowed, "list the releases as docs/clouds/aws.md says", has_value=False)
    for name, request in pools.items():
        yield from judge_pool(place, name, request)


def _zones(place: AwsSettings) -> Iterator[Problem]:
    path: Path = (*_AT, "network", "zones")
    adopt = place.network.adopt
    if adopt is not None:
        path = (*_AT, "network", "adopt", "subnets")
        if place.network.zones:
            message = "has no meaning beside adopt: the subnets tell the zones"
            yield Problem(132, (*_AT, "network", "zones"), message, "nothing", "take it out", list(place.network.zones))
    for zone in place.zones:
        if zone[:-1] != place.region:
            fix = f"name zones of {place.region}, or set region: {zone[:-1]}"
            yield Problem(132, path, f"has {zone}, which is not in {place.region}", "zones of the region", fix, zone)
    if len(set(place.zones)) < len(place.zones):
        yield Problem(132, path, "names a zone twice", "each once", "take one out", list(place.zones))
    # Source: EKS user guide, VPC and subnet requirements: subnets in two zones at least
    if not _FEWEST_ZONES <= len(place.zones) <= _MOST_ZONES:
        allowed = f"{_FEWEST_ZONES} to {_MOST_ZONES} zones"
        message = f"has {len(place.zones)} zones; the control plane and the load balancer need two"
        fix = f"write for example [{place.region}a, {place.region}b]"
        yield Problem(132, path, message, allowed, fix, list(place.zones))


def _addresses(network: NetworkSettings) -> Iterator[Problem]:
    if network.adopt is not None:
        return
    path: Path = (*_AT, "network", "cidr")
    allowed = "a private network from /16 to /18 that begins at its own address, like 10.40.0.0/16"
    try:
        block = ipaddress.IPv4Network(network.cidr)
    except ValueError:
        yield Problem(139, path, "is not a network", allowed, "write 10.40.0.0/16", network.cidr)
        return
    if not 16 <= block.prefixlen <= 18:  # a VPC is /16 at most; below /18 a subnet has too few addresses for pods
        yield Problem(139, path, f"is a /{block.prefixlen}", allowed, "write /16", network.cidr)
    elif not block.is_private:
        yield Problem(139, path, "is not a private network", allowed, "write 10.40.0.0/16", network.cidr)


def _adoption(place: AwsSettings) -> Iterator[Problem]:
    if place.cluster.adopt is None:
        return
    for field in sorted(place.cluster.model_fields_set - {"adopt"}):
        key = ClusterSettings.model_fields[field].alias or field
        path = (*_AT, "cluster", key)
        message = "has no meaning for an adopted cluster: the stack changes nothing of it"
        yield Problem(133, path, message, "adopt alone", "take it out, or take adopt out", has_value=False)
    if place.network.adopt is None:
        message = "is missing: the nodes of an adopted cluster go into its own network"
        allowed = "adopt with vpc and subnets"
        fix = f"see: aws eks describe-cluster --name {place.cluster.adopt} --query cluster.resourcesVpcConfig"
        yield Problem(133, (*_AT, "network", "adopt"), message, allowed, fix, has_value=False)


def _cluster(place: AwsSettings) -> Iterator[Problem]:
    cluster = place.cluster
    if place.adopted:
        return
    managed = place.node_provisioning == "managed" and place.installs_autoscaler
    if managed and autoscaler_image(cluster.version) is None:
        message = "has no Cluster Autoscaler in components/platforms/aws/versions.yaml"
        fix = "write one of these, or add a row to that file"
        yield Problem(143, (*_AT, "cluster", "version"), message, ", ".join(known_minors()), fix, cluster.version)
    pool, path = cluster.system_pool, (*_AT, "cluster", "systemPool")
    if pool.min > pool.max:
        fix = f"lower min to {pool.max} or raise max to {pool.min}"
        yield Problem(6, (*path, "min"), f"is more than max, which is {pool.max}", f"1 to {pool.max}", fix, pool.min)
    if is_arm(pool.machine):
        message = "has an Arm processor; the stack's images are built for x86-64"
        yield Problem(42, (*path, "machine"), message, "an x86-64 type", "write m7i.large", pool.machine)


def is_arm(machine: str) -> bool:
    """Whether an instance type has Amazon's Graviton: its family's number is followed by ``g`` (``m7g``, ``c7gn``,
    ``g5g``). Source: EC2 instance type naming conventions."""
    return re.match(r"[a-z]+[0-9]+g", machine) is not None


def _open_networks(place: AwsSettings) -> Iterator[Problem]:
    listed = {("cluster", "apiAllowedNetworks"): place.cluster.api_allowed_networks}
    listed[("cluster", "apiPrivateNetworks")] = place.cluster.api_private_networks
    if place.ingress is not None:
        listed[("ingress", "allowedNetworks")] = place.ingress.allowed_networks
        if place.ingress.public and not place.ingress.allowed_networks:
            path, allowed = (*_AT, "ingress", "allowedNetworks"), "the networks of those who may connect"
            message = "is missing: a public load balancer must say who may connect"
            yield Problem(39, path, message, allowed, "list them", has_value=False, severity="mandatory")
    for where, networks in listed.items():
        for index, network in enumerate(networks):
            path = (*_AT, *where, index)
            try:
                block = ipaddress.IPv4Network(network, strict=False)
            except ValueError:
                fix = "write it like 203.0.113.0/24"
                yield Problem(139, path, "is not a network", "IPv4 in CIDR notation", fix, network)
                continue
            if block.prefixlen < 8:
                message = "lets a large part of the internet in" if block.prefixlen else "lets everybody in"
                fix = "list the networks of those who need it"
                yield Problem(39, path, message, "/8 or smaller", fix, network, severity="mandatory")


def _certificate(place: AwsSettings) -> Iterator[Problem]:
    if place.ingress is None:
        return
    path: Path = (*_AT, "ingress", "certificate")
    _, _, _, region, account, _ = place.ingress.certificate.split(":", 5)
    allowed = f"a certificate in {place.region}, account {place.account}"
    # Source: Elastic Load Balancing user guide: a listener takes certificates of its own region only
    if region != place.region:
        fix = "request or import it there"
        yield Problem(140, path, f"is in {region}; a load balancer takes its own region's", allowed, fix, region)
    if account != place.account:
        yield Problem(140, path, "belongs to another account", allowed, "request or import it in this one", account)
    public = place.ingress.public and place.network.adopt is not None
    if public and len(place.network.adopt.public_subnets if place.network.adopt else ()) < _FEWEST_ZONES:
        where = (*_AT, "network", "adopt", "publicSubnets")
        message = "has fewer than two; a public load balancer stands in two zones at least"
        yield Problem(133, where, message, "one a zone, two or more", "list them", has_value=False)
