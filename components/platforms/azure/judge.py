"""Rules of Azure for its settings, for each GPU pool, and between them; checked before Azure is asked for anything.
Pure; no SDK."""

from __future__ import annotations

import ipaddress
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping

from components.platforms.azure.address_plan import LARGEST_PREFIX, SMALLEST_PREFIX, overlaps
from components.platforms.azure.names import node_pool
from components.platforms.azure.rules import (
    ADMIN_GROUPS_MISSING,
    DISK_SETTING_UNSUPPORTED,
    KEYS_CONFLICT,
    KUBELOGIN_MISSING,
    LABEL_RESERVED,
    NETWORK_INVALID,
    NODE_IMAGE_UNKNOWN,
    POOL_NAMES_COLLIDE,
    RESERVATION_INVALID,
    TOO_MANY_NODES,
    ZONES_INVALID,
)
from components.platforms.azure.settings import (
    RESERVATION_ID,
    AzureSettings,
    ClusterSettings,
    IngressSettings,
    NetworkSettings,
)
from components.platforms.azure.tables import image_key, node_images
from components.platforms.contract import PoolRequest
from components.typed.refusal import Path, Problem
from components.typed.rules.stack import ARCHITECTURE_MISMATCH, MIN_ABOVE_MAX, OPEN_TO_INTERNET

_ONLY_FOR_NEW = ("version", "support", "api_allowed_networks", "admin_groups", "system_pool", "maintenance")
_CLUSTER: Path = ("platform", "cluster")
_NETWORK: Path = ("platform", "network")
_INGRESS: Path = ("platform", "ingress")
_MOST_NODES = 1000
"""Per pool. Source: AKS documentation, Quotas, virtual machine size restrictions, and region availability."""
_DISK_GIB = (30, 2048)
"""Sizes of an OS disk: the image needs 30, Azure allows 2048. Source: azure-native 3.29, AgentPool osDiskSizeGB; AKS
documentation, Storage concepts."""
_RESERVED = ("kubernetes.azure.com/", "kubernetes.io/")
"""Label prefixes of AKS's own. Source: AKS documentation, Use labels: Reserved prefixes."""


def judge(settings: AzureSettings, pools: Mapping[str, PoolRequest], environment: str) -> Iterator[Problem]:
    """Yield every finding of this cloud; paths as in the stack file, below ``ebbtide:``."""
    yield from _adoption(settings.cluster, settings.network)
    if settings.cluster.adopt is None:
        yield from _new_cluster(settings.cluster)
    yield from _node_idle(settings)
    yield from _network(settings.network)
    if settings.ingress is not None:
        yield from _ingress(settings.ingress)
    yield from _pool_names(pools)
    for name, request in pools.items():
        yield from judge_pool(("pools", name), request, settings)


def inspect_machine(settings: AzureSettings) -> Iterator[Problem]:
    """Yield what this machine lacks and an update would miss a quarter of an hour later."""
    if shutil.which("kubelogin") is None:
        yield KUBELOGIN_MISSING.at(
            ("platform",),
            "needs the program kubelogin, which is not on the path here",
            allowed="kubelogin, by which Kubernetes is told who runs `up`",
            fix="install it with: az aks install-cli",
        )


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _adoption(cluster: ClusterSettings, network: NetworkSettings) -> Iterator[Problem]:
    both, alone = "adopt and resourceGroup together, or neither", "take one out"
    if cluster.adopt is not None and cluster.resource_group is None:
        message = "is missing: AKS knows a cluster by its name and its resource group"
        fix = "copy it from: az aks list --output table"
        yield KEYS_CONFLICT.at((*_CLUSTER, "resourceGroup"), message, allowed=both, fix=fix)
    if cluster.adopt is None and cluster.resource_group is not None:
        message = "has no effect: it names an adopted cluster's group, and none is adopted"
        yield KEYS_CONFLICT.at(
            (*_CLUSTER, "resourceGroup"), message, allowed=both, fix="take it out", value=cluster.resource_group
        )
    if cluster.adopt is not None:
        for field in _ONLY_FOR_NEW:
            if field in cluster.model_fields_set:
                message = f"has no effect: cluster.adopt names {cluster.adopt}, which somebody else set up"
                path = (*_CLUSTER, _camel(field))
                yield KEYS_CONFLICT.at(path, message, allowed="adopt and resourceGroup alone", fix="take it out")
        if "cidr" in network.model_fields_set:
            message = "has no effect: an adopted cluster has its network"
            yield KEYS_CONFLICT.at(
                (*_NETWORK, "cidr"), message, allowed="network.adopt or nothing", fix="take it out", value=network.cidr
            )
    elif network.adopt is not None and "cidr" in network.model_fields_set:
        message = "has no effect beside adopt: the subnet is there already"
        yield KEYS_CONFLICT.at((*_NETWORK, "cidr"), message, allowed="cidr or adopt", fix=alone, value=network.cidr)


