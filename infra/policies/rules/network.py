"""Rules for the network: no listener open to everybody, no pod without a policy, no hop that hangs up too early."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from components.typed.units import read_seconds
from infra.policies.clouds import clouds
from infra.policies.inputs import HIDDEN, get_path
from infra.policies.model import CLOUD, Graph, Outcome, Resource, each, rule
from infra.policies.network_ways import EVERY_POD, EVERYBODY, OPEN, kinds, ways, wide
from infra.policies.node_choice import selects
from infra.policies.pods import Pod, pods
from infra.policies.rules.shape import is_rendered
from infra.policies.settings import Settings
from infra.policies.shapes import leaves
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
    own = clouds()["credentials"].get(graph.stack.platform.kind if graph.stack is not None else "", ())

    def judge_pod(pod: Pod) -> Iterator[Outcome]:
        if is_rendered(pod.owner, settings):
            return  # KEDA's own manifests come without policies
        beside = [p for p in policies if p.namespace == pod.owner.namespace]
        mine = [p for p in beside if selects(get_path(p.inputs, "spec.podSelector"), pod.labels)]
        for kind in sorted({"Ingress", "Egress"}.difference(*map(kinds, mine))):
            yield pod.owner.violation("spec", f"is under no NetworkPolicy for {kind.lower()}")
        judged.update(policy.urn for policy in mine)
        yield from _wide_ways(mine, "models" if pod.gpus else "others", own, settings, mounted=_is_mounted(pod))

    def judge_policy(policy: Resource) -> Iterator[Outcome]:
        if policy.urn not in judged:  # for pods of a chart, or for none yet
            yield from _wide_ways([policy], "others", own, settings)

    judged: set[str] = set()
    yield from each(pods(graph), judge_pod, "stack:")
    yield from each(policies, judge_policy, "stack:")


def _wide_ways(
    policies: Sequence[Resource], kind: str, own: Sequence[str], settings: Settings, mounted: bool = False
) -> Iterator[Outcome]:
    for direction, way_of in (("ingress", "in"), ("egress", "out")):
        allowed = settings.wide_ways.get(kind, {}).get(direction, {})
        for opening in wide((way for policy in policies for way in ways(policy, direction)), own):
            ports, who = str(opening.way.ports), opening.who
            if ports in allowed.get(who, ()) and not (kind == "models" and mounted):
                continue
            peer = _WHO.get(who, f"the link-local address {who}")
            yield opening.way.policy.violation(opening.way.at, f"lets {peer} {way_of}: {ports}")


_WHO = {EVERYBODY: "everybody", EVERY_POD: "pods of every namespace", OPEN: "most of the internet"}


def _is_mounted(pod: Pod) -> bool:
    """Return True if the weights lie in a volume: the engine then has nobody to ask for them."""
    return any("persistentVolumeClaim" in volume for volume in get_path(pod.spec, "volumes") or ())


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


def _hop(hop: dict[str, Any], held: int, resource: Resource) -> Iterator[Outcome]:
    if "chart" in hop and get_path(resource.inputs, "chart") != hop["chart"]:
        return
    if "when" in hop and get_path(resource.inputs, hop["when"]) is None:
        return
    if "whenClass" in hop and get_path(resource.inputs, "spec.ingressClassName") != hop["whenClass"]:
        return
    match = re.search(hop["pattern"], str(get_path(resource.inputs, hop["path"], "")))
    if match is None:
        yield resource.violation(hop["path"], f"says no time-out: the default of the hop is under {held:.0f} s")
    elif 0 < float(match[1]) < held:
        yield resource.violation(hop["path"], f"is {match[1]} s; a request is held for {held:.0f} s")


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

    def judge_ingress(ingress: Resource) -> Iterator[Outcome]:
        named = (get_path(ingress.inputs, path) for path in table["class"])
        way = table["classes"].get(next((name for name in named if name), None))
        if way is None:
            yield ingress.violation("spec.ingressClassName", "is of a class of which nobody knows whom it lets in")
            return
        if not any(get_path(ingress.inputs, path) for path in way["tls"]):
            yield ingress.violation("spec.tls", "has no TLS: keys and prompts would cross the network in clear")
        if "internal" not in way or get_path(ingress.inputs, way["internal"]["path"]) in way["internal"]["is"]:
            return
        if "policies" in way:
            open_ = not _is_behind_list(ingress, graph)
        else:
            networks = get_path(ingress.inputs, way["networks"])
            open_ = not networks or open_to_all(str(networks).split(","))
        if open_:
            yield ingress.violation("metadata.annotations", "is open to the whole internet")
        if not keys:
            yield ingress.violation("spec", "is public while no key says who may ask", "gateway.keys")

    yield from each(graph.of_kind("Ingress"), judge_ingress, "stack:platform.ingress")
    yield from each(graph.of_kind("Service"), lambda service: _service(service, graph), "stack:platform.ingress")
    yield from each(graph.of_kind("Release"), _balancer, "stack:platform.ingress")
    for kind, paths in clouds()["openings"].items():
        yield from _opened([r for r in graph.resources if r.type == kind and not r.external], frozenset(paths))


def _is_behind_list(ingress: Resource, graph: Graph) -> bool:
    """Return True if each BackendConfig beside an Ingress names a list of networks in this graph, which refuses all
    others."""
    lists = {get_path(r.inputs, "name"): r for r in graph.resources if r.type == clouds()["networkList"]}
    beside = [r for r in graph.of_kind("BackendConfig") if r.namespace == ingress.namespace]
    named = [lists.get(get_path(r.inputs, "spec.securityPolicy.name")) for r in beside]
    return bool(named) and all(network_list is not None and _is_closed(network_list) for network_list in named)


_FOR_ALL_OTHERS = 2147483647


def _is_closed(policy: Resource) -> bool:
    rules = list(get_path(policy.inputs, "rules") or ())
    networks = [str(n) for rule in rules for n in get_path(rule, "match.config.srcIpRanges") or () if _allows(rule)]
    expressions = any(get_path(rule, "match.expr") for rule in rules)
    last = [rule for rule in rules if get_path(rule, "priority") == _FOR_ALL_OTHERS]
    refuses = bool(last) and not any(map(_allows, last))
    return refuses and not expressions and bool(networks) and not open_to_all(networks)


def _allows(rule: Any) -> bool:
    return not str(get_path(rule, "action", "allow")).startswith("deny")


def _service(service: Resource, graph: Graph) -> Iterator[Outcome]:
    if get_path(service.inputs, "spec.externalIPs"):
        yield service.violation("spec.externalIPs", "takes what is sent to addresses of the network")
    place = graph.stack.platform.kind if graph.stack is not None else None
    kind = get_path(service.inputs, "spec.type", "ClusterIP")
    if kind == "NodePort":
        ingress = getattr(getattr(graph.stack, "platform", None), "ingress", None)
        if getattr(ingress, "service_type", None) != "NodePort" or service.object_name != "gateway":
            yield service.violation("spec.type", "listens on every node")
    if kind != "LoadBalancer":
        return
    for way in clouds()["internalServices"]:
        if place in (way["place"], "existing") and get_path(service.inputs, way["path"]) in way["is"]:
            return
    ranges = [str(network) for network in get_path(service.inputs, "spec.loadBalancerSourceRanges") or ()]
    if not ranges or open_to_all(ranges):
        yield service.violation("spec.loadBalancerSourceRanges", "is open to the whole internet")
    yield service.violation("spec.type", "is a public listener without TLS of its own")


def _balancer(release: Resource) -> Iterator[Outcome]:
    way = clouds()["balancers"].get(get_path(release.inputs, "chart"))
    if way is None or get_path(release.inputs, way["internal"]["path"]) in way["internal"]["is"]:
        return
    networks = [str(network) for network in get_path(release.inputs, way["networks"]) or ()]
    if not networks or open_to_all(networks):
        yield release.violation(way["networks"], "is open to the whole internet")


def _opened(resources: Sequence[Resource], shapes: frozenset[str]) -> Iterator[Outcome]:
    """Yield the resources of one type that let networks in which are together larger than anybody's own."""
    let_in = [(r, leaf) for r in resources for leaf in leaves(r.type, r.inputs.raw) if leaf.shape in shapes]
    networks = [
        (r, leaf.path, leaf.value) for r, leaf in let_in if isinstance(leaf.value, str) and leaf.value != HIDDEN
    ]
    if open_to_all(network for _, _, network in networks):
        yield from (r.violation(path, "lets most of the internet in") for r, path, _ in networks)
