"""Rules between Azure's settings and the pools, judged before anything is asked of it. Pure; no SDK."""

from __future__ import annotations

import ipaddress
import shutil
from collections.abc import Iterable, Iterator, Mapping

from components.platforms.azure.address_plan import LARGEST_PREFIX, SMALLEST_PREFIX, overlaps
from components.platforms.azure.judge_pool import judge_pool
from components.platforms.azure.names import node_pool
from components.platforms.azure.settings import AzureSettings, ClusterSettings, IngressSettings, NetworkSettings
from components.platforms.contract import PoolRequest
from components.typed.refusal import Path, Problem

_ONLY_WHEN_MADE = ("version", "api_allowed_networks", "admin_groups", "system_pool")
_CLUSTER: Path = ("platform", "cluster")
_NETWORK: Path = ("platform", "network")
_INGRESS: Path = ("platform", "ingress")


def judge(settings: AzureSettings, pools: Mapping[str, PoolRequest], environment: str) -> Iterator[Problem]:
    """Every finding of this cloud; paths as in the stack file, below ``ebbtide:``."""
    yield from _adoption(settings.cluster, settings.network)
    if settings.cluster.adopt is None:
        yield from _made_cluster(settings.cluster)
    yield from _node_idle(settings)
    yield from _network(settings.network)
    if settings.ingress is not None:
        yield from _ingress(settings.ingress)
    yield from _pool_names(pools)
    for name, request in pools.items():
        yield from judge_pool(("pools", name), request, settings)


def look(settings: AzureSettings) -> Iterator[Problem]:
    """What this machine lacks and an update would miss a quarter of an hour later."""
    if shutil.which("kubelogin") is None:
        yield Problem(
            168,
            ("platform",),
            "needs the program kubelogin, which is not on the path here",
            "kubelogin, by which Kubernetes is told who runs `up`",
            "install it with: az aks install-cli",
            has_value=False,
            severity="warning",
        )


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _adoption(cluster: ClusterSettings, network: NetworkSettings) -> Iterator[Problem]:
    both, alone = "adopt and resourceGroup together, or neither", "take one out"
    if cluster.adopt is not None and cluster.resource_group is None:
        message = "is missing: AKS knows a cluster by its name and its resource group"
        fix = "copy it from: az aks list --output table"
        yield Problem(160, (*_CLUSTER, "resourceGroup"), message, both, fix, has_value=False)
    if cluster.adopt is None and cluster.resource_group is not None:
        message = "has no effect: it names an adopted cluster's group, and none is adopted"
        yield Problem(160, (*_CLUSTER, "resourceGroup"), message, both, "take it out", cluster.resource_group)
    if cluster.adopt is not None:
        for field in _ONLY_WHEN_MADE:
            if field in cluster.model_fields_set:
                message = f"has no effect: cluster.adopt names {cluster.adopt}, which somebody else set up"
                path = (*_CLUSTER, _camel(field))
                yield Problem(160, path, message, "adopt and resourceGroup alone", "take it out", has_value=False)
        if "cidr" in network.model_fields_set:
            message = "has no effect: an adopted cluster has its network"
            yield Problem(160, (*_NETWORK, "cidr"), message, "network.adopt or nothing", "take it out", network.cidr)
    elif network.adopt is not None and "cidr" in network.model_fields_set:
        message = "has no effect beside adopt: the subnet is there already"
        yield Problem(160, (*_NETWORK, "cidr"), message, "cidr or adopt", alone, network.cidr)


def _node_idle(settings: AzureSettings) -> Iterator[Problem]:
    path, idle, adopted = ("platform", "nodeIdle"), settings.node_idle, settings.cluster.adopt
    if adopted is not None and "node_idle" in settings.model_fields_set:
        message = f"has no effect: the autoscaler of {adopted} is set up with that cluster"
        yield Problem(160, path, message, "nothing", "take it out", str(idle))
    elif idle.seconds % 60:
        # Source: AKS documentation, Use the cluster autoscaler: no unit but minutes
        message = "is no whole number of minutes, and AKS counts in those"
        yield Problem(160, path, message, "whole minutes, like 5m", "round it to minutes", str(idle))