def _node_idle(settings: AzureSettings) -> Iterator[Problem]:
    path, idle, adopted = ("platform", "nodeIdle"), settings.node_idle, settings.cluster.adopt
    if adopted is not None and "node_idle" in settings.model_fields_set:
        message = f"has no effect: the autoscaler of {adopted} is set up with that cluster"
        yield KEYS_CONFLICT.at(path, message, allowed="nothing", fix="take it out", value=str(idle))
    elif idle.seconds % 60:
        # Source: AKS documentation, Use the cluster autoscaler: no unit but minutes
        message = "is no whole number of minutes, and AKS counts in those"
        yield KEYS_CONFLICT.at(
            path, message, allowed="whole minutes, like 5m", fix="round it to minutes", value=str(idle)
        )


def _new_cluster(cluster: ClusterSettings) -> Iterator[Problem]:
    if not cluster.admin_groups:
        message = "is empty: the cluster has no local accounts, so nobody could get in, and `up` could not go on"
        allowed = "object ids of Entra groups; whoever runs `up` is a member of one"
        fix = "copy it from: az ad group show --group <name> --query id"
        yield ADMIN_GROUPS_MISSING.at((*_CLUSTER, "adminGroups"), message, allowed=allowed, fix=fix)
    yield from _networks(cluster.api_allowed_networks, (*_CLUSTER, "apiAllowedNetworks"))
    pool = cluster.system_pool
    if pool.min > pool.max:
        message = f"is more than max ({pool.max})"
        yield MIN_ABOVE_MAX.at(
            (*_CLUSTER, "systemPool", "min"), message, allowed="min at most max", fix="raise max", value=pool.min
        )


def _network(network: NetworkSettings) -> Iterator[Problem]:
    zones = network.zones
    if len(set(zones)) < len(zones):
        yield ZONES_INVALID.at(
            (*_NETWORK, "zones"), "names a zone twice", allowed="each once", fix="take one out", value=list(zones)
        )
    if network.adopt is not None:
        return
    path: Path = (*_NETWORK, "cidr")
    allowed = f"a private network from /{SMALLEST_PREFIX} to /{LARGEST_PREFIX}, like 10.40.0.0/16"
    try:
        block = ipaddress.IPv4Network(network.cidr)
    except ValueError as error:
        yield NETWORK_INVALID.at(
            path, f"is not a network: {error}", allowed=allowed, fix="write 10.40.0.0/16", value=network.cidr
        )
        return
    if not SMALLEST_PREFIX <= block.prefixlen <= LARGEST_PREFIX or not block.is_private:
        what = f"is a /{block.prefixlen}" if block.is_private else "is not a private network"
        yield NETWORK_INVALID.at(path, what, allowed=allowed, fix="write 10.40.0.0/16", value=network.cidr)
        return
    own_range = overlaps(network.cidr)
    if own_range is not None:
        message = f"overlaps {own_range}, where the cluster has its pods and Services"
        yield NETWORK_INVALID.at(path, message, allowed=allowed, fix="write 10.40.0.0/16", value=network.cidr)


def _ingress(ingress: IngressSettings) -> Iterator[Problem]:
    path: Path = (*_INGRESS, "allowedNetworks")
    if ingress.public and not ingress.allowed_networks:
        message = "is empty: a public load balancer would take connections from everywhere"
        allowed, fix = "networks that may connect", "name your offices' and services' networks, or set public: false"
        yield OPEN_TO_INTERNET.at(path, message, allowed=allowed, fix=fix)
    yield from _networks(ingress.allowed_networks, path)


def _networks(networks: Iterable[str], at: Path) -> Iterator[Problem]:
    for index, network in enumerate(networks):
        try:
            block = ipaddress.IPv4Network(network)
        except ValueError as error:
            message, allowed = f"is not a network: {error}", "a network like 10.0.0.0/8"
            yield NETWORK_INVALID.at(
                (*at, index), message, allowed=allowed, fix="write its first address", value=network
            )
            continue
        if block.prefixlen == 0:
            message, allowed = "lets everybody in", "the networks that need it"
            fix = "name the networks of those who do, or leave the list empty"
            yield OPEN_TO_INTERNET.at((*at, index), message, allowed=allowed, fix=fix, value=network)


