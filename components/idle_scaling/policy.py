"""One model's scaling: held requests wake it, silence scales it to zero.

How the timers interact
- While a request is held the interceptor counts it, and while a replica works on it the gateway does, as the wake
  keeper reports: KEDA calls the model active and no timer runs. A load that outlasts the TTL is therefore never killed
  as long as one client waits.
- Nobody waits any more (the client hung up, or its hold ran out): KEDA's last active moment stands still, and the model
  is gone one TTL later, loading or not. Because ``idle TTL ≥ cold start`` is required, a load that keeps to its
  estimate is finished before that; one that does not is cut off instead of billing forever.
- The gateway lets the interceptor hold a GET, whose end is noticed at once: a client that goes away costs one TTL.
- Short requests fall between two polls, so the keeper calls a model used for some seconds after its last one. Requests
  through the interceptor, because the gateway could not see the replicas, are covered by its rate beside its
  concurrency: a target out of reach on purpose keeps a model active and never scales it out.
- While the keeper is away, or one of the gateway's pods does not report its count, nothing is scaled to zero.
- A keep-warm window (``schedule.py``) is use like any other: it wakes the model, and the TTL begins with its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.idle_scaling.addresses import host_of
from components.idle_scaling.schedule import Window, cron_triggers, is_always, is_misread
from components.idle_scaling.timing import USUAL, Rhythm

_UNREACHABLE_RATE = 1000
_LONGEST_STABILIZATION_SECONDS = 3600  # Kubernetes' own limit


@dataclass(frozen=True, kw_only=True)
class IdlePolicy:
    """Rules for when one model runs. Durations in whole seconds; ``concurrency_target``: requests in flight per
    replica, read from ``load_url`` (JSON, ``inFlight``); ``windows``: when replicas run without a request.
    ``waiting_target``: requests in the engines' own queues per replica, read from ``waiting_url`` (JSON, ``waiting``);
    None: not looked at. ``target_api`` and ``target_kind``: what is scaled under the model's name.

    Raises ``ValueError`` naming every value that cannot work.
    """

    name: str
    namespace: str
    min_replicas: int
    max_replicas: int
    idle_ttl_seconds: int
    cold_start_seconds: int
    hold_seconds: int
    concurrency_target: int
    load_url: str
    port: int = 8000
    windows: tuple[Window, ...] = ()
    waiting_target: int | None = None
    waiting_url: str = ""
    rhythm: Rhythm = USUAL
    target_api: str = "apps/v1"
    target_kind: str = "Deployment"

    def __post_init__(self) -> None:
        wrong = []
        if self.min_replicas < 0:
            wrong.append(f"min is {self.min_replicas}, allowed is 0 or more")
        if self.max_replicas < max(1, self.min_replicas):
            wrong.append(f"max is {self.max_replicas}, allowed is {max(1, self.min_replicas)} or more")
        if self.idle_ttl_seconds < self.cold_start_seconds:
            wrong.append(
                f"idle TTL is {self.idle_ttl_seconds} s, allowed is {self.cold_start_seconds} s (the cold start) or "
                "more: a shorter one kills a model that is still loading when its client goes away"
            )
        if self.hold_seconds < self.cold_start_seconds:
            wrong.append(
                f"hold is {self.hold_seconds} s, allowed is {self.cold_start_seconds} s (the cold start) or more: "
                "a shorter one gives up on every wake"
            )
        if self.concurrency_target < 1:
            wrong.append(f"concurrency target is {self.concurrency_target}, allowed is 1 or more")
        for window in self.windows:
            if window.replicas > self.max_replicas:
                wrong.append(
                    f"a window keeps {window.replicas} replicas, allowed is {self.max_replicas} (max) or fewer"
                )
            if is_always(window):
                wrong.append("a window never ends, allowed is one with an end: use min")
            elif is_misread(window):
                wrong.append(
                    f"a window in {window.timezone} would be misread by KEDA when its clocks change: use another zone"
                )
        if wrong:
            raise ValueError(f"idle policy of {self.name}: " + "; ".join(wrong))

    @property
    def host(self) -> str:
        """Return the ``Host`` header that reaches this model through the interceptor."""
        return host_of(self.name, self.namespace)


def interceptor_route(policy: IdlePolicy) -> dict[str, Any]:
    """Return the ``http.keda.sh/v1beta1 InterceptorRoute``: where a held request goes, how long it is held, what
    counts.
    """
    return {
        "apiVersion": "http.keda.sh/v1beta1",
        "kind": "InterceptorRoute",
        "metadata": _metadata(policy),
        "spec": {
            "target": {"service": policy.name, "port": policy.port},
            "rules": [{"hosts": [policy.host]}],
            "scalingMetric": {
                "concurrency": {"targetValue": policy.concurrency_target},
                "requestRate": {
                    "targetValue": _UNREACHABLE_RATE,
                    "window": f"{policy.rhythm.window_seconds}s",
                    "granularity": "1s",
                },
            },
            "timeouts": {
                # never 0s: an abandoned POST would hold the model, and its GPU, for ever
                "readiness": f"{policy.hold_seconds}s",
                "request": "0s",
                "responseHeader": "0s",
            },
        },
    }


def scaled_object(policy: IdlePolicy, scaler_address: str) -> dict[str, Any]:
    """Return the ``keda.sh/v1alpha1 ScaledObject``: the only writer of the workload's ``replicas``
    after its creation."""
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": _metadata(policy),
        "spec": {
            "scaleTargetRef": {"apiVersion": policy.target_api, "kind": policy.target_kind, "name": policy.name},
            "minReplicaCount": policy.min_replicas,
            "maxReplicaCount": policy.max_replicas,
            "cooldownPeriod": policy.idle_ttl_seconds,
            # Counts only while the object has never been active: a ScaledObject that is recreated over a running
            # model (an upgrade, an adoption) forgets when it was last used and would kill it within seconds.
            "initialCooldownPeriod": policy.idle_ttl_seconds,
            "pollingInterval": policy.rhythm.poll_seconds,
            # without restoreToOriginalReplicaCount: false is the default (`destroy` must start nothing), and KEDA drops
            # it when it writes the object, so that every refresh would show a difference
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": _scale_in(policy)}}},
            "triggers": [
                {
                    "type": "external-push",
                    "metadata": {"scalerAddress": scaler_address, "interceptorRoute": policy.name},
                },
                _metrics_trigger(policy.load_url, "inFlight", policy.concurrency_target),
                *_waiting_trigger(policy),
                *cron_triggers(policy.windows),
            ],
        },
    }


def _waiting_trigger(policy: IdlePolicy) -> list[dict[str, Any]]:
    """Return the trigger for queued requests: the number in flight says nothing of how many fit into the engine's
    memory.
    """
    if policy.waiting_target is None:
        return []
    return [_metrics_trigger(policy.waiting_url, "waiting", policy.waiting_target)]


def _metrics_trigger(url: str, value: str, target: int) -> dict[str, Any]:
    metadata = {"url": url, "valueLocation": value, "targetValue": str(target)}
    return {"type": "metrics-api", "metricType": "AverageValue", "metadata": metadata}


def _scale_in(policy: IdlePolicy) -> dict[str, Any]:
    """Return how many replicas become one: a surplus replica stays as long as the last one does, and they go one by
    one.
    """
    return {
        "stabilizationWindowSeconds": min(policy.idle_ttl_seconds, _LONGEST_STABILIZATION_SECONDS),
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
    }


def _metadata(policy: IdlePolicy) -> dict[str, Any]:
    return {
        "name": policy.name,
        "namespace": policy.namespace,
        "labels": {"app.kubernetes.io/name": policy.name, "ebbtide.dev/model": policy.name},
    }


class IdleScalingPolicy(pulumi.ComponentResource):
    """Route and ScaledObject of one model. Costs nothing at rest. It does not create what it scales.

    ``after`` is what must exist before and live longer: the engine, the workload and its Service. KEDA refuses a
    ScaledObject without a target, and only a running KEDA lets one be deleted.
    """

    host: str

    def __init__(
        self,
        name: str,
        policy: IdlePolicy,
        scaler_address: str,
        after: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:idle_scaling:IdleScalingPolicy", name, None, opts)
        self.host = policy.host
        # the scaler answers KEDA with an error until it knows the route, and KEDA then waits up to a minute
        route = self._object(f"{name}-route", interceptor_route(policy), after)
        self.scaled_object = self._object(
            f"{name}-scaled-object", scaled_object(policy, scaler_address), [*after, route]
        )
        self.register_outputs({"host": self.host})

    def _object(
        self, name: str, document: dict[str, Any], after: Sequence[pulumi.Resource]
    ) -> k8s.apiextensions.CustomResource:
        return k8s.apiextensions.CustomResource(
            name,
            api_version=document["apiVersion"],
            kind=document["kind"],
            metadata=document["metadata"],
            spec=document["spec"],
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(after)),
        )
