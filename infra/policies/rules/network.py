"""Rules for the network: no listener open to everybody, no pod without a policy, no hop that hangs up too early."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from components.typed.units import read_seconds
from infra.policies.clouds import clouds
from infra.policies.inputs import get_path
from infra.policies.model import CLOUD, Graph, Outcome, Resource, each, rule
from infra.policies.node_choice import selects
from infra.policies.pods import Pod, pods
from infra.policies.settings import Settings
from infra.stackfile.own_networks import open_to_all


@rule(
    id="default-deny",
    title="Every pod is under a NetworkPolicy that denies by default",
    reason="a model pod that may reach out can carry prompts away; one that may be reached has an open API",
    key="gateway",
    fix="keep the policies of the product: they name who may talk to whom",
    scope="stack",
)
def default_deny(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    policies = list(graph.of_kind("NetworkPolicy"))

    def pod(found: Pod) -> Iterator[Outcome]:
        if found.owner.namespace in (*settings.exempt_namespaces, *settings.vendor_namespaces):
            return
        beside = [p for p in policies if p.namespace == found.owner.namespace]
        mine = [p for p in beside if selects(get_path(p.inputs, "spec.podSelector"), found.labels)]
        for kind in sorted({"Ingress", "Egress"}.difference(*map(_kinds, mine))):
            yield found.owner.violation("spec", f"is under no NetworkPolicy for {kind.lower()}")

    def policy(found: Resource) -> Iterator[Outcome]:
        for index, way in enumerate(get_path(found.inputs, "spec.egress") or ()):
            if not get_path(way, "to") and not get_path(way, "ports"):
                yield found.violation(f"spec.egress[{index}]", "lets everything out")
        for index, way in enumerate(get_path(found.inputs, "spec.ingress") or ()):
            if not get_path(way, "from") and not get_path(way, "ports"):
                yield found.violation(f"spec.ingress[{index}]", "lets everything in")

    yield from each(policies, policy, "stack:")
    yield from each(pods(graph), pod, "stack:")


def _kinds(policy: Resource) -> set[str]:
    """Return the directions that a policy denies by default; without ``policyTypes``, those that Kubernetes assumes."""
    told = get_path(policy.inputs, "spec.policyTypes")
    if told:
        return {str(kind) for kind in told}
    return {"Ingress", "Egress"} if get_path(policy.inputs, "spec.egress") else {"Ingress"}


@rule(
    id="load-balancer-timeouts",
    title="Every hop stays silent at least as long as a request is held",
    reason="a load balancer that gives up first turns every cold start into an error",
    key="models.<model>.hold",
    fix="lower hold, or raise the time-out of the hop",
    scope="stack",
    levels=CLOUD,
)
def load_balancer_timeouts(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    held = 0
    for route in graph.of_kind("InterceptorRoute"):
        held = max(held, read_seconds(get_path(route.inputs, "spec.timeouts.readiness", 0)) or 0)
    for hop in clouds()["ingress"]["idle"]:
        yield from each(
            (r for r in graph.resources if r.type == hop["type"]), partial(_hop, hop, held), "stack:platform"
        )


def _hop(hop: dict[str, Any], held: int, found: Resource) -> Iterator[Outcome]:
    if "chart" in hop and get_path(found.inputs, "chart") != hop["chart"]:
        return
    if "when" in hop and get_path(found.inputs, hop["when"]) is None:
        return
    if "whenClass" in hop and get_path(found.inputs, "spec.ingressClassName") != hop["whenClass"]:
        return
    match = re.search(hop["pattern"], str(get_path(found.inputs, hop["path"], "")))
    if match is None:
        yield found.violation(hop["path"], f"says no time-out: the default of the hop is under {held:.0f} s")
    elif 0 < float(match[1]) < held:
        yield found.violation(hop["path"], f"is {match[1]} s; a request is held for {held:.0f} s")


@rule(
    id="public-listener",
    title="No public listener without authentication, TLS and a list of networks",
    reason="an open endpoint is found within hours, and every request to it is paid for",
    key="platform.ingress",
    fix="keep public: false; or give certificate, allowedNetworks and keys",
    scope="stack",
    levels=CLOUD,
)
def public_listener(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    keys = graph.stack is not None and bool(graph.stack.gateway.keys)
    table = clouds()["ingress"]

    def ingress(found: Resource) -> Iterator[Outcome]:
        if not any(get_path(found.inputs, way["path"]) for way in table["tls"]):
            yield found.violation("spec.tls", "has no TLS: keys and prompts would cross the network in clear")
        if any(get_path(found.inputs, way["path"]) in way["is"] for way in table["publicUnless"]):
            return
        lists = [get_path(found.inputs, way["path"]) for way in table["allowLists"]]
        if not any(networks and not open_to_all(str(networks).split(",")) for networks in lists):
            yield found.violation("metadata.annotations", "is open to the whole internet")
        if not keys:
            yield found.violation("spec", "is public while no key says who may ask", "gateway.keys")

    def service(found: Resource) -> Iterator[Outcome]:
        if get_path(found.inputs, "spec.type") != "LoadBalancer":
            return
        if any(get_path(found.inputs, way["path"]) in way["is"] for way in clouds()["internalServices"]):
            return
        ranges = [str(network) for network in get_path(found.inputs, "spec.loadBalancerSourceRanges") or ()]
        if not ranges or open_to_all(ranges):
            yield found.violation("spec.loadBalancerSourceRanges", "is open to the whole internet")
        yield found.violation("spec.type", "is a public listener without TLS of its own")

    yield from each(graph.of_kind("Ingress"), ingress, "stack:platform.ingress")
    yield from each(graph.of_kind("Service"), service, "stack:platform.ingress")
