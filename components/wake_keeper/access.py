"""Access of the keeper and to it: RBAC and NetworkPolicy as pure objects."""

from __future__ import annotations

from typing import Any

from components import role_grant
from components.gateway.access import LABELS as GATEWAY_LABELS
from components.gateway.access import METRICS_PORT as GATEWAY_METRICS_PORT
from components.model_service.settings import PORT as ENGINE_PORT
from components.pods import dns_ports, of_namespace, tcp, to_api_server
from components.wake_keeper.settings import KeeperSettings

Manifest = dict[str, Any]
NAME = "wake-keeper"
PORT = 9090
LABELS = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "ebbtide"}

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_METADATA = ("labels", "ownerReferences", "finalizers")  # metadata that a client may change, beside annotations


def role(settings: KeeperSettings) -> Manifest:
    """Return the role in the models' namespace alone: watch the models, pause and resume them, report it. It can
    neither read a log or a Secret nor write a number of replicas. The right to change pods goes with ``pod_guard``.
    """
    marks = ["patch"] if settings.marks_pods else []
    groups = {
        "apiGroups": ["leaderworkerset.x-k8s.io"],
        "resources": ["leaderworkersets"],
        "verbs": ["get", "list", "watch"],
    }
    return {
        "metadata": {"name": NAME, "namespace": settings.models_namespace},
        "rules": [
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch"]},
            *([groups] if settings.has_groups else []),
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", *marks]},
            {
                "apiGroups": ["keda.sh"],
                "resources": ["scaledobjects"],
                "verbs": ["get", "list", "watch", "patch"],
            },
            {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
        ],
    }


def gateway_role(settings: KeeperSettings) -> Manifest:
    """Return the role in the gateway's namespace: list its pods, to ask each for its count."""
    return {
        "metadata": {"name": f"{NAME}-counts", "namespace": settings.namespace},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}],
    }


def role_binding(settings: KeeperSettings, granted: Manifest) -> Manifest:
    """Return the binding that gives a role to the keeper's service account."""
    return role_grant.role_binding(granted, NAME, settings.namespace)


def pod_guard(settings: KeeperSettings) -> Manifest:
    """Return the limit on the right to change pods: only the annotation that marks which goes first at scale-in. An
    image could be changed by that right, too.
    """
    account = f"system:serviceaccount:{settings.namespace}:{NAME}"
    return {
        "metadata": {"name": _guard_name(settings), "labels": LABELS},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods"]}
                ]
            },
            "matchConditions": [{"name": "by-the-keeper", "expression": f"request.userInfo.username == '{account}'"}],
            "variables": [
                {"name": "before", "expression": "oldObject.metadata.?annotations.orValue({})"},
                {"name": "after", "expression": "object.metadata.?annotations.orValue({})"},
            ],
            "validations": [
                {
                    "expression": " && ".join(
                        [
                            "object.spec == oldObject.spec",
                            *(f"object.metadata.?{part} == oldObject.metadata.?{part}" for part in _METADATA),
                            _same("variables.before", "variables.after"),
                            _same("variables.after", "variables.before"),
                        ]
                    ),
                    "message": f"of a pod the wake keeper changes {DELETION_COST} and nothing else",
                }
            ],
        },
    }


def pod_guard_binding(settings: KeeperSettings) -> Manifest:
    """Return the guard's binding to the models' namespace, where the right is."""
    return {
        "metadata": {"name": _guard_name(settings), "labels": LABELS},
        "spec": {
            "policyName": _guard_name(settings),
            "validationActions": ["Deny"],
            "matchResources": of_namespace(settings.models_namespace),
        },
    }


def _guard_name(settings: KeeperSettings) -> str:
    """Return the guard's name, which is unique in the whole cluster."""
    return f"{NAME}.{settings.models_namespace}"


def _same(one: str, other: str) -> str:
    """Return CEL: everything in ``one`` is in ``other``, but for the deletion cost."""
    return f"{one}.all(key, key == '{DELETION_COST}' || (key in {other} && {other}[key] == {one}[key]))"


def url(namespace: str) -> str:
    """Return the URL where the keeper answers."""
    return f"http://{NAME}.{namespace}:{PORT}"


def load_url(namespace: str, model: str) -> str:
    """Return the URL where KEDA reads how many requests a model's replicas work on."""
    return f"{url(namespace)}/load/{model}"


def waiting_url(namespace: str, model: str) -> str:
    """Return the URL where KEDA reads how many requests wait in a model's engines."""
    return f"{url(namespace)}/waiting/{model}"


def service(settings: KeeperSettings) -> Manifest:
    """Return the Service under whose name KEDA finds the keeper."""
    return {
        "metadata": {"name": NAME, "namespace": settings.namespace, "labels": LABELS},
        "spec": {
            "type": "ClusterIP",
            "selector": LABELS,
            "ports": [{"name": "metrics", "port": PORT, "targetPort": "metrics"}],
        },
    }


def network_policy(settings: KeeperSettings) -> Manifest:
    """Return the NetworkPolicy. In: its metrics, from pods of the cluster. Out: DNS, the API server, the gateway's
    counts, and the models' engines if it has to ask them.
    """
    engines = {"to": [of_namespace(settings.models_namespace)], "ports": tcp(ENGINE_PORT)}
    return {
        "metadata": {"name": NAME, "namespace": settings.namespace, "labels": LABELS},
        "spec": {
            "podSelector": {"matchLabels": LABELS},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"namespaceSelector": {}}], "ports": tcp(PORT)}],
            "egress": [
                {"ports": dns_ports()},
                to_api_server(*settings.api_server_ports),
                {"to": [{"podSelector": {"matchLabels": GATEWAY_LABELS}}], "ports": tcp(GATEWAY_METRICS_PORT)},
                *([engines] if settings.asks_engines else []),
            ],
        },
    }
