"""The phases of a wake, derived from what Kubernetes and the engine report: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PHASES = ("woken", "scheduled", "image", "engine started", "weights", "engine ready", "first token")
WEIGHTS = re.compile(r"Loading weights took ([0-9.]+) seconds|Model loading took")
STARTED = re.compile(r"vLLM API server version|Initializing .*LLM engine|api_server\.py")


def passed(replicas: int, pod: Mapping[str, Any] | None, log: str) -> list[str]:
    """Return the phases that have passed, in order. ``pod`` is as the API server shows it, None while there is none;
    ``log`` is what the engine printed so far. A later phase implies the earlier ones, even if a log line was missed."""
    reached = {
        "woken": replicas > 0 or pod is not None,
        "scheduled": _condition(pod, "PodScheduled"),
        "image": _running(pod),
        "engine started": bool(STARTED.search(log)),
        "weights": bool(WEIGHTS.search(log)),
        "engine ready": _condition(pod, "Ready"),
    }
    last = max((i for i, phase in enumerate(PHASES[:-1]) if reached[phase]), default=-1)
    return list(PHASES[: last + 1])


def trouble(pod: Mapping[str, Any] | None) -> str | None:
    """Return why the pod makes no progress, in Kubernetes' own words, if it says so."""
    if pod is None:
        return None
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message") or condition.get("reason"))
    for container in pod.get("status", {}).get("containerStatuses", []):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{waiting['reason']}: {waiting.get('message', '')}".strip(": ")
    return None


def _condition(pod: Mapping[str, Any] | None, kind: str) -> bool:
    conditions = (pod or {}).get("status", {}).get("conditions", [])
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def _running(pod: Mapping[str, Any] | None) -> bool:
    containers = (pod or {}).get("status", {}).get("containerStatuses", [])
    return any("running" in each.get("state", {}) for each in containers)
