"""Traffic to and from a model's pods: pure NetworkPolicy objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.model_service.settings import PORT
from components.platforms.contract import Weights
from components.pods import anywhere, credentials, dns_ports, of_namespace, tcp

Manifest = dict[str, Any]

SET_LABEL = "leaderworkerset.sigs.k8s.io/name"  # set by LeaderWorkerSet on every pod of a set


@dataclass(frozen=True)
class Peer:
    """Pods that may call: all of one namespace, or those of them with ``pod_labels``."""

    namespace: str
    pod_labels: Mapping[str, str] = field(default_factory=dict)

    def selector(self) -> Manifest:
        peer = of_namespace(self.namespace)
        if self.pod_labels:
            peer["podSelector"] = {"matchLabels": dict(self.pod_labels)}
        return peer


def default_deny(namespace: str) -> Manifest:
    """Return a policy of nothing in, nothing out, for every pod that no other policy names."""
    return {
        "metadata": {"name": "default-deny", "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }


def model_policy(
    name: str,
    namespace: str,
    pods: Mapping[str, str],
    callers: Iterable[Peer],
    weights: Weights,
    is_group: bool = False,
    *,
    fetches: bool = False,
) -> Manifest:
    """Return the policy: ingress to the engine's port from ``callers`` alone, since its ``--api-key`` would guard only
    ``/v1``.

    Mounted ``weights``: the engine needs no egress. From a bucket, or where it ``fetches`` what requests name: DNS and
    port 443, but no link-local address, where clouds hand out credentials, except where this pod gets its own.
    ``is_group``: a replica is several pods, which talk to each other on ports the engine picks, and find each other by
    name: any port among the pods of this model's LeaderWorkerSet, and DNS. A policy cannot name one group of the set,
    whose key is made when it starts.
    """
    fellows = [{"podSelector": {"matchLabels": {**pods, SET_LABEL: name}}}]
    ingress, egress = (
        _ingress_rules([caller.selector() for caller in callers]),
        _egress_rules(weights, is_group, fetches),
    )
    if is_group:
        ingress, egress = [*ingress, {"from": fellows}], [*egress, {"to": fellows}]
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": dict(pods)},
        "spec": {
            "podSelector": {"matchLabels": dict(pods)},
            "policyTypes": ["Ingress", "Egress"],
            # a direction without rules lets nothing through; the API server would drop an empty list
            **({"ingress": ingress} if ingress else {}),
            **({"egress": egress} if egress else {}),
        },
    }


def _ingress_rules(peers: list[Manifest]) -> list[Manifest]:
    if not peers:
        return []  # an empty `from` would let everybody in
    return [{"from": peers, "ports": tcp(PORT)}]


def _egress_rules(weights: Weights, is_group: bool, fetches: bool) -> list[Manifest]:
    dns = {"to": [of_namespace("kube-system")], "ports": dns_ports()}
    if weights.path.startswith("/") and not fetches:
        return [dns] if is_group else []
    return [dns, anywhere(443), *credentials(weights.credentials)]
