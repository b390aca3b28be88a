"""The gateway's pods and how they are reached: pure manifests."""

from __future__ import annotations

from typing import Any

import pulumi

from components.gateway.access import LABELS, METRICS_PORT, NAME, PORT, Manifest
from components.gateway.config import ADAPTERS, DATABASE_FOLDER, GatewaySettings, checksum, gateway_yaml
from components.platforms.contract import Ingress
from components.pods import STAYS, confined_container, confined_pod

USER = 10001
CONFIG_FILE, KEYS_FILE = "gateway.yaml", "keys.json"
_MARGIN_SECONDS = 15
_PROCESS_MIB = 256  # the program, connections, answers on their way
_TMP_MIB = 256  # what the process itself may write, beside the files that clients send
_PARSED = 16  # a body takes up to this many times its size while it is parsed: its text, its values, its text again


def grace_seconds(settings: GatewaySettings) -> int:
    """Return the time from SIGTERM to SIGKILL: until no balancer sends anything, finishing answers, shutting down."""
    return settings.leave_seconds + settings.shutdown_seconds + _MARGIN_SECONDS


def memory_limit_mib(settings: GatewaySettings) -> int:
    """Return a limit above all that clients can make a pod take at once: one body is parsed at a time, the others are
    bytes.
    """
    return _PROCESS_MIB + (settings.max_held_bytes + _PARSED * settings.max_body_bytes) // 2**20


def config_map(settings: GatewaySettings) -> Manifest:
    """Return the ConfigMap with the configuration, without keys."""
    return {
        "metadata": {"name": NAME, "namespace": settings.namespace, "labels": LABELS},
        "data": {CONFIG_FILE: gateway_yaml(settings)},
    }


def adapters_map(settings: GatewaySettings) -> Manifest:
    """Return the ConfigMap that lists the adapters which calls have loaded. It has no data here: what the gateway
    writes into it stays as it is when the stack is deployed again."""
    return {"metadata": {"name": ADAPTERS, "namespace": settings.namespace, "labels": LABELS}}


def deployment(
    settings: GatewaySettings, image: pulumi.Input[str], pull_secret: pulumi.Input[str] | None = None
) -> Manifest:
    """Return the Deployment, for nodes without a GPU: it tolerates no taint, and GPU pools are tainted.

    A changed configuration rolls the pods (checksum); changed keys do not: the process follows the mounted Secret,
    which is why that is mounted as a folder.
    """
    # the autoscaler would end it after ten minutes, whatever its grace period
    annotations = {**STAYS, "ebbtide.dev/config-sha256": checksum(gateway_yaml(settings))}
    spec: Manifest = {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds(settings),
        "securityContext": confined_pod(USER, owns_volumes=True),
        "containers": [_container(settings, image)],
        "volumes": [
            {"name": "config", "configMap": {"name": NAME}},
            {"name": "keys", "secret": {"secretName": f"{NAME}-keys", "defaultMode": 0o440}},
            {"name": "tmp", "emptyDir": {"sizeLimit": f"{_TMP_MIB + settings.max_file_bytes // 2**20}Mi"}},
        ],
    }
    if settings.database is not None:
        # it may come later: until then the gateway answers with the keys that it has
        secret = {"secretName": settings.database.secret, "defaultMode": 0o440, "optional": True}
        spec["volumes"].append({"name": "database", "secret": secret})
    if pull_secret is not None:
        spec["imagePullSecrets"] = [{"name": pull_secret}]
    if settings.replicas > 1:
        spec["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": LABELS},
            }
        ]
    return {
        "metadata": {"name": NAME, "namespace": settings.namespace, "labels": LABELS},
        "spec": {
            "replicas": settings.replicas,
            "selector": {"matchLabels": LABELS},
            # never fewer than before: a request that waits for a wake must not lose its listener to a roll-out
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": LABELS, "annotations": annotations}, "spec": spec},
        },
    }


def _container(settings: GatewaySettings, image: pulumi.Input[str]) -> Manifest:
    return {
        "name": NAME,
        "image": image,
        "ports": [{"name": "http", "containerPort": PORT}, {"name": "metrics", "containerPort": METRICS_PORT}],
        "resources": {
            "requests": {"cpu": "250m", "memory": "128Mi"},
            "limits": {"memory": f"{memory_limit_mib(settings)}Mi"},
        },
        "securityContext": confined_container(),
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/ebbtide/config", "readOnly": True},
            {"name": "keys", "mountPath": "/etc/ebbtide/keys", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of its own
            *(
                [{"name": "database", "mountPath": DATABASE_FOLDER, "readOnly": True}]
                if settings.database is not None
                else []
            ),
        ],
        "startupProbe": _probe("/health/liveness", period=1, failures=120),
        "livenessProbe": _probe("/health/liveness", period=10, failures=6),
        # no preStop: the process itself still takes requests for a while after SIGTERM, and says that it goes
        "readinessProbe": _probe("/health/readiness", period=2, failures=3),
    }


def _probe(path: str, period: int, failures: int) -> dict[str, Any]:
    check = {"path": path, "port": "http"}
    return {"httpGet": check, "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures}


def service(settings: GatewaySettings, ingress: Ingress) -> Manifest:
    """Return the Service by which clients reach the pods, as the place needs it."""
    port: Manifest = {"name": "http", "port": PORT, "targetPort": "http"}
    if ingress.node_port is not None:
        port["nodePort"] = ingress.node_port
    return {
        "metadata": {
            "name": NAME,
            "namespace": settings.namespace,
            "labels": LABELS,
            **({"annotations": dict(ingress.annotations)} if ingress.annotations else {}),
        },
        "spec": {"type": ingress.service_type, "selector": LABELS, "ports": [port]},
    }


def disruption_budget(settings: GatewaySettings) -> Manifest | None:
    """Return a budget by which one pod may go at a time; None for one replica: it would only block node upgrades."""
    if settings.replicas < 2:
        return None
    return {
        "metadata": {"name": NAME, "namespace": settings.namespace, "labels": LABELS},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": LABELS}},
    }
