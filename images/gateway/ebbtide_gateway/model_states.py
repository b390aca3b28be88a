"""States of the models, as ``/v1/models`` and the comments in a held stream tell them. Never a name of a node or a pod:
only words of this module and the wake keeper's reason are passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ebbtide_kube.wake_failure import failure_in_force
from ebbtide_kube.wake_progress import WakeProgress, current_wake, expected_seconds, last_wakes

from .guard import Usage, WakeGuard
from .settings import Model
from .upstream_call import Call

_ROOM, _FIRST_TOKEN, _UNKNOWN = "room", "first-token", "unknown"


class ModelStates:
    """What is known of each model. ``observe`` returns what the cluster's workloads show, ``scaled`` the ScaledObjects
    by model name; either returns None while the cluster cannot be read.
    """

    def __init__(
        self,
        guard: WakeGuard,
        observe: Callable[[], Usage | None],
        scaled: Callable[[], Mapping[str, Mapping[str, Any]] | None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._guard = guard
        self._observe = observe
        self._scaled = scaled
        self._clock = clock

    def described(self, model: Model) -> dict[str, Any]:
        """Return the object ``ebbtide`` of a model in the models list. Times are in seconds; None: not known."""
        annotations, now = self._annotations(model), self._clock()
        state, wake, reason = self._state(model), None, None
        if (failure := failure_in_force(annotations, now)) is not None:
            state, reason = "failing", failure.reason
        elif state == "waking":
            wake = self._wake(model, annotations, now)
        last = last_wakes(annotations)
        return {
            "state": state,
            "phase": wake.phase if wake is not None else None,
            "seconds": _since(wake, now),
            "estimate_seconds": _whole(expected_seconds(last, model.wake_seconds, wake)),
            "reason": reason,
            "usd_per_hour": model.usd_per_hour,
            "last_wakes_seconds": [round(sum(each.values())) for each in last],
        }

    def comment(self, call: Call, held_seconds: float) -> bytes:
        """Return the comment for a request that has waited ``held_seconds`` for its first byte."""
        model, now = call.model, self._clock()
        state, annotations = self._state(model), self._annotations(model)
        wake = self._wake(model, annotations, now) if state == "waking" else None
        seconds = _since(wake, now)
        estimate: float | None = None
        if state == "asleep" and not self._guard.has_room(model):
            phase = _ROOM
        elif state in ("asleep", "waking"):
            phase = wake.phase if wake is not None else "decision"
            estimate = expected_seconds(last_wakes(annotations), model.wake_seconds, wake)
        else:
            phase = _FIRST_TOKEN if state == "awake" else _UNKNOWN
        passed = round(held_seconds) if seconds is None else seconds
        estimated = _UNKNOWN if estimate is None else str(_whole(estimate))
        return f": ebbtide phase={phase} seconds={passed} estimate={estimated}\n\n".encode()

    def _state(self, model: Model) -> str:
        usage = self._observe()
        if usage is None:
            return _UNKNOWN
        if usage.replicas.get(model.name, 0) == 0:
            return "asleep"
        return "awake" if usage.ready.get(model.name, 0) else "waking"

    def _annotations(self, model: Model) -> Mapping[str, str]:
        return (self._scaled() or {}).get(model.name, {}).get("metadata", {}).get("annotations") or {}

    def _wake(self, model: Model, annotations: Mapping[str, str], now: datetime) -> WakeProgress | None:
        """Return the wake that goes on. One older than the longest hold was left there by a keeper that is gone."""
        wake = current_wake(annotations)
        too_old = wake is not None and (now - wake.began).total_seconds() > model.hold_seconds
        return None if too_old else wake


def _since(wake: WakeProgress | None, now: datetime) -> int | None:
    return None if wake is None else max(0, round((now - wake.began).total_seconds()))


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)
