"""Rules between Google Cloud's settings and the pools, judged before anything is asked of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping

from components.platforms.contract import PoolRequest
from components.platforms.gcp.address_plan import NARROWEST, WIDEST, address_plan
from components.platforms.gcp.judge_pool import judge_pool
from components.platforms.gcp.settings import MANAGED, ClusterSettings, GcpSettings, IngressSettings
from components.typed.refusal import Path, Problem

_ONLY_WHEN_MADE = ("version", "release_channel", "api_allowed_networks", "system_pool")


def judge(settings: GcpSettings, pools: Mapping[str, PoolRequest], environment: str) -> Iterator[Problem]:
    """Every finding of this cloud; paths as in the stack file, below ``ebbtide:``."""
    yield from _cluster(settings.cluster, settings.network.adopt is not None)
    yield from _zones(settings)
    yield from _network(settings, pools)
    if settings.ingress is not None:
        yield from _ingress(settings.ingress)
    yield from _flex_start(settings, pools)
    for name, request in pools.items():
        yield from judge_pool(("pools", name), request, settings)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _cluster(cluster: ClusterSettings, network_adopted: bool) -> Iterator[Problem]:
    at: Path = ("platform", "cluster")
    if cluster.adopt is not None:
        for field in _ONLY_WHEN_MADE:
            if field in cluster.model_fields_set:
                message = f"has no effect: cluster.adopt names {cluster.adopt}, which somebody else set up"
                yield Problem(173, (*at, _camel(field)), message, "adopt alone", "take it out", has_value=False)
        if network_adopted:
            message = "has no effect: an adopted cluster has its network"
            yield Problem(
                173, ("platform", "network", "adopt"), message, "one of the two", "take it out", has_value=False
            )
    yield from _networks(cluster.api_allowed_networks, (*at, "apiAllowedNetworks"))
    pool = cluster.system_pool
    if pool.min > pool.max:
        message = f"is more than max ({pool.max})"
        yield Problem(6, (*at, "systemPool", "min"), message, "min at most max", "raise max", pool.min)


def _networks(networks: Iterable[str], at: Path) -> Iterator[Problem]:
    for index, network in enumerate(networks):
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            message, allowed = f"is not a network: {error}", "a network like 10.0.0.0/8"
            yield Problem(175, (*at, index), message, allowed, "write its first address", network)


def _zones(settings: GcpSettings) -> Iterator[Problem]:
    for index, zone in enumerate(settings.network.zones):
        if zone.rpartition("-")[0] != settings.region:
            message = f"is not in {settings.region}"
            allowed = f"{settings.region}-a, {settings.region}-b, …"
            yield Problem(
                174, ("platform", "network", "zones", index), message, allowed, "name a zone of the region", zone
            )


def _network(settings: GcpSettings, pools: Mapping[str, PoolRequest]) -> Iterator[Problem]:
    if settings.network.adopt is not None or settings.cluster.adopt is not None:
        return
    at: Path = ("platform", "network", "cidr")
    cidr = settings.network.cidr
    allowed = f"a private network from /{WIDEST} to /{NARROWEST}, written with its first address, like 10.40.0.0/16"
    try:
        plan = address_plan(cidr)
    except ValueError as error:
        yield Problem(175, at, str(error), allowed, "use 10.40.0.0/16", cidr)
        return
    if not ipaddress.ip_network(cidr).is_private:
        yield Problem(175, at, "is a range of the internet", allowed, "use 10.40.0.0/16", cidr)
    # one more than each maximum: an upgrade may add a node before it takes one away
    most = settings.cluster.system_pool.max + 1 + sum(request.pool.max_nodes for request in pools.values())
    if most > plan.most_nodes:
        message = f"has room for the pods of {plan.most_nodes} nodes, and the pools may have {most}"
        yield Problem(
            176, at, message, "half of the range is for pods, a /24 for each node", "give a wider range", cidr
        )


def _ingress(ingress: IngressSettings) -> Iterator[Problem]:
    at: Path = ("platform", "ingress")
    yield from _networks(ingress.allowed_networks, (*at, "allowedNetworks"))
    if ingress.certificate is None:
        message = "has no TLS: keys and prompts would cross the network in clear"
        allowed = "certificate: the name of an SSL certificate; public: also certificate: managed"
        yield Problem(40, (*at, "host"), message, allowed, "add certificate:", ingress.host)
    elif ingress.certificate == MANAGED and not ingress.public:
        message = "is for public load balancers only"
        fix = "make one in the region (gcloud compute ssl-certificates create … --region=…) and name it here"
        yield Problem(40, (*at, "certificate"), message, "an SSL certificate of the region", fix, MANAGED)
    if not ingress.public and ingress.allowed_networks:
        message = "is not enforced: an internal load balancer answers whoever routes and firewalls let come"
        fix = "take it out and keep others out by routes and firewall rules"
        path = (*at, "allowedNetworks")
        yield Problem(185, path, message, "with public: true only", fix, has_value=False, severity="warning")


def _flex_start(settings: GcpSettings, pools: Mapping[str, PoolRequest]) -> Iterator[Problem]:
    for index, name in enumerate(settings.flex_start):
        at: Path = ("platform", "flexStart", index)
        request = pools.get(name)
        if request is None:
            yield Problem(181, at, "is not a pool", ", ".join(pools) or "a pool of this stack", "name a pool", name)
            continue
        for wrong, what in ((request.spot, "capacity: spot"), (request.reservation, "reservation")):
            if wrong:
                message = f"cannot be asked for through flex-start: the pool has {what}"
                yield Problem(
                    181, at, message, "one way to get capacity", f"take {what} out, or the pool out of here", name
                )
        if request.pool.min_nodes:
            message = "keeps nodes, and flex-start takes each away after seven days at most"
            yield Problem(181, at, message, "min: 0", "set the pool's min to 0", name)
