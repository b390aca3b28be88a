"""A model's objects as a cluster shows them, for tests of the wake keeper."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.unit import gateway_kit

assert gateway_kit  # puts the image's packages on the path

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
IMAGE = "reg.example.com/vllm@sha256:" + "1" * 64


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def stamp(seconds: float) -> str:
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def deployment(replicas: int = 1, *conditions: dict[str, Any]) -> dict[str, Any]:
    progressing = condition("Progressing", "True", 0, "NewReplicaSetAvailable")
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "small",
            "namespace": "ebbtide-models",
            "uid": "0a1b",
            "labels": {"app.kubernetes.io/name": "small", "ebbtide.dev/model": "small"},
            "resourceVersion": "10",
        },
        "spec": {"replicas": replicas},
        "status": {"replicas": replicas, "conditions": [progressing, *conditions]},
    }


def condition(kind: str, status: str, seconds: float, reason: str = "", message: str = "") -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": stamp(seconds),
    }


def over_quota(seconds: float) -> dict[str, Any]:
    message = (
        'pods "small-7d9f" is forbidden: exceeded quota: gpu-guard, requested: requests.nvidia.com/gpu=1, '
        "used: requests.nvidia.com/gpu=2, limited: requests.nvidia.com/gpu=2"
    )
    return condition("ReplicaFailure", "True", seconds, "FailedCreate", message)


def refused(seconds: float) -> dict[str, Any]:
    message = 'pods "small-7d9f" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
    return condition("ReplicaFailure", "True", seconds, "FailedCreate", message)


def pod(
    name: str = "small-7d9f-1",
    created: float = 0,
    *conditions: dict[str, Any],
    container: dict[str, Any] | None = None,
    started: float | None = None,
    phase: str = "Pending",
    leaving: bool = False,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "ebbtide-models",
        "labels": {"app.kubernetes.io/name": "small", "ebbtide.dev/model": "small"},
        "creationTimestamp": stamp(created),
        "resourceVersion": "11",
    }
    if leaving:
        metadata["deletionTimestamp"] = stamp(created + 1)
    status: dict[str, Any] = {"phase": phase, "conditions": list(conditions)}
    if started is not None:
        status["startTime"] = stamp(started)
    if container is not None:
        status["containerStatuses"] = [{"name": "vllm", "image": IMAGE, "ready": False, "restartCount": 0, **container}]
    return {"metadata": metadata, "spec": {"containers": [{"name": "vllm", "image": IMAGE}]}, "status": status}


def unschedulable(seconds: float) -> dict[str, Any]:
    message = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
    return condition("PodScheduled", "False", seconds, "Unschedulable", message)


NO_IMAGE = (
    f'Back-off pulling image "{IMAGE}": ErrImagePull: rpc error: code = NotFound desc = '
    f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": {IMAGE}: not found'
)


def waiting(reason: str, restarts: int = 0, last: dict[str, Any] | None = None, message: str = "") -> dict[str, Any]:
    state = {"reason": reason, **({"message": message} if message else {})}
    status: dict[str, Any] = {"state": {"waiting": state}, "restartCount": restarts}
    return status | ({"lastState": {"terminated": last}} if last is not None else {})


def running(restarts: int = 0, last: dict[str, Any] | None = None) -> dict[str, Any]:
    status: dict[str, Any] = {"state": {"running": {"startedAt": stamp(1)}}, "restartCount": restarts}
    return status | ({"lastState": {"terminated": last}} if last is not None else {})


def ended(
    message: str = "", reason: str = "Error", code: int = 1, began: float = 2, seconds: float = 18
) -> dict[str, Any]:
    times = {"startedAt": stamp(began), "finishedAt": stamp(began + seconds)}
    return {"exitCode": code, "reason": reason, "message": message, **times}


def on_node(container: dict[str, Any], created: float = 0, ready: tuple[str, float] = ("False", 1)) -> dict[str, Any]:
    """A pod that has its node; by default never ready: the kubelet's first word stands."""
    conditions = (condition("PodScheduled", "True", created), condition("Ready", *ready, "ContainersNotReady"))
    return pod("small-7d9f-1", created, *conditions, container=container, started=created + 1, phase="Running")


def scaled_object(annotations: dict[str, str] | None = None, version: str = "12") -> dict[str, Any]:
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {
            "name": "small",
            "namespace": "ebbtide-models",
            "labels": {"ebbtide.dev/model": "small"},
            "annotations": annotations or {},
            "resourceVersion": version,
        },
        "spec": {"scaleTargetRef": {"name": "small"}, "minReplicaCount": 0, "maxReplicaCount": 1},
    }
