"""The bill of a stack on AWS while every model sleeps. Prices are in ``standing.yaml``."""

from __future__ import annotations

from collections.abc import Iterator

from components.platforms.aws.settings import INTERFACE_ENDPOINTS, SYSTEM_DISK_GIB, AwsSettings
from components.platforms.standing import Item, Standing, StandingFacts


def standing(settings: AwsSettings, facts: StandingFacts) -> Standing:
    """Count the parts that the stack makes itself; what it adopts is billed to others."""
    adopted = []
    if settings.adopted:
        adopted.append("the adopted cluster with its nodes")
    if settings.network.adopt is not None:
        adopted.append("the adopted network with its way out")
    return Standing(items=tuple(_items(settings, facts)), elsewhere=tuple(adopted))


def _items(settings: AwsSettings, facts: StandingFacts) -> Iterator[Item]:
    if not settings.adopted:
        pool = settings.cluster.system_pool
        yield Item(what="control plane", price="control-plane")
        if settings.cluster.extended:
            # billed from the end of the version's standard support on
            yield Item(what="extended support", price="extended-support", least=0, most=1)
        yield Item(what=f"system nodes, {pool.machine}", machine=pool.machine, least=pool.min, most=pool.max)
        least, most = pool.min * SYSTEM_DISK_GIB, pool.max * SYSTEM_DISK_GIB
        yield Item(what="disks of the system nodes", price="disk", least=least, most=most)
    if settings.network.adopt is None:
        zones = len(settings.zones)
        gateways = zones if settings.network.nat_gateways(facts.environment) == "perZone" else 1
        yield Item(what="NAT gateways", price="nat-gateway", least=gateways)
        yield Item(what="public addresses of the NAT gateways", price="public-address", least=gateways)
        if settings.network.private_endpoints:
            yield Item(what="interface endpoints, one a zone", price="endpoint", least=len(INTERFACE_ENDPOINTS) * zones)
    if settings.ingress is not None:
        yield Item(what="load balancer", price="load-balancer")
        if settings.ingress.public:
            addresses = _balancer_zones(settings)
            yield Item(what="public addresses of the load balancer", price="public-address", least=addresses)
    yield Item(what="key", price="key")
    yield Item(what="weights in the bucket", price="bucket", least=facts.weights_gib)


def _balancer_zones(settings: AwsSettings) -> int:
    """Count the addresses of a load balancer on the internet: one in each of its subnets."""
    adopt = settings.network.adopt
    return len(adopt.public_subnets) if adopt is not None else len(settings.zones)
