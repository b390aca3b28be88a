"""Settings of the engine as plain values, one set for the charts and for the rendered manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pulumi

from components.idle_scaling.timing import USUAL

Install = Literal["helm", "manifests", "existing"]
Role = Literal["operator", "adapter", "webhooks", "interceptor", "scaler", "http-operator"]
ROLES: tuple[Role, ...] = ("operator", "adapter", "webhooks", "interceptor", "scaler", "http-operator")


@dataclass(frozen=True)
class Program:
    """Program of one of the engine's containers. ``command`` empty: the image's own entry point."""

    image: pulumi.Input[str]
    command: tuple[str, ...] = ()


def one_image(image: pulumi.Input[str]) -> dict[Role, Program]:
    """Return all roles from one image that carries every program in its root (what the local set-up builds)."""
    names: dict[Role, str] = {
        "operator": "/keda",
        "adapter": "/keda-adapter",
        "webhooks": "/keda-admission-webhooks",
        "interceptor": "/kedahttp-interceptor",
        "scaler": "/kedahttp-scaler",
        "http-operator": "/kedahttp-operator",
    }
    return {role: Program(image, (path,)) for role, path in names.items()}


@dataclass(frozen=True)
class EngineSettings:
    """Settings of the engine: how it is installed and how long it holds, drains and waits. All durations in whole
    seconds.

    ``drain_seconds`` must cover the longest hold plus the longest stream: a stopping interceptor keeps its requests
    until then. It is safe to make it long only because a model's idle TTL is never shorter than its cold start: a
    terminating interceptor is no longer counted, so the model it waits for lives on for one TTL.

    ``push_milliseconds``: how often KEDA hears of each model whether a request waits.

    ``readiness_seconds`` bounds the hold of a route that sets none itself. ``interceptor_replicas`` is a fixed number:
    an interceptor that is scaled in cuts what it holds.
    """

    install: Install = "helm"
    namespace: str = "keda"
    interceptor_replicas: int = 1
    interceptor_memory: str = "512Mi"
    drain_seconds: int = 600
    shutdown_delay_seconds: int = 5
    readiness_seconds: int = 900
    push_milliseconds: int = USUAL.push_milliseconds
    manifests: Path | None = None
    programs: Mapping[Role, Program] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = []
        if self.interceptor_replicas < 1:
            wrong.append(
                f"interceptor_replicas is {self.interceptor_replicas}, allowed is 1 or more: "
                "without an interceptor nothing holds a request"
            )
        if self.readiness_seconds < 1:
            wrong.append(
                f"readiness_seconds is {self.readiness_seconds}, allowed is 1 or more: "
                "0 lets an abandoned request hold a GPU for ever"
            )
        if self.drain_seconds < 1:
            wrong.append(
                f"drain_seconds is {self.drain_seconds}, allowed is 1 or more: the interceptor reads 0 as no limit"
            )
        if self.install == "manifests" and self.manifests is None:
            wrong.append("install is 'manifests' without a folder of manifests: set manifests=<folder>")
        if self.install != "manifests" and self.programs:
            wrong.append(f"programs are given, but install '{self.install}' uses published images")
        if wrong:
            raise ValueError("idle-scaling engine: " + "; ".join(wrong))

    @property
    def interceptor_grace_seconds(self) -> int:
        """Return more than the interceptor needs for everything after SIGTERM, so that it is never killed in the
        middle.
        """
        return self.shutdown_delay_seconds + self.drain_seconds + 10

    def interceptor_environment(self) -> dict[str, str]:
        """Return time-outs and connections of the interceptor. ``0s`` is 'none' for all time-outs but the two that are
        bounded on purpose.
        """
        return {
            "KEDA_HTTP_REQUEST_TIMEOUT": "0s",
            # the default of 300 s turns a slow answer without streaming into a 504
            "KEDA_HTTP_RESPONSE_HEADER_TIMEOUT": "0s",
            "KEDA_HTTP_READINESS_TIMEOUT": f"{self.readiness_seconds}s",
            "KEDA_HTTP_DRAIN_TIMEOUT": f"{self.drain_seconds}s",
            "KEDA_HTTP_SHUTDOWN_DELAY": f"{self.shutdown_delay_seconds}s",
            # No connection to a model is kept for the next request: a kept one leads to the replica it was made to, and
            # a new replica got no load until the old ones' connections ran short (Go: below 0 is none).
            "KEDA_HTTP_MAX_IDLE_CONNS_PER_HOST": "-1",
        }

    def scaler_environment(self) -> dict[str, str]:
        """Return the environment of the add-on's scaler."""
        return {"KEDA_HTTP_SCALER_STREAM_INTERVAL_MS": str(self.push_milliseconds)}

    def interceptor_pod_labels(self) -> dict[str, str]:
        """Return labels by which a NetworkPolicy knows the interceptor's pods; empty: any pod of the namespace."""
        if self.install == "helm":
            return {"app.kubernetes.io/name": "http-add-on", "app.kubernetes.io/component": "interceptor"}
        if self.install == "manifests":
            return {"app.kubernetes.io/instance": "interceptor", "app.kubernetes.io/part-of": "keda"}
        return {}
