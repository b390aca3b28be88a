"""Metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

STATES = ("asleep", "loading", "ready", "failing", "held_off")
CONTENT_TYPE = CONTENT_TYPE_LATEST
_MOVE_SECONDS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)


class Metrics:
    """Wakes and their failures, there from the start at 0, and what each model is doing."""

    def __init__(self, models: Iterable[str], reasons: Iterable[str]) -> None:
        self._registry = CollectorRegistry()
        self._wakes = Counter("ebbtide_wakes", "Wakes begun", ["model"], registry=self._registry)
        self._failures = Counter(
            "ebbtide_wake_failures", "Wakes given up", ["model", "reason"], registry=self._registry
        )
        self._state = Gauge(
            "ebbtide_model_state", "1 for what the model is doing", ["model", "state"], registry=self._registry
        )
        self._moves = Histogram(
            "ebbtide_engine_move_seconds",
            "How long an engine took to give or take the card it shares; falling asleep with its last answers",
            ["model", "move"],
            buckets=_MOVE_SECONDS,
            registry=self._registry,
        )
        self._engines_asleep = Gauge(
            "ebbtide_engines_asleep", "Engines that sleep in main memory", ["model"], registry=self._registry
        )
        for model in models:
            self._wakes.labels(model)
            for reason in reasons:
                self._failures.labels(model, reason)

    def woken(self, model: str) -> None:
        """Count a wake that began."""
        self._wakes.labels(model).inc()

    def failed(self, model: str, reason: str) -> None:
        """Count a wake that was given up."""
        self._failures.labels(model, reason).inc()

    def state(self, model: str, now: str) -> None:
        """Set the model's state to ``now``, one of ``STATES``."""
        for state in STATES:
            self._state.labels(model, state).set(state == now)

    def moved(self, model: str, move: str, seconds: float) -> None:
        """Record the seconds in which an engine began, woke or fell asleep."""
        self._moves.labels(model, move).observe(seconds)

    def engines_asleep(self, model: str, count: int) -> None:
        """Set how many engines sleep now."""
        self._engines_asleep.labels(model).set(count)

    def text(self) -> bytes:
        """Return the exposition."""
        return bytes(generate_latest(self._registry))
