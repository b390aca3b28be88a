"""When an object counts as ready, decided from what the API server says about it; no requests here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Live = Mapping[str, Any]


@dataclass(frozen=True)
class State:
    """Where an object is on its way to being ready, in words for the user."""

    phase: Literal["ready", "waiting", "failed"]
    text: str = ""


@dataclass(frozen=True)
class Related:
    """Other objects an answer may hang on: a Service's endpoints, a claim's storage class."""

    endpoint_slices: list[Live] = field(default_factory=list)
    binds_on_first_use: bool = False


READY = State("ready")


def state(live: Live, related: Related | None = None) -> State:
    """Whether ``live`` is ready; kinds without a rule are ready as soon as they exist."""
    group = str(live.get("apiVersion", "")).rpartition("/")[0]
    rule = _RULES.get((group, str(live.get("kind"))))
    return rule(live, related or Related()) if rule else READY


def has_rule(api_version: str, kind: str) -> bool:
    """Whether objects of this kind are waited for at all."""
    return (api_version.rpartition("/")[0], kind) in _RULES


def _status(live: Live) -> Mapping[str, Any]:
    return live.get("status") or {}


def _condition(live: Live, name: str) -> Mapping[str, Any]:
    return next((c for c in _status(live).get("conditions") or [] if c.get("type") == name), {})


def _why(condition: Mapping[str, Any]) -> str:
    return ": ".join(str(part) for part in (condition.get("reason"), condition.get("message")) if part)


def _seen(live: Live) -> bool:
    """Whether the controller has acted on the last change."""
    return int(_status(live).get("observedGeneration") or 0) >= int(live["metadata"].get("generation") or 0)


def _replicas(live: Live) -> int:
    wanted = (live.get("spec") or {}).get("replicas")
    return 1 if wanted is None else int(wanted)


def _deployment(live: Live, _: Related) -> State:
    wanted, status = _replicas(live), _status(live)
    if wanted == 0:
        return READY
    progressing = _condition(live, "Progressing")
    if _seen(live) and progressing.get("reason") == "ProgressDeadlineExceeded":
        return State("failed", f"rollout stopped: {progressing.get('message')}")
    updated, available = int(status.get("updatedReplicas") or 0), int(status.get("availableReplicas") or 0)
    total = int(status.get("replicas") or 0)
    if _seen(live) and updated >= wanted and available >= updated and total == updated:
        return READY
    return State("waiting", f"{min(available, updated)} of {wanted} replicas available, {updated} updated")


def _stateful_set(live: Live, _: Related) -> State:
    wanted, status = _replicas(live), _status(live)
    ready, updated = int(status.get("readyReplicas") or 0), int(status.get("updatedReplicas") or 0)
    if wanted == 0 or (_seen(live) and ready >= wanted and updated >= wanted):
        return READY
    return State("waiting", f"{ready} of {wanted} replicas ready, {updated} updated")


def _daemon_set(live: Live, _: Related) -> State:
    status = _status(live)
    wanted, updated = (
        int(status.get("desiredNumberScheduled") or 0),
        int(status.get("updatedNumberScheduled") or 0),
    )
    available = int(status.get("numberAvailable") or 0)
    if _seen(live) and updated >= wanted and available >= wanted:
        return READY
    return State("waiting", f"{available} of {wanted} pods available, {updated} updated")


def _job(live: Live, _: Related) -> State:
    if (live.get("spec") or {}).get("suspend") or _condition(live, "Complete").get("status") == "True":
        return READY
    failed = _condition(live, "Failed")
    if failed.get("status") == "True":
        return State("failed", f"the job failed: {_why(failed)}")
    status = _status(live)
    return State("waiting", f"{status.get('active') or 0} pods active, {status.get('failed') or 0} failed")


def _pod(live: Live, _: Related) -> State:
    phase = _status(live).get("phase")
    if phase == "Succeeded" or _condition(live, "Ready").get("status") == "True":
        return READY
    if phase == "Failed":
        return State("failed", f"the pod failed: {_why(_status(live)) or 'no reason given'}")
    return State("waiting", "; ".join(["the pod is not ready", *pod_reasons(live)]))


def _namespace(live: Live, _: Related) -> State:
    phase = _status(live).get("phase")
    return READY if phase == "Active" else State("waiting", f"the namespace is {phase or 'not active yet'}")


def _by_condition(name: str, failing: str = "") -> Callable[[Live, Related], State]:
    def rule(live: Live, _: Related) -> State:
        found = _condition(live, name)
        if found.get("status") == "True":
            return READY
        against = _condition(live, failing)
        if against.get("status") == "False":
            return State("failed", f"{failing} is false: {_why(against)}")
        return State("waiting", f"not {name} yet" + (f": {_why(found)}" if found else ""))

    return rule


def _service(live: Live, related: Related) -> State:
    spec = live.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return READY
    if spec.get("type") == "LoadBalancer" and not (_status(live).get("loadBalancer") or {}).get("ingress"):
        return State("waiting", "the load balancer has no address yet")
    if not spec.get("selector") or spec.get("clusterIP") == "None":
        return READY
    addresses = [
        endpoint
        for found in related.endpoint_slices
        for endpoint in found.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready") is not False
    ]
    return READY if addresses else State("waiting", "no ready pod matches the selector")


def _claim(live: Live, related: Related) -> State:
    if related.binds_on_first_use or _status(live).get("phase") == "Bound":
        return READY
    return State("waiting", f"the claim is {_status(live).get('phase') or 'Pending'}")


def _ingress(live: Live, _: Related) -> State:
    if (_status(live).get("loadBalancer") or {}).get("ingress"):
        return READY
    return State("waiting", "the ingress has no address yet")


def pod_reasons(pod: Live) -> list[str]:
    """Why a pod does not run, from its containers and its scheduling, each as ``name: reason: message``."""
    reasons = []
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        reasons.append(_why(scheduled))
    status = _status(pod)
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        current = container.get("state") or {}
        last = (container.get("lastState") or {}).get("terminated")
        bad = current.get("waiting") or current.get("terminated")
        if bad and bad.get("reason") not in ("ContainerCreating", "PodInitializing", "Completed"):
            text = f"container {container.get('name')}: {_why(bad)}"
            reasons.append(text + (f" (last exit code {last.get('exitCode')})" if last else ""))
    return reasons


_RULES: dict[tuple[str, str], Callable[[Live, Related], State]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("batch", "Job"): _job,
    ("", "Pod"): _pod,
    ("", "Namespace"): _namespace,
    ("", "Service"): _service,
    ("", "PersistentVolumeClaim"): _claim,
    ("networking.k8s.io", "Ingress"): _ingress,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _by_condition("Established", "NamesAccepted"),
    ("apiregistration.k8s.io", "APIService"): _by_condition("Available"),
}
