"""The Kubernetes Event that tells of a failed wake: pure."""

from __future__ import annotations

from typing import Any

from ebbtide_gateway.failed_wakes import WakeFailure, written

from .judge import Object

COMPONENT = "ebbtide-wake-keeper"


def wake_failed(deployment: Object, failure: WakeFailure, serial: int) -> dict[str, Any]:
    """``v1 Event`` on the model's Deployment. ``serial`` makes its name its own."""
    metadata = deployment["metadata"]
    moment = written(failure.since)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{serial:x}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
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
