"""Waiting for objects: to be ready, to be gone, for their kind to be served. Every wait ends on cancel or deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.local.plugins.kube import objects, readiness
from infra.local.plugins.kube.cluster import Cluster, Endpoint, KindUnknownError
from infra.local.plugins.kube.connection import ApiError
from infra.local.plugins.plugin import Call, Engine, RefusedError

DEFAULT_SECONDS = 600.0
DISCOVERY_SECONDS = 31.0
"""As long as the official provider keeps trying a kind or a namespace that is not there yet."""
_POLL_SECONDS = (0.2, 0.5, 1.0)


class NotReadyError(RefusedError):
    """A wait ended without success; ``reasons`` are for the user, the first is the summary."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True)
class Waiter:
    """What a wait needs: the cluster, somewhere to tell progress, and the signal that ends it."""

    cluster: Cluster
    engine: Engine
    cancelled: threading.Event

    def poll(self, call: Call, seconds: float, doing: str, step: Callable[[], tuple[bool, str]]) -> None:
        """Call ``step`` until it says done; its text is shown when it changes. Raises `NotReadyError`."""
        deadline, shown, tries, text = time.monotonic() + seconds, "", 0, ""
        while True:
            done, text = step()
            if done:
                if shown:
                    self.engine.status(call.urn, "")
                return
            if text != shown:
                self.engine.status(call.urn, f"{doing}: {text}")
                shown = text
            pause = _POLL_SECONDS[min(tries, len(_POLL_SECONDS) - 1)]
            tries += 1
            if self.cancelled.wait(pause):
                raise NotReadyError([f"cancelled while {doing}: {text}"])
            if time.monotonic() > deadline:
                raise NotReadyError([f"gave up {doing} after {seconds:g} s: {text}"])

    def until_ready(self, call: Call, inputs: Mapping[str, Any], live: dict[str, Any], endpoint: Endpoint) -> Any:
        """Wait until ``live`` is ready and return it as it is then; `NotReadyError` carries the pods' reasons."""
        if objects.flagged(inputs, objects.SKIP_AWAIT):
            return live
        if not readiness.has_rule(str(live.get("apiVersion")), str(live.get("kind"))):
            return live
        name, namespace = live["metadata"]["name"], live["metadata"].get("namespace", "")
        latest = [live]

        def step() -> tuple[bool, str]:
            found = self.cluster.get(endpoint, name, namespace)
            if found is None:
                raise NotReadyError(["it was deleted by somebody else while it was waited for"])
            latest[0] = found
            now = readiness.state(found, self._related(found))
            if now.phase == "failed":
                raise NotReadyError([now.text])
            return now.phase == "ready", now.text

        try:
            self.poll(call, seconds_for(call, inputs), "waiting for it to become ready", step)
        except NotReadyError as error:
            raise NotReadyError([*error.reasons, *self._pod_reasons(latest[0])]) from None
        return latest[0]

    def until_gone(self, call: Call, inputs: Mapping[str, Any], endpoint: Endpoint, live: Mapping[str, Any]) -> None:
        """Wait until the object that was ``live`` no longer exists."""
        metadata = live["metadata"]

        def step() -> tuple[bool, str]:
            found = self.cluster.get(endpoint, metadata["name"], metadata.get("namespace", ""))
            if found is None or found["metadata"].get("uid") != metadata.get("uid"):
                return True, ""
            return False, _remaining(found)

        self.poll(call, seconds_for(call, inputs), "waiting for it to be gone", step)

    def _related(self, live: Mapping[str, Any]) -> readiness.Related:
        namespace = live["metadata"].get("namespace", "")
        if live.get("kind") == "Service" and (live.get("spec") or {}).get("selector"):
            label = f"kubernetes.io/service-name={live['metadata']['name']}"
            return readiness.Related(
                endpoint_slices=self._list("discovery.k8s.io/v1", "EndpointSlice", namespace, label)
            )
        if live.get("kind") == "PersistentVolumeClaim":
            return readiness.Related(binds_on_first_use=self._binds_on_first_use(live))
        return readiness.Related()

    def _binds_on_first_use(self, claim: Mapping[str, Any]) -> bool:
        name = (claim.get("spec") or {}).get("storageClassName")
        found = self.cluster.get(self.cluster.endpoint("storage.k8s.io/v1", "StorageClass"), name, "") if name else None
        return bool(found) and found.get("volumeBindingMode") == "WaitForFirstConsumer"  # type: ignore[union-attr]

    def _list(self, api_version: str, kind: str, namespace: str, labels: str) -> list[Any]:
        path = self.cluster.endpoint(api_version, kind).path(namespace=namespace)
        return self.cluster.request("GET", path, {"labelSelector": labels}).get("items") or []

    def _pod_reasons(self, live: Mapping[str, Any]) -> list[str]:
        selector = (live.get("spec") or {}).get("selector") or {}
        labels = selector.get("matchLabels") if live.get("kind") != "Service" else selector
        if not labels:
            return []
        try:
            wanted = ",".join(f"{key}={value}" for key, value in labels.items())
            pods = self._list("v1", "Pod", live["metadata"].get("namespace", ""), wanted)
        except RefusedError:
            return []
        found = [f"pod {pod['metadata']['name']}: {reason}" for pod in pods for reason in readiness.pod_reasons(pod)]
        return found[:5]

    def until_served(self, call: Call, attempt: Callable[[], Any]) -> Any:
        """Repeat ``attempt`` while its kind or its namespace is not there: another resource may be making it."""
        answer: list[Any] = []
        last: list[RefusedError] = []

        def step() -> tuple[bool, str]:
            try:
                answer.append(attempt())
            except (KindUnknownError, ApiError) as error:
                if isinstance(error, ApiError) and error.status != 404:
                    raise
                last[:] = [error]
                return False, str(error)
            return True, ""

        try:
            self.poll(call, DISCOVERY_SECONDS, "waiting for the cluster to accept it", step)
        except NotReadyError as error:
            raise (last[0] if last and not self.cancelled.is_set() else error) from None
        return answer[0]


def seconds_for(call: Call, inputs: Mapping[str, Any]) -> float:
    """How long to wait: the program's customTimeouts, else its annotation, else ten minutes."""
    if call.timeout_seconds > 0:
        return call.timeout_seconds
    text = objects.annotation(inputs, objects.TIMEOUT_SECONDS)
    if text is None:
        return DEFAULT_SECONDS
    try:
        return float(text)
    except ValueError:
        raise RefusedError(
            f'metadata.annotations["{objects.TIMEOUT_SECONDS}"]: {text!r} is not a number of seconds'
        ) from None


def _remaining(found: Mapping[str, Any]) -> str:
    conditions = (found.get("status") or {}).get("conditions") or []
    blocked = [c.get("message") for c in conditions if c.get("status") == "True" and "Remaining" in str(c.get("type"))]
    if blocked:
        return "; ".join(map(str, blocked))
    finalizers = found["metadata"].get("finalizers") or (found.get("spec") or {}).get("finalizers")
    return f"finalizers left: {', '.join(finalizers)}" if finalizers else "still there"
