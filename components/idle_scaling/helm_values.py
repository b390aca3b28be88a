"""Chart values for KEDA and the HTTP add-on: pure, so that a test and a plan can read them."""

from __future__ import annotations

from typing import Any

from components.idle_scaling.settings import EngineSettings

# the add-on's chart leaves these two out, and a namespace under restricted Pod Security then refuses its pods
_RESTRICTED_POD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def keda_values(settings: EngineSettings) -> dict[str, Any]:
    """Return values for KEDA's chart, whose own security contexts already satisfy restricted Pod Security."""
    values: dict[str, Any] = {"crds": {"install": True}, "image": {"pullPolicy": "IfNotPresent"}}
    if settings.node_selector:
        values["nodeSelector"] = dict(settings.node_selector)
    return values


def http_add_on_values(settings: EngineSettings) -> dict[str, Any]:
    """Return values with a fixed number of interceptors (min = max), time-outs and memory fit for holding requests."""
    replicas = settings.interceptor_replicas
    pods: dict[str, Any] = {"pullPolicy": "IfNotPresent"}
    if settings.node_selector:
        pods["nodeSelector"] = dict(settings.node_selector)
    environment = settings.interceptor_environment()
    return {
        "crds": {"install": True},
        "podSecurityContext": dict.fromkeys(("operator", "scaler", "interceptor"), _RESTRICTED_POD),
        "operator": {**pods, "resources": _resources("128Mi")},
        "scaler": {
            **pods,
            "replicas": 1,
            "streamInterval": settings.push_milliseconds,
            "resources": _resources("128Mi"),
        },
        "interceptor": {
            **pods,
            "replicas": {"min": replicas, "max": replicas},
            "resources": _resources(settings.interceptor_memory),
            "requestTimeout": environment["KEDA_HTTP_REQUEST_TIMEOUT"],
            "responseHeaderTimeout": environment["KEDA_HTTP_RESPONSE_HEADER_TIMEOUT"],
            "readinessTimeout": environment["KEDA_HTTP_READINESS_TIMEOUT"],
            "drainTimeout": environment["KEDA_HTTP_DRAIN_TIMEOUT"],
            "shutdownDelay": environment["KEDA_HTTP_SHUTDOWN_DELAY"],
            "maxIdleConnsPerHost": int(environment["KEDA_HTTP_MAX_IDLE_CONNS_PER_HOST"]),
            "terminationGracePeriodSeconds": settings.interceptor_grace_seconds,
            # with one replica a budget would only stand in the way of draining its node
            "pdb": {"enabled": replicas > 1, "minAvailable": 0, "maxUnavailable": 1},
        },
    }


def _resources(memory: str) -> dict[str, Any]:
    # the charts' 0.5 CPU would be merged in where none is named, and throttling this hop shows as latency
    return {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": memory}}
