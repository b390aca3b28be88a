"""Decisions about wakes: pure, made from the annotations of the model's ScaledObject, which hold all state there is.

Pausing at zero makes KEDA itself remove the pods, so that ``replicas`` keeps its one writer. The pause carries a mark:
a pause without it is someone else's, and such a model is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ebbtide_kube.wake_failure import ANNOTATION, WakeFailure, last_failure

from .model_state import ModelState

PAUSED_REPLICAS = "autoscaling.keda.sh/paused-replicas"
MARK, MARKED = "ebbtide.dev/paused-by", "wake-keeper"
_FOREIGN_PREFIX = "autoscaling.keda.sh/paused"
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 30, 600


@dataclass(frozen=True)
class Action:
    """Annotations to change; None removes one. ``failure`` is new and to be reported."""

    kind: Literal["nothing", "pause", "resume", "forget"]
    annotations: Mapping[str, str | None]
    failure: WakeFailure | None = None


NOTHING = Action("nothing", {})


def pause_seconds(failures: int) -> int:
    """Return how many seconds no wake is tried after this many failures in a row."""
    doublings = min(max(failures, 1) - 1, 10)
    return min(FIRST_PAUSE_SECONDS << doublings, LONGEST_PAUSE_SECONDS)


def decide(doing: ModelState, annotations: Mapping[str, str], now: datetime) -> Action:
    """Return the one next step. Once taken, deciding again gives ``nothing`` until time or the cluster moves on."""
    if somebody_elses(annotations):
        return NOTHING
    last = last_failure(annotations)
    if MARK in annotations:
        # a mark alone: someone removed the pause and wants a try now
        if PAUSED_REPLICAS in annotations and last is not None and now < last.until:
            return NOTHING
        return Action("resume", {PAUSED_REPLICAS: None, MARK: None})
    if doing.what == "failing" and doing.cause is not None:
        failures = 1 + (last.failures if last is not None else 0)
        moment = now.replace(microsecond=0)
        until = moment + timedelta(seconds=pause_seconds(failures))
        failure = WakeFailure(doing.cause.reason, doing.cause.message, moment, until, failures)
        return Action("pause", {PAUSED_REPLICAS: "0", MARK: MARKED, ANNOTATION: failure.text()}, failure)
    if doing.what == "ready" and ANNOTATION in annotations:
        return Action("forget", {ANNOTATION: None})
    return NOTHING


def somebody_elses(annotations: Mapping[str, str]) -> bool:
    """Return True if a pause is set that is not this program's."""
    ours = {PAUSED_REPLICAS: "0"} if annotations.get(MARK) == MARKED else {}
    pauses = {name: value for name, value in annotations.items() if name.startswith(_FOREIGN_PREFIX)}
    return any(ours.get(name) != value for name, value in pauses.items())
