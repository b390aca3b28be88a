"""The keeper's pod: pure manifests."""

from __future__ import annotations

import hashlib

import pulumi

from components.pods import confined_container, confined_pod
from components.wake_keeper.access import LABELS, NAME, PORT, Manifest
from components.wake_keeper.settings import KeeperSettings, keeper_yaml

USER = 10001
CONFIG_FILE = "keeper.yaml"
COMMAND = ["/opt/gateway/bin/python", "-m", "ebbtide_keeper"]


def config_map(settings: KeeperSettings) -> Manifest:
    """Return the ConfigMap with the configuration; nothing in it is secret."""
    return {
        "metadata": {"name": NAME, "namespace": settings.namespace, "labels": LABELS},
        "data": {CONFIG_FILE: keeper_yaml(settings)},
    }


def deployment(
    settings: KeeperSettings, image: pulumi.Input[str], pull_secret: pulumi.Input[str] | None = None
) -> Manifest:
    """Return the Deployment of one pod on a node without a GPU: it tolerates no taint. The old pod goes first, so that
    no failure is counted twice; what it misses in between, the next one finds in the cluster.
    """
    configured = hashlib.sha256(keeper_yaml(settings).encode()).hexdigest()
    spec: Manifest = {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": confined_pod(USER, owns_volumes=True),
        "containers": [_container(image)],
        "volumes": [
            {"name": "config", "configMap": {"name": NAME}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
        ],
    }
    if pull_secret is not None:
        spec["imagePullSecrets"] = [{"name": pull_secret}]
    return {
        "metadata": {"name": NAME, "namespace": settings.namespace, "labels": LABELS},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": LABELS},
            "strategy": {"type": "Recreate"},
            "template": {
                "metadata": {"labels": LABELS, "annotations": {"ebbtide.dev/config-sha256": configured}},
                "spec": spec,
            },
        },
    }


def _container(image: pulumi.Input[str]) -> Manifest:
    alive = {"httpGet": {"path": "/health/liveness", "port": "metrics"}}
    return {
        "name": NAME,
        "image": image,
        "command": COMMAND,
        "ports": [{"name": "metrics", "containerPort": PORT}],
        "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}},
        "securityContext": confined_container(),
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/ebbtide/config", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of its own
        ],
        "startupProbe": {**alive, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 60},
        "livenessProbe": {**alive, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
        "readinessProbe": {**alive, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
    }