def _pool_names(pools: Mapping[str, PoolRequest]) -> Iterator[Problem]:
    """Yield names that become one on AKS, which allows 12 letters and digits."""
    owners: dict[str, str] = {"system": "the cluster's own pool"}
    for name in pools:
        short = node_pool(name)
        first = owners.setdefault(short, f"pools.{name}")
        if first != f"pools.{name}":
            message = f"becomes {short} on AKS, which is {first} already"
            allowed = "names that differ in their letters and digits"
            yield POOL_NAMES_COLLIDE.at(("pools", name), message, allowed=allowed, fix="rename one")


def judge_pool(at: Path, request: PoolRequest, settings: AzureSettings) -> Iterator[Problem]:
    """Yield findings on the pool at ``at``."""
    yield from _machine(at, request)
    yield from _pool_zones(at, request, settings)
    yield from _capacity(at, request)
    yield from _disk(at, request)
    yield from _labels(at, request)
    images = node_images().images
    if image_key(request) not in images:
        message, known = "is not a node image of AKS's", ", ".join(images)
        yield NODE_IMAGE_UNKNOWN.at(
            (*at, "nodeImage"), message, allowed=known, fix="leave it out", value=request.pool.node_image
        )
    if request.pool.max_nodes > _MOST_NODES:
        message, allowed = "is more than AKS has in one pool", f"at most {_MOST_NODES}"
        yield TOO_MANY_NODES.at(
            (*at, "max"), message, allowed=allowed, fix="make a second pool", value=request.pool.max_nodes
        )


def _machine(at: Path, request: PoolRequest) -> Iterator[Problem]:
    if request.machine is not None and request.machine.architecture != "amd64":
        message = "has an Arm processor; the stack's images are built for x86-64"
        yield ARCHITECTURE_MISMATCH.at(
            (*at, "machine"), message, allowed="an x86-64 machine", fix="choose another", value=request.machine.name
        )


def _pool_zones(at: Path, request: PoolRequest, settings: AzureSettings) -> Iterator[Problem]:
    known = settings.network.zones
    for index, zone in enumerate(request.zones):
        path, fix = (*at, "zones", index), "use one of them, or add it to network.zones"
        if zone not in ("1", "2", "3"):
            yield ZONES_INVALID.at(
                path, "is not an availability zone", allowed='"1", "2" or "3", in quotes', fix=fix, value=zone
            )
        elif known and zone not in known:
            yield ZONES_INVALID.at(
                path, "is not a zone of the stack's network", allowed=", ".join(known), fix=fix, value=zone
            )


def _capacity(at: Path, request: PoolRequest) -> Iterator[Problem]:
    path = (*at, "reservation")
    if request.capacity_block:
        message = "is not sold by Azure: its reservations have no end"
        fix = "name a capacity reservation group under reservation, or take this out"
        yield RESERVATION_INVALID.at((*at, "capacityBlock"), message, allowed="nothing, on Azure", fix=fix, value=True)
    if request.reservation is None:
        return
    if not re.fullmatch(RESERVATION_ID, request.reservation):
        allowed = "/subscriptions/…/providers/Microsoft.Compute/capacityReservationGroups/<name>"
        fix = "copy it from: az capacity reservation group show --query id"
        yield RESERVATION_INVALID.at(
            path, "is not the id of a capacity reservation group", allowed=allowed, fix=fix, value=request.reservation
        )
    if request.spot:
        message = "is spot, which no reservation covers"
        yield RESERVATION_INVALID.at(
            (*at, "capacity"), message, allowed="onDemand beside a reservation", fix="write onDemand", value="spot"
        )


def _disk(at: Path, request: PoolRequest) -> Iterator[Problem]:
    disk, least, most = request.disk, *_DISK_GIB
    for key, value in (("iops", disk.iops), ("throughput", disk.throughput_mib)):
        if value is not None:
            message = "cannot be set: on AKS a node's disk is as fast as its size or the machine makes it"
            fix = "take it out; a machine's own disk is the fastest, then a disk of 1Ti (200 MB/s)"
            yield DISK_SETTING_UNSUPPORTED.at(
                (*at, "disk", key), message, allowed="nothing, on Azure", fix=fix, value=value
            )
    if disk.size_gib is not None and not least <= disk.size_gib <= most:
        message, allowed = "is no size of a node's disk", f"{least}Gi to {most}Gi"
        yield DISK_SETTING_UNSUPPORTED.at(
            (*at, "disk", "size"), message, allowed=allowed, fix="leave it out", value=f"{disk.size_gib}Gi"
        )


def _labels(at: Path, request: PoolRequest) -> Iterator[Problem]:
    for key in request.pool.labels:
        if key.startswith(_RESERVED):
            message, allowed = "is AKS's own prefix", f"labels without {' and '.join(_RESERVED)}"
            yield LABEL_RESERVED.at(
                (*at, "labels", key), message, allowed=allowed, fix="use another key", value=request.pool.labels[key]
            )
