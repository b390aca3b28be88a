"""The bill of a stack on Azure while every model sleeps. Prices are in ``standing.yaml``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from components.platforms.azure.settings import AzureSettings
from components.platforms.azure.tables import control_plane_tier, redundancy, registry_tier
from components.platforms.standing import Item, Standing, StandingFacts

_MOST_VCPUS = 7
"""The most vCPUs of a size to which AKS gives a P10, unless it has a disk of its own. Source: AKS documentation, Node
pools, OS disk sizing."""


def standing(settings: AzureSettings, facts: StandingFacts) -> Standing:
    """Count the parts that the stack makes itself; what it adopts is billed to others."""
    adopted = []
    if settings.cluster.adopt is not None:
        adopted.append("the adopted cluster with its nodes, network and way out")
    elif settings.network.adopt is not None:
        adopted.append("the adopted network with its way out")
    return Standing(items=tuple(_items(settings, facts)), elsewhere=tuple(adopted))


def _items(settings: AzureSettings, facts: StandingFacts) -> Iterator[Item]:
    if settings.cluster.adopt is None:
        pool = settings.cluster.system_pool
        tier = control_plane_tier(facts.protect, settings.cluster.extended)
        if tier != "Free":
            price = "control-plane-premium" if tier == "Premium" else "control-plane"
            yield Item(what="control plane", price=price)
        yield Item(what=f"system nodes, {pool.machine}", machine=pool.machine, least=pool.min, most=pool.max)
        disk = _disk(pool.machine)
        yield Item(what="disks of the system nodes", price=disk, least=pool.min, most=pool.max)
        if not settings.cluster.api_allowed_networks:
            yield Item(what="private endpoint of the API server", price="api-endpoint")
            yield Item(what="private DNS zone of the API server", price="private-zone")
        if settings.network.adopt is None:
            yield Item(what="NAT gateway", price="nat-gateway")
            yield Item(what="public address of the NAT gateway", price="public-address")
    if settings.ingress is not None:
        yield Item(what="load balancer", price="load-balancer")
        if settings.ingress.public:
            yield Item(what="public address of the load balancer", price="public-address")
    tier = registry_tier(facts.protect)
    yield Item(what=f"registry, {tier}", price=f"registry-{tier.lower()}")
    copies = redundancy(len(settings.network.zones))
    price = f"blobs-{copies.lower()}"
    yield Item(what=f"weights in the storage account, {copies}", price=price, least=facts.weights_gib)


def _disk(machine: str) -> str:
    """Return the disk's price row. ``Standard_D4s_v5`` has 4 vCPUs; a ``d`` behind them means a disk of its own, which
    may take a managed one's place."""
    size = re.fullmatch(r"Standard_[A-Z]+([0-9]+)([a-z]*)(_v[0-9]+)?", machine)
    small = size is not None and int(size[1]) <= _MOST_VCPUS and "d" not in size[2]
    return "node-disk" if small else "other-node-disk"
