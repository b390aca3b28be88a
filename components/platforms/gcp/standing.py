"""The bill of a stack on Google Cloud while every model sleeps. Prices are in ``standing.yaml``."""

from __future__ import annotations

from collections.abc import Iterator

from components.platforms.gcp.settings import SYSTEM_DISK_GIB, GcpSettings
from components.platforms.standing import Item, Standing, StandingFacts

_MOST_NAT_NODES = 32
"""The most nodes that Cloud NAT is billed for. Source: Cloud NAT pricing page."""


def standing(settings: GcpSettings, facts: StandingFacts) -> Standing:
    """Count the parts that the stack makes itself; what it adopts is billed to others."""
    adopted = []
    if settings.cluster.adopt is not None:
        adopted.append("the adopted cluster with its nodes, network and way out")
    elif settings.network.adopt is not None:
        adopted.append("the adopted network with its way out")
    return Standing(items=tuple(_items(settings, facts)), elsewhere=tuple(adopted))


def _items(settings: GcpSettings, facts: StandingFacts) -> Iterator[Item]:
    if settings.cluster.adopt is None:
        pool = settings.cluster.system_pool
        yield Item(what="control plane", price="control-plane")
        if settings.cluster.extended:
            # billed from the end of the version's standard support on
            yield Item(what="extended support", price="extended-support", least=0, most=1)
        yield Item(what=f"system nodes, {pool.machine}", machine=pool.machine, least=pool.min, most=pool.max)
        least, most = pool.min * SYSTEM_DISK_GIB, pool.max * SYSTEM_DISK_GIB
        yield Item(what="disks of the system nodes", price="disk", least=least, most=most)
        if settings.network.adopt is None:
            fewest, greatest = facts.gpu_nodes
            nodes = [min(_MOST_NAT_NODES, n) for n in (pool.min + fewest, pool.max + greatest)]
            yield Item(what="Cloud NAT, by the node behind it", price="nat-node", least=nodes[0], most=nodes[1])
            yield Item(what="public address of Cloud NAT", price="public-address")
    if settings.ingress is not None:
        if settings.ingress.public:
            yield Item(what="load balancer, on the internet", price="forwarding-rules")
            yield Item(what="allow list of the load balancer", price="allow-list")
        else:
            yield Item(what="load balancer, internal", price="internal-load-balancer")
    yield Item(what="key, its first version", price="key-version")
    yield Item(what="weights in the bucket", price="bucket", least=facts.weights_gib)
