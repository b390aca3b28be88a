"""Pods reach, and are reached by, only what is named."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.label_selector import selects
from infra.policies.model import Graph, Outcome, Resource, Rule, each
from infra.policies.pods import Pod, pods
from infra.policies.seen import look
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    policies = list(graph.of_kind("NetworkPolicy"))

    def pod(found: Pod) -> Iterator[Outcome]:
        if found.owner.namespace in (*settings.exempt_namespaces, *settings.vendor_namespaces):
            return
        beside = [p for p in policies if p.namespace == found.owner.namespace]
        mine = [p for p in beside if selects(look(p.inputs, "spec.podSelector"), found.labels)]
        for kind in sorted({"Ingress", "Egress"}.difference(*map(_kinds, mine))):
            yield found.owner.violation("spec", f"is under no NetworkPolicy for {kind.lower()}")

    def policy(found: Resource) -> Iterator[Outcome]:
        for index, rule in enumerate(look(found.inputs, "spec.egress") or ()):
            if not look(rule, "to") and not look(rule, "ports"):
                yield found.violation(f"spec.egress[{index}]", "lets everything out")
        for index, rule in enumerate(look(found.inputs, "spec.ingress") or ()):
            if not look(rule, "from") and not look(rule, "ports"):
                yield found.violation(f"spec.ingress[{index}]", "lets everything in")

    yield from each(policies, policy, "stack:")
    yield from each(pods(graph), pod, "stack:")


def _kinds(policy: Resource) -> set[str]:
    """What a policy denies; where it does not say, what Kubernetes takes for said."""
    told = look(policy.inputs, "spec.policyTypes")
    if told:
        return {str(kind) for kind in told}
    return {"Ingress", "Egress"} if look(policy.inputs, "spec.egress") else {"Ingress"}


RULE = Rule(
    id="default-deny",
    title="Every pod is under a NetworkPolicy that denies by default",
    reason="a model pod that may reach out can carry prompts away; one that may be reached has an open API",
    key="gateway",
    fix="keep the policies of the product: they name who may talk to whom",
    scope="stack",
    judge=judge,
)