def _made_cluster(cluster: ClusterSettings) -> Iterator[Problem]:
    if not cluster.admin_groups:
        message = "is empty: the cluster has no local accounts, so nobody could get in, and `up` could not go on"
        allowed = "object ids of Entra groups; whoever runs `up` is a member of one"
        fix = "copy it from: az ad group show --group <name> --query id"
        yield Problem(161, (*_CLUSTER, "adminGroups"), message, allowed, fix, has_value=False)
    yield from _networks(cluster.api_allowed_networks, (*_CLUSTER, "apiAllowedNetworks"))
    pool = cluster.system_pool
    if pool.min > pool.max:
        message = f"is more than max ({pool.max})"
        yield Problem(6, (*_CLUSTER, "systemPool", "min"), message, "min at most max", "raise max", pool.min)


def _network(network: NetworkSettings) -> Iterator[Problem]:
    zones = network.zones
    if len(set(zones)) < len(zones):
        yield Problem(152, (*_NETWORK, "zones"), "names a zone twice", "each once", "take one out", list(zones))
    if network.adopt is not None:
        return
    path: Path = (*_NETWORK, "cidr")
    allowed = f"a private network from /{SMALLEST_PREFIX} to /{LARGEST_PREFIX}, like 10.40.0.0/16"
    try:
        block = ipaddress.IPv4Network(network.cidr)
    except ValueError as error:
        yield Problem(154, path, f"is not a network: {error}", allowed, "write 10.40.0.0/16", network.cidr)
        return
    if not SMALLEST_PREFIX <= block.prefixlen <= LARGEST_PREFIX or not block.is_private:
        what = f"is a /{block.prefixlen}" if block.is_private else "is not a private network"
        yield Problem(154, path, what, allowed, "write 10.40.0.0/16", network.cidr)
        return
    taken = overlaps(network.cidr)
    if taken is not None:
        message = f"overlaps {taken}, where the cluster has its pods and Services"
        yield Problem(154, path, message, allowed, "write 10.40.0.0/16", network.cidr)


def _ingress(ingress: IngressSettings) -> Iterator[Problem]:
    path: Path = (*_INGRESS, "allowedNetworks")
    if ingress.public and not ingress.allowed_networks:
        message = "is empty: a public load balancer would take connections from everywhere"
        allowed, fix = "networks that may connect", "name your offices' and services' networks, or set public: false"
        yield Problem(39, path, message, allowed, fix, has_value=False, severity="mandatory")
    yield from _networks(ingress.allowed_networks, path)


def _networks(networks: Iterable[str], at: Path) -> Iterator[Problem]:
    for index, network in enumerate(networks):
        try:
            block = ipaddress.IPv4Network(network)
        except ValueError as error:
            message, allowed = f"is not a network: {error}", "a network like 10.0.0.0/8"
            yield Problem(154, (*at, index), message, allowed, "write its first address", network)
            continue
        if block.prefixlen == 0:
            message, allowed = "lets everybody in", "the networks that need it"
            fix = "name the networks of those who do, or leave the list empty"
            yield Problem(39, (*at, index), message, allowed, fix, network, severity="mandatory")


def _pool_names(pools: Mapping[str, PoolRequest]) -> Iterator[Problem]:
    """AKS allows 12 letters and digits, so two names can become one."""
    owners: dict[str, str] = {"system": "the cluster's own pool"}
    for name in pools:
        short = node_pool(name)
        first = owners.setdefault(short, f"pools.{name}")
        if first != f"pools.{name}":
            message = f"becomes {short} on AKS, which is {first} already"
            allowed = "names that differ in their letters and digits"
            yield Problem(162, ("pools", name), message, allowed, "rename one", has_value=False)
