"""The database's Kubernetes objects: pure manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi

from components.catalog.versions import pinned
from components.pods import STAYS, confined_container, confined_pod, tcp

Manifest = dict[str, Any]
NAME: Final = "database"
SECRET: Final = "database"  # noqa: S105 - the name of a Secret
PORT: Final = 5432
LABELS: Final = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "ebbtide"}
USER: Final = 999
"""User of the official image, who owns what is in the claim. Source: docker-library/postgres, Dockerfile."""

_DATA = "/var/lib/postgresql"
_PASSWORD, _PASSWORDS = "password", "/etc/ebbtide/database"
_OWNER = _DATABASE = "ebbtide"
_MEMORY_MIB = 512


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """``storage_class`` None: the cluster's default. ``image`` None: the pinned one, by digest where that is known.
    ``protect``: no `up` may delete the claim.
    """

    namespace: str
    storage_bytes: int
    storage_class: str | None = None
    image: str | None = None
    protect: bool = False

    @property
    def reference(self) -> str:
        """Return the image in use."""
        reference = self.image or pinned("postgres").reference
        assert reference is not None
        return reference


def uri(settings: DatabaseSettings, password: str) -> str:
    """Return the URI by which the gateway reaches it."""
    return f"postgresql://{_OWNER}:{password}@{NAME}.{settings.namespace}:{PORT}/{_DATABASE}"


def secret(settings: DatabaseSettings, password: str) -> Mapping[str, str]:
    """Return the Secret's data: the gateway mounts the one, the database the other."""
    return {"uri": uri(settings, password), _PASSWORD: password}


def claim(settings: DatabaseSettings) -> Manifest:
    """Return the claim with all of the data. `up` does not wait until it is bound: some classes wait for the pod."""
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": str(settings.storage_bytes)}},
    }
    if settings.storage_class is not None:
        spec["storageClassName"] = settings.storage_class
    return {"metadata": _metadata(settings, {"pulumi.com/skipAwait": "true"}), "spec": spec}


def service(settings: DatabaseSettings) -> Manifest:
    """Return the Service by which the gateway reaches it."""
    port = {"name": "postgres", "port": PORT, "targetPort": "postgres"}
    return {"metadata": _metadata(settings), "spec": {"selector": LABELS, "ports": [port]}}


def network_policy(settings: DatabaseSettings, callers: Mapping[str, str]) -> Manifest:
    """Return the NetworkPolicy. In: pods of this namespace with the labels ``callers``, to its port. Out: nothing."""
    return {
        "metadata": _metadata(settings),
        "spec": {
            "podSelector": {"matchLabels": LABELS},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": dict(callers)}}], "ports": tcp(PORT)}],
        },
    }


def deployment(settings: DatabaseSettings, pull_secret: pulumi.Input[str] | None = None) -> Manifest:
    """Return the Deployment of one pod, on a node without a GPU: it tolerates no taint. The old pod goes first: two
    would write to one claim. `up` does not wait for it: the gateway answers without.
    """
    spec: Manifest = {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 60,
        "securityContext": confined_pod(USER, owns_volumes=True),
        "containers": [_container(settings)],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": NAME}},
            {
                "name": "password",
                "secret": {
                    "secretName": SECRET,
                    "defaultMode": 0o440,
                    "items": [{"key": _PASSWORD, "path": _PASSWORD}],
                },
            },
            {"name": "run", "emptyDir": {"sizeLimit": "16Mi"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
        ],
    }
    if pull_secret is not None:
        spec["imagePullSecrets"] = [{"name": pull_secret}]
    return {
        "metadata": _metadata(settings, {"pulumi.com/skipAwait": "true"}),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": LABELS},
            "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": LABELS, "annotations": STAYS}, "spec": spec},
        },
    }


def _container(settings: DatabaseSettings) -> Manifest:
    environment = {
        "POSTGRES_USER": _OWNER,
        "POSTGRES_DB": _DATABASE,
        "POSTGRES_PASSWORD_FILE": f"{_PASSWORDS}/{_PASSWORD}",
        "POSTGRES_INITDB_ARGS": "--auth=scram-sha-256 --data-checksums",
        # a folder below the claim, whose root may hold what a file system puts there
        "PGDATA": f"{_DATA}/data",
    }
    check = {"exec": {"command": ["pg_isready", "-q", "-U", _OWNER, "-d", _DATABASE]}, "timeoutSeconds": 5}
    return {
        "name": NAME,
        "image": settings.reference,
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "ports": [{"name": "postgres", "containerPort": PORT}],
        "resources": {
            "requests": {"cpu": "100m", "memory": f"{_MEMORY_MIB}Mi"},
            "limits": {"memory": f"{_MEMORY_MIB}Mi"},
        },
        "securityContext": confined_container(),
        "volumeMounts": [
            {"name": "data", "mountPath": _DATA},
            {"name": "password", "mountPath": _PASSWORDS, "readOnly": True},
            {"name": "run", "mountPath": "/var/run/postgresql"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of its own
        ],
        "startupProbe": {**check, "periodSeconds": 2, "failureThreshold": 150},
        "livenessProbe": {**check, "periodSeconds": 10, "failureThreshold": 6},
        "readinessProbe": {**check, "periodSeconds": 5, "failureThreshold": 3},
    }


def _metadata(settings: DatabaseSettings, annotations: Mapping[str, str] | None = None) -> Manifest:
    metadata: Manifest = {"name": NAME, "namespace": settings.namespace, "labels": LABELS}
    return metadata if annotations is None else {**metadata, "annotations": dict(annotations)}
