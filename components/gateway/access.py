"""Access of the gateway and to it: RBAC and NetworkPolicy as pure objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components import role_grant
from components.gateway.config import ADAPTERS, GatewaySettings
from components.model_service.settings import PORT as ENGINE_PORT
from components.pods import dns_ports, of_namespace, tcp, to_api_server

Manifest = dict[str, Any]
NAME = "gateway"
PORT = 4000
METRICS_PORT = 9090
LABELS = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "ebbtide"}


def reader_role(settings: GatewaySettings) -> Manifest:
    """Return the role that reads in the models' namespace: Deployments, and LeaderWorkerSets if there are any, for the
    wake guard; ScaledObjects for failed wakes; EndpointSlices for the replicas that take requests; pods if it has a
    database, for what they cost; nothing else.
    """
    read = ["get", "list", "watch"]
    groups = [{"apiGroups": ["leaderworkerset.x-k8s.io"], "resources": ["leaderworkersets"], "verbs": read}]
    return {
        "metadata": {"name": f"{NAME}-reader", "namespace": settings.models_namespace},
        "rules": [
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": read},
            *(groups if settings.groups_of_pods else []),
            *([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}] if settings.database else []),
            {"apiGroups": ["keda.sh"], "resources": ["scaledobjects"], "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ],
    }


def nodes_role(settings: GatewaySettings) -> Manifest:
    """Return the role to follow the cluster's nodes, which belong to no namespace: for what they cost. Its name is the
    cluster's, so it has the namespace in it.
    """
    return {
        "metadata": {"name": f"{settings.namespace}-{NAME}-nodes", "labels": LABELS},
        "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]}],
    }


def adapters_role(settings: GatewaySettings) -> Manifest:
    """Return the role in the gateway's own namespace to follow and write one ConfigMap, the list of the adapters that
    calls have loaded. The ConfigMap is created by the stack: a right to create cannot be given for a name."""
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [ADAPTERS]}
    return {
        "metadata": {"name": ADAPTERS, "namespace": settings.namespace},
        "rules": [{**rule, "verbs": ["get", "list", "watch", "patch"]}],
    }


def role_binding(settings: GatewaySettings, granted: Manifest) -> Manifest:
    """Return the binding that gives a role to the gateway's service account."""
    return role_grant.role_binding(granted, NAME, settings.namespace)


def network_policy(settings: GatewaySettings) -> Manifest:
    """Return the NetworkPolicy. In: its port, from anyone: keys decide, and a load balancer comes with any address of
    its network; the metrics' port, from pods of this cluster. Out: DNS, the interceptor, the models, the API server,
    the wake keeper if it is asked, the database if there is one.
    """
    interceptor, models = of_namespace(settings.interceptor_namespace), of_namespace(settings.models_namespace)
    keeper, database = settings.keeper, settings.database
    return {
        "metadata": {"name": NAME, "namespace": settings.namespace, "labels": LABELS},
        "spec": {
            "podSelector": {"matchLabels": LABELS},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"ports": tcp(PORT)},
                {"from": [{"namespaceSelector": {}}], "ports": tcp(METRICS_PORT)},
            ],
            "egress": [
                {"ports": dns_ports()},
                {"to": [interceptor], "ports": tcp(settings.interceptor_port)},
                {"to": [models], "ports": tcp(ENGINE_PORT)},
                to_api_server(*settings.api_server_ports),
                *([] if keeper is None else [_pods(keeper.labels, keeper.port)]),
                *([] if database is None else [{"to": [*database.to], "ports": tcp(database.port)}]),
            ],
        },
    }


def _pods(labels: Mapping[str, str], port: int) -> Manifest:
    return {"to": [{"podSelector": {"matchLabels": dict(labels)}}], "ports": tcp(port)}
