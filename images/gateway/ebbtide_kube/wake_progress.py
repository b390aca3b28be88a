"""Wake in progress and last wakes of a model: the keeper writes them on its ScaledObject, the gateway reads them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

ANNOTATION = "ebbtide.dev/wake"
LAST_WAKES = "ebbtide.dev/last-wakes"
MOST_KEPT = 5

Phase = Literal["decision", "node", "image", "engine"]
"""Phases that pods alone show. ``decision``: no pod yet. ``node``: until a machine with a driver has room for it.
``image``: until its container runs. ``engine``: until it answers, which includes reading the weights.
"""
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)

NODE_MADE_SECONDS = 20.0
"""A pod that waited longer for its node waited for a new one."""


@dataclass(frozen=True)
class WakeProgress:
    """Wake that began at ``began`` and is in ``phase`` since ``since``. ``done``: seconds of the phases that are over.
    ``teaches``: it began from no replica and never went back, so its seconds say how long the next one takes.
    """

    phase: Phase
    began: datetime
    since: datetime
    done: Mapping[Phase, float] = field(default_factory=dict)
    teaches: bool = False

    def text(self) -> str:
        """Return the value of the annotation."""
        times = {"began": _written(self.began), "since": _written(self.since)}
        return json.dumps({"phase": self.phase, **times, "done": dict(self.done), "teaches": self.teaches})

    def advanced(self, phase: Phase, now: datetime) -> WakeProgress:
        """Return the progress once the wake is seen in ``phase``, which may be an earlier one: a pod went away."""
        if phase == self.phase:
            return self
        before = PHASES.index(phase)
        done = {name: seconds for name, seconds in self.done.items() if PHASES.index(name) < before}
        if PHASES.index(self.phase) > before:
            return WakeProgress(phase, self.began, now, done)
        return WakeProgress(phase, self.began, now, {**done, self.phase: self._spent(now)}, self.teaches)

    def finished(self, now: datetime) -> Mapping[Phase, float] | None:
        """Return the seconds by phase of a wake that is over; None if they teach nothing."""
        return {**self.done, self.phase: self._spent(now)} if self.teaches else None

    def _spent(self, now: datetime) -> float:
        return round(max(0.0, (now - self.since).total_seconds()), 1)


def current_wake(annotations: Mapping[str, str]) -> WakeProgress | None:
    """Return the wake in an annotation; None if there is none or it cannot be read."""
    try:
        record = json.loads(annotations[ANNOTATION])
        began, since = (datetime.fromisoformat(record[name]) for name in ("began", "since"))
        if record["phase"] not in PHASES or began.tzinfo is None or since.tzinfo is None:
            return None
        return WakeProgress(record["phase"], began, since, _seconds(record["done"]), record["teaches"] is True)
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def last_wakes(annotations: Mapping[str, str]) -> tuple[Mapping[Phase, float], ...]:
    """Return the seconds by phase of the last wakes, the latest last; none if the annotation cannot be read."""
    try:
        return tuple(_seconds(each) for each in json.loads(annotations[LAST_WAKES]))[-MOST_KEPT:]
    except (KeyError, ValueError, TypeError, AttributeError):
        return ()


def last_wakes_text(wakes: Sequence[Mapping[Phase, float]]) -> str:
    """Return the value of the annotation."""
    return json.dumps([dict(each) for each in wakes[-MOST_KEPT:]])


def expected_seconds(
    last: Sequence[Mapping[Phase, float]], planned: Mapping[Phase, float], now_in: WakeProgress | None = None
) -> float | None:
    """Return how long the whole wake should take: of each phase to come the median of the last wakes, without any the
    planned seconds, and what it has taken so far. None where a phase to come has neither.

    Once a pod has its node, only wakes that needed a new node as well, or did not either, are its like; a node that was
    there is planned to have the image.
    """
    phase = now_in.phase if now_in is not None else PHASES[0]
    if now_in is not None and phase not in ("decision", "node"):
        needed_node = _made_a_node(now_in.done)
        last = [each for each in last if _made_a_node(each) == needed_node]
        planned = planned if needed_node else {**planned, "image": 0.0}
    total = (now_in.since - now_in.began).total_seconds() if now_in is not None else 0.0
    for name in PHASES[PHASES.index(phase) :]:
        seconds = statistics.median(each.get(name, 0.0) for each in last) if last else planned.get(name)
        if seconds is None:
            return None
        total += seconds
    return total


def _made_a_node(done: Mapping[Phase, float]) -> bool:
    return done.get("node", 0.0) > NODE_MADE_SECONDS


def _seconds(record: Mapping[str, Any]) -> dict[Phase, float]:
    seconds = {name: max(0.0, float(record[name])) for name in PHASES if name in record.keys()}  # noqa: SIM118
    if math.inf in seconds.values():
        raise ValueError("no length of time")
    return seconds


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
