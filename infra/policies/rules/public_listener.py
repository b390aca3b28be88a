"""Nothing listens for everybody without keys and TLS."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import clouds
from infra.policies.model import CLOUD, Graph, Outcome, Resource, Rule, each
from infra.policies.networks import open_to_all
from infra.policies.seen import look
from infra.policies.settings import Settings
from infra.policies.stackfile import mapping


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    keys = bool(mapping(graph.section("gateway").get("keys")))
    table = clouds()["ingress"]

    def ingress(found: Resource) -> Iterator[Outcome]:
        if not any(look(found.inputs, way["path"]) for way in table["tls"]):
            yield found.violation("spec.tls", "has no TLS: keys and prompts would cross the network in clear")
        if any(look(found.inputs, way["path"]) in way["is"] for way in table["publicUnless"]):
            return
        lists = [look(found.inputs, way["path"]) for way in table["allowLists"]]
        if not any(networks and not open_to_all(str(networks).split(",")) for networks in lists):
            yield found.violation("metadata.annotations", "is open to the whole internet")
        if not keys:
            yield found.violation("spec", "is public while no key says who may ask", "gateway.keys")

    def service(found: Resource) -> Iterator[Outcome]:
        if look(found.inputs, "spec.type") != "LoadBalancer":
            return
        if any(look(found.inputs, way["path"]) in way["is"] for way in clouds()["internalServices"]):
            return
        ranges = [str(network) for network in look(found.inputs, "spec.loadBalancerSourceRanges") or ()]
        if not ranges or open_to_all(ranges):
            yield found.violation("spec.loadBalancerSourceRanges", "is open to the whole internet")
        yield found.violation("spec.type", "is a public listener without TLS of its own")

    yield from each(graph.of_kind("Ingress"), ingress, "stack:platform.ingress")
    yield from each(graph.of_kind("Service"), service, "stack:platform.ingress")


RULE = Rule(
    id="public-listener",
    title="No public listener without authentication, TLS and a list of networks",
    reason="an open endpoint is found within hours, and every request to it is paid for",
    key="platform.ingress",
    fix="keep public: false; or give certificate, allowedNetworks and keys",
    scope="stack",
    judge=judge,
    levels=CLOUD,
)
