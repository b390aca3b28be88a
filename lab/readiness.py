"""Readiness of the platform's pods: what `up` waits for before it says that the stack is up.

After `down` or a power cut the API server still lists the pods as they were; for Pulumi nothing of the stack has
changed, so it waits for none. Only pods that started after the cluster count here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import httpx

from infra.errors import LocalProblem
from infra.kube_client import api_client
from infra.workspace import Paths

MODEL_LABEL = "ebbtide.dev/model"
OURS = ("ebbtide", "keda")
NAMES = "kube-system"  # CoreDNS; only checked where the cluster's start is known (the lab)
SECONDS = 240.0
Pod = Mapping[str, Any]


def unsettled(pods: Iterable[Pod], since: datetime | None) -> list[str]:
    """Return the pods that are not well, each with the reason. Ignores models' pods, which come and go by themselves,
    and pods that are being deleted or have done their work."""
    return [f"{pod['metadata']['name']}: {why}" for pod in pods if (why := _trouble(pod, since))]


def _trouble(pod: Pod, since: datetime | None) -> str | None:
    meta, status = pod["metadata"], pod.get("status", {})
    if meta.get("deletionTimestamp") or MODEL_LABEL in meta.get("labels", {}) or status.get("phase") == "Succeeded":
        return None
    containers = status.get("containerStatuses", [])
    for container in containers:
        state = container.get("state", {})
        if "running" not in state:
            return str(state.get("waiting", {}).get("reason") or "not running")
        if since and datetime.fromisoformat(state["running"]["startedAt"]) < since:
            return "not started again yet"
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
    return None if ready and containers else "not ready"


def wait(
    paths: Paths, since: datetime | None, note: Callable[[str], None], gateway_url: str, seconds: float = SECONDS
) -> None:
    """Wait until every pod of the platform is well and the gateway takes requests. Raises ``LocalProblem``."""
    deadline = time.monotonic() + seconds
    namespaces = (*OURS, NAMES) if since else OURS
    with api_client(paths) as api:
        while True:
            left = _unready(api, namespaces, since) or _gateway(gateway_url)
            if not left:
                return
            note(left[0])
            if time.monotonic() > deadline:
                raise LocalProblem(
                    f"not ready after {seconds:.0f} s: {'; '.join(left)}",
                    "`ebbtide local status` shows which pods are not well, `ebbtide local logs NAME` says why",
                )
            time.sleep(0.25)


def _unready(api: httpx.Client, namespaces: Iterable[str], since: datetime | None) -> list[str]:
    try:
        pods = [pod for each in namespaces for pod in api.get(f"/api/v1/namespaces/{each}/pods").json()["items"]]
    except (httpx.HTTPError, KeyError, ValueError):
        return ["the API server does not answer"]
    return unsettled(pods, since)


def gateway(url: str) -> str:
    """Return the gateway's state: ready, not ready, does not answer."""
    try:
        answer = httpx.get(f"{url}/health/readiness", timeout=5, trust_env=False)
        return "ready" if answer.status_code == 200 else "not ready"
    except httpx.HTTPError:
        return "does not answer"


def _gateway(url: str) -> list[str]:
    return [] if gateway(url) == "ready" else [f"the gateway at {url} takes no requests"]
