"""Rules of Google Cloud for its settings, for each GPU pool, and between them. Pure; no SDK."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping

from components.platforms.contract import PoolRequest
from components.platforms.gcp.address_plan import NARROWEST, WIDEST, address_plan
from components.platforms.gcp.rules import (
    ADOPT_CONFLICT,
    DISK_SETTING_UNSUPPORTED,
    FLEX_START_CONFLICT,
    HOST_INVALID,
    MACHINE_FAMILY_UNKNOWN,
    MAINTENANCE_TOO_SHORT,
    MIG_UNSUPPORTED,
    NETWORK_INVALID,
    NETWORK_TOO_SMALL,
    NODE_IMAGE_UNKNOWN,
    POOL_NAME_INVALID,
    RESERVATION_ZONE,
    SHARED_PODS_COUNT,
    SPOT_GRACE,
    ZONES_INVALID,
)
from components.platforms.gcp.settings import MANAGED, ClusterSettings, GcpSettings, IngressSettings
from components.platforms.gcp.tables import (
    GKE_IMAGES,
    accelerator_of,
    accelerators,
    family,
    image_key,
    maximum_shared_clients,
)
from components.typed.refusal import Path, Problem
from components.typed.rules.stack import HOST_WITHOUT_TLS, MIN_ABOVE_MAX

_ONLY_FOR_NEW = (
    "version",
    "release_channel",
    "api_allowed_networks",
    "system_pool",
    "maintenance",
    "deletion_protection",
)
LOCAL_SSD_GIB = 375
LEAST_MAINTENANCE_HOURS = 12
"""A weekly window's least length. Source: GKE documentation, Configure maintenance windows and exclusions: 48 hours in
a rolling window of 32 days."""
SPOT_GRACE_SECONDS = 15
"""Time for a pod to stop on a spot node. Source: GKE documentation, Spot VMs, and Kubernetes' graceful node shutdown as
GKE sets it: 30 s, of which 15 s are for critical pods."""
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")


def judge(settings: GcpSettings, pools: Mapping[str, PoolRequest], environment: str) -> Iterator[Problem]:
    """Yield every finding of this cloud; paths as in the stack file, below ``ebbtide:``."""
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
        for field in _ONLY_FOR_NEW:
            if field in cluster.model_fields_set:
                message = f"has no effect: cluster.adopt names {cluster.adopt}, which somebody else set up"
                yield ADOPT_CONFLICT.at((*at, _camel(field)), message, allowed="adopt alone", fix="take it out")
        if network_adopted:
            message = "has no effect: an adopted cluster has its network"
            yield ADOPT_CONFLICT.at(
                ("platform", "network", "adopt"), message, allowed="one of the two", fix="take it out"
            )
    if cluster.maintenance is not None and cluster.maintenance.hours < LEAST_MAINTENANCE_HOURS:
        message = "is too short for GKE, which wants 48 hours in any 32 days, and a weekly window comes four times"
        fix, hours = f"write {LEAST_MAINTENANCE_HOURS}", cluster.maintenance.hours
        path, allowed = (*at, "maintenance", "hours"), f"{LEAST_MAINTENANCE_HOURS} to 24"
        yield MAINTENANCE_TOO_SHORT.at(path, message, allowed=allowed, fix=fix, value=hours)
    yield from _networks(cluster.api_allowed_networks, (*at, "apiAllowedNetworks"))
    pool = cluster.system_pool
    if pool.min > pool.max:
        message = f"is more than max ({pool.max})"
        yield MIN_ABOVE_MAX.at(
            (*at, "systemPool", "min"), message, allowed="min at most max", fix="raise max", value=pool.min
        )


def _networks(networks: Iterable[str], at: Path) -> Iterator[Problem]:
    for index, network in enumerate(networks):
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            message, allowed = f"is not a network: {error}", "a network like 10.0.0.0/8"
            yield NETWORK_INVALID.at(
                (*at, index), message, allowed=allowed, fix="write its first address", value=network
            )


def _zones(settings: GcpSettings) -> Iterator[Problem]:
    for index, zone in enumerate(settings.network.zones):
        if zone.rpartition("-")[0] != settings.region:
            message = f"is not in {settings.region}"
            allowed = f"{settings.region}-a, {settings.region}-b, …"
            yield ZONES_INVALID.at(
                ("platform", "network", "zones", index),
                message,
                allowed=allowed,
                fix="name a zone of the region",
                value=zone,
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
        yield NETWORK_INVALID.at(at, str(error), allowed=allowed, fix="use 10.40.0.0/16", value=cidr)
        return
    if not ipaddress.ip_network(cidr).is_private:
        yield NETWORK_INVALID.at(at, "is a range of the internet", allowed=allowed, fix="use 10.40.0.0/16", value=cidr)
    # one more system node: its pool's upgrade may add a node before it removes one
    most = settings.cluster.system_pool.max + 1 + sum(request.pool.max_nodes for request in pools.values())
    if most > plan.most_nodes:
        message = f"has room for the pods of {plan.most_nodes} nodes, and the pools may have {most}"
        yield NETWORK_TOO_SMALL.at(
            at,
            message,
            allowed="half of the range is for pods, a /24 for each node",
            fix="give a wider range",
            value=cidr,
        )


def _ingress(ingress: IngressSettings) -> Iterator[Problem]:
    at: Path = ("platform", "ingress")
    yield from _networks(ingress.allowed_networks, (*at, "allowedNetworks"))
    if ingress.certificate is None:
        message = "has no TLS: keys and prompts would cross the network in clear"
        allowed = "certificate: the name of an SSL certificate; public: also certificate: managed"
        yield HOST_WITHOUT_TLS.at((*at, "host"), message, allowed=allowed, fix="add certificate:", value=ingress.host)
    elif ingress.certificate == MANAGED and not ingress.public:
        message = "is for public load balancers only"
        fix = "make one in the region (gcloud compute ssl-certificates create … --region=…) and name it here"
        yield HOST_WITHOUT_TLS.at(
            (*at, "certificate"), message, allowed="an SSL certificate of the region", fix=fix, value=MANAGED
        )
    if not ingress.public and ingress.allowed_networks:
        message = "is not enforced: an internal load balancer answers whoever routes and firewalls let come"
        fix = "take it out and keep others out by routes and firewall rules"
        path = (*at, "allowedNetworks")
        yield HOST_INVALID.at(path, message, allowed="with public: true only", fix=fix, severity="warning")


def _flex_start(settings: GcpSettings, pools: Mapping[str, PoolRequest]) -> Iterator[Problem]:
    for index, name in enumerate(settings.flex_start):
        at: Path = ("platform", "flexStart", index)
        request = pools.get(name)
        if request is None:
            yield FLEX_START_CONFLICT.at(
                at, "is not a pool", allowed=", ".join(pools) or "a pool of this stack", fix="name a pool", value=name
            )
            continue
        for wrong, what in ((request.spot, "capacity: spot"), (request.reservation, "reservation")):
            if wrong:
                message = f"cannot be asked for through flex-start: the pool has {what}"
                yield FLEX_START_CONFLICT.at(
                    at,
                    message,
                    allowed="one way to get capacity",
                    fix=f"take {what} out, or the pool out of here",
                    value=name,
                )
        if request.pool.min_nodes:
            message = "keeps nodes, and flex-start takes each away after seven days at most"
            yield FLEX_START_CONFLICT.at(at, message, allowed="min: 0", fix="set the pool's min to 0", value=name)


def judge_pool(at: Path, request: PoolRequest, settings: GcpSettings) -> Iterator[Problem]:
    """Yield findings on the pool at ``at``."""
    yield from _name(at)
    yield from _machine(at, request)
    yield from _pool_zones(at, request, settings)
    yield from _capacity(at, request)
    yield from _disk(at, request)
    yield from _sharing(at, request)
    if image_key(request) not in GKE_IMAGES:
        known = ", ".join(GKE_IMAGES)
        yield NODE_IMAGE_UNKNOWN.at(
            (*at, "nodeImage"),
            "is not an image of GKE's",
            allowed=known,
            fix="leave it out",
            value=request.pool.node_image,
        )


def _name(at: Path) -> Iterator[Problem]:
    name = str(at[-1])
    if not _NAME.fullmatch(name):
        allowed = "at most 40 of a-z, 0-9 and -, beginning with a letter"
        yield POOL_NAME_INVALID.at(
            at, "is not a name GKE takes for a node pool", allowed=allowed, fix="choose a shorter name"
        )


def _machine(at: Path, request: PoolRequest) -> Iterator[Problem]:
    where = (*at, "machine")
    if request.machine is not None and accelerator_of(request.machine.name) is None:
        families = ", ".join(sorted(accelerators()))
        message = f"is of a family whose GPUs GKE's node pools have no name for here ({family(request.machine.name)})"
        yield MACHINE_FAMILY_UNKNOWN.at(
            where, message, allowed=families, fix="choose a machine of these families", value=request.machine.name
        )


def _pool_zones(at: Path, request: PoolRequest, settings: GcpSettings) -> Iterator[Problem]:
    known = settings.network.zones
    for index, zone in enumerate(request.zones):
        if zone.rpartition("-")[0] != settings.region:
            yield ZONES_INVALID.at(
                (*at, "zones", index),
                f"is not in {settings.region}",
                allowed="zones of the region",
                fix="mend it",
                value=zone,
            )
        elif known and zone not in known:
            yield ZONES_INVALID.at(
                (*at, "zones", index),
                "is not among network.zones",
                allowed=", ".join(known),
                fix="add it there",
                value=zone,
            )


def _capacity(at: Path, request: PoolRequest) -> Iterator[Problem]:
    # spot beside a reservation, and a block without one, are refused for every place alike
    if request.reservation is not None and len(request.zones) != 1:
        message = "is of one zone, and the pool does not say which"
        fix = "write the reservation's zone: zones: [REGION-b]"
        yield RESERVATION_ZONE.at(
            (*at, "zones"), message, allowed="exactly one zone", fix=fix, value=list(request.zones)
        )
    if request.spot:
        message = f"gives a pod {SPOT_GRACE_SECONDS} s to end, however long its drain: answers longer than that are cut"
        fix = "keep an on-demand pool for models whose answers must not be cut"
        yield SPOT_GRACE.at((*at, "capacity"), message, allowed="spot or onDemand", fix=fix, value="spot")


def _disk(at: Path, request: PoolRequest) -> Iterator[Problem]:
    if request.machine is None or (card := accelerator_of(request.machine.name)) is None or card.provisioned:
        return
    for field, value in (("iops", request.disk.iops), ("throughput", request.disk.throughput_mib)):
        if value is not None:
            message = f"cannot be bought for {request.machine.name}: its boot disk is a {card.boot_disk}"
            fix = "take it out and raise disk.size: this disk's speed grows with it"
            yield DISK_SETTING_UNSUPPORTED.at((*at, "disk", field), message, allowed="size alone", fix=fix, value=value)


def _sharing(at: Path, request: PoolRequest) -> Iterator[Problem]:
    sharing, machine = request.sharing, request.machine
    if sharing is None or machine is None or (card := accelerator_of(machine.name)) is None:
        return
    if sharing.kind == "timeSlicing":
        most = maximum_shared_clients()
        if not 2 <= sharing.replicas <= most:
            where = (*at, "sharing", sharing.key, sharing.count_key)
            yield SHARED_PODS_COUNT.at(
                where,
                "is not a number GKE shares a GPU by",
                allowed=f"2 to {most}",
                fix="choose one",
                value=sharing.replicas,
            )
        return
    if not card.mig:
        message = f"is not possible: {machine.name} has {machine.gpu}, which is not known to be cut by GKE"
        yield MIG_UNSUPPORTED.at(
            (*at, "sharing", "mig"), message, allowed="A100, H100, H200 or B200", fix="use timeSlicing"
        )
    if sharing.strategy == "mixed":
        where = (*at, "sharing", "mig", "strategy")
        message = "is not GKE's: a node pool cuts all its cards alike"
        yield MIG_UNSUPPORTED.at(
            where, message, allowed="single", fix="make one pool a profile", value=sharing.strategy
        )
