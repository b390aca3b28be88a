"""Parts that the pods of all components share: how they are confined, and the peers a NetworkPolicy lets them reach."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from components.platforms.contract import Endpoint

Manifest = dict[str, Any]

STAYS: Final = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
"""Annotation by which an autoscaler that consolidates nodes leaves a pod alone: a model, whose load costs more than the
space on its node, and a gateway that holds requests. Source: Kubernetes cluster autoscaler FAQ, What types of pods can
prevent CA from removing a node."""


def confined_pod(user: int, *, owns_volumes: bool = False) -> Manifest:
    """Return a pod's ``securityContext`` under restricted Pod Security; ``owns_volumes``: its group owns mounts."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        **({"fsGroup": user} if owns_volumes else {}),
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def confined_container() -> Manifest:
    """Return a container's ``securityContext``: it writes to its volumes alone."""
    return {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def tcp(*ports: int) -> list[Manifest]:
    """Return a rule's ``ports``."""
    return [{"protocol": "TCP", "port": port} for port in ports]


def dns_ports() -> list[Manifest]:
    """Return a rule's ``ports`` for the cluster's DNS. They are the DNS pods' own, not their Service's: 5353 is that of
    a DNS that runs without privileges, OpenShift's and the local stack's.
    """
    return [{"protocol": protocol, "port": port} for port in (53, 5353) for protocol in ("UDP", "TCP")]


def of_namespace(name: str) -> Manifest:
    """Return a rule's peer: every pod of a namespace, by the label that the API server sets on it."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def to_api_server(*ports: int) -> Manifest:
    """Return the egress rule to the API server, named by its ports alone: it is no pod, and where it runs on a node no
    network matches it with Cilium (docs/decisions/0027).
    """
    return {"ports": tcp(*ports)}


def anywhere(*ports: int) -> Manifest:
    """Return an egress rule to any address but link-local ones, where clouds hand out credentials."""
    return {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}], "ports": tcp(*ports)}


def credentials(endpoints: Iterable[Endpoint]) -> list[Manifest]:
    """Return egress rules to where the place gives this pod an identity of its own."""
    return [{"to": [{"ipBlock": {"cidr": each.cidr}}], "ports": tcp(*each.ports)} for each in endpoints]
