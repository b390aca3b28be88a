"""The Kubernetes Event that tells of a failed wake: pure."""

from __future__ import annotations

from typing import Any

from ebbtide_gateway.failed_wakes import WakeFailure, written

from .judge import Object

COMPONENT = "ebbtide-wake-keeper"


def wake_failed(workload: Object, is_group: bool, failure: WakeFailure, serial: int) -> dict[str, Any]:
    """``v1 Event`` on the model's Deployment or LeaderWorkerSet, which in a list does not say what it is. ``serial``
    makes the Event's name its own.
    """
    metadata = workload["metadata"]
    api, kind = ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet") if is_group else ("apps/v1", "Deployment")
    moment = written(failure.since)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{serial:x}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": api,
            "kind": kind,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata.get("uid", ""),
        },
        "type": "Warning",
        "reason": "WakeFailed",
        "message": f"{failure.reason}: {failure.message} (failure {failure.failures} in a row; no new wake before "
        f"{written(failure.until)})",
        "count": 1,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": COMPONENT,
    }
