"""Namespaces and pods are held to the restricted profile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra.policies.model import Graph, Outcome, Resource, Rule, each
from infra.policies.pods import Pod, pods
from infra.policies.seen import look
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    exempt = settings.exempt_namespaces

    def namespace(found: Resource) -> Iterator[Outcome]:
        level = look(found.inputs, "metadata.labels", {}).get("pod-security.kubernetes.io/enforce")
        if found.object_name not in exempt and level != "restricted":
            yield found.violation("metadata.labels", "does not enforce pod-security.kubernetes.io: restricted")

    def pod(found: Pod) -> Iterator[Outcome]:
        if found.owner.namespace in exempt:
            return
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if look(found.spec, key):
                yield found.owner.violation(f"{found.at}.{key}", "shares the node with the pod")
        for volume in look(found.spec, "volumes") or ():
            if "hostPath" in volume:
                yield found.owner.violation(f"{found.at}.volumes", "mounts a folder of the node")
        for path, container in found.containers():
            yield from (found.owner.violation(f"{path}.securityContext", text) for text in _missing(found, container))

    yield from each(graph.of_kind("Namespace"), namespace, "stack:")
    yield from each(pods(graph), pod, "stack:")


def _missing(pod: Pod, container: Any) -> Iterator[str]:
    own, shared = look(container, "securityContext", {}), look(pod.spec, "securityContext", {})
    if own.get("privileged"):
        yield "is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if "ALL" not in (look(own, "capabilities.drop") or ()):
        yield "keeps capabilities"
    if own.get("runAsNonRoot", shared.get("runAsNonRoot")) is not True:
        yield "may run as root"
    if look(own, "seccompProfile.type", look(shared, "seccompProfile.type")) not in ("RuntimeDefault", "Localhost"):
        yield "has no seccomp profile"


RULE = Rule(
    id="pod-security",
    title="Every namespace enforces the restricted profile, and every pod fits it",
    reason="a pod that may become root on its node has the weights, keys and neighbours of that node",
    key="models.<model>.extraArgs",
    fix="leave the security context to the product; exempt namespaces stand in infra/policies/settings.yaml",
    scope="stack",
    judge=judge,
)
