"""What Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

STATES = ("asleep", "loading", "ready", "failing", "held_off")
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Wakes, their failures, and what each model is doing; all there from the start, at 0."""

    def __init__(self, models: Iterable[str], reasons: Iterable[str]) -> None:
        self._registry = CollectorRegistry()
        self._wakes = Counter("ebbtide_wakes", "Wakes begun", ["model"], registry=self._registry)
        self._failures = Counter(
            "ebbtide_wake_failures", "Wakes given up", ["model", "reason"], registry=self._registry
        )
        self._state = Gauge(
            "ebbtide_model_state", "1 for what the model is doing", ["model", "state"], registry=self._registry
        )
        for model in models:
            self._wakes.labels(model)
            for reason in reasons:
                self._failures.labels(model, reason)

    def woken(self, model: str) -> None:
        """A wake began."""
        self._wakes.labels(model).inc()

    def failed(self, model: str, reason: str) -> None:
        """One was given up."""
        self._failures.labels(model, reason).inc()

    def state(self, model: str, now: str) -> None:
        """``now`` is one of ``STATES``."""
        for state in STATES:
            self._state.labels(model, state).set(state == now)

    def text(self) -> bytes:
        """The exposition."""
        return bytes(generate_latest(self._registry))
