"""Turns of batches: which of their lines may run now, on replicas that are awake and idle, or by a wake because their
deadline comes near. Pure decisions on plain values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ebbtide_batch.lines import Waiting

from .errors import NO_IDLE_REPLICA

# a wake that is begun too late costs a whole batch its result, one that is begun early costs some idle time
_MARGIN = 1.5
_SPARE = timedelta(minutes=5)
_MOST_ATTEMPTS = 5
_AGAIN_SECONDS = 5.0
_KEPT_WAITING_SECONDS = 30.0
# a key may be resumed, and who may not wake a model may use it once it is awake
_WAITS = frozenset({"key_suspended", "wake_not_allowed"})
FIRST_GUESS_SECONDS = 10.0
"""Seconds that a line takes, until some have been seen."""


@dataclass(frozen=True)
class ModelNow:
    """A model as one gateway knows it. ``awake``: a replica takes requests; ``busy``: people have requests in it, here
    or elsewhere; ``at_once``: lines that this gateway may have in it; ``in_flight``: those it has; ``wake_seconds``:
    how long a wake takes; ``line_seconds``: how long a line took lately.
    """

    awake: bool
    busy: bool
    at_once: int
    in_flight: int
    wake_seconds: float = 0.0
    line_seconds: float = FIRST_GUESS_SECONDS
    usd_per_hour: float | None = None

    @property
    def room(self) -> int:
        """Return how many more lines may be begun."""
        return max(0, self.at_once - self.in_flight)


@dataclass(frozen=True)
class Turn:
    """Lines to begin now for a model. ``rides``: on what is awake anyway, and never by a wake."""

    model: str
    batches: tuple[str, ...]
    most: int
    rides: bool


@dataclass(frozen=True)
class Forecast:
    """When the models of a batch are woken for it at the latest, if nobody else wakes them before; ``usd_per_hour``:
    what that costs. None: not known.
    """

    wakes_at: datetime
    seconds: float
    usd_per_hour: float | None

    def document(self) -> dict[str, Any]:
        """Return it for the batch's own page."""
        dollars = None if self.usd_per_hour is None else round(self.usd_per_hour * self.seconds / 3600, 4)
        moment = self.wakes_at.astimezone(UTC).isoformat(timespec="seconds")
        return {"wakes_at_the_latest": moment, "estimated_seconds": round(self.seconds), "estimated_dollars": dollars}


def forecast(waiting: Waiting, now: ModelNow) -> Forecast:
    """Return when a model has to be woken for a batch, by what is known of its wake and its lines."""
    seconds = waiting.open * now.line_seconds / max(1, now.at_once)
    needed = timedelta(seconds=(seconds + now.wake_seconds) * _MARGIN) + _SPARE
    return Forecast(waiting.deadline - needed, seconds, now.usd_per_hour)


def forecasts(waiting: Sequence[Waiting], models: Mapping[str, ModelNow]) -> dict[str, Forecast]:
    """Return the forecast of each batch: of its model that has to be woken first."""
    by_batch: dict[str, Forecast] = {}
    for each in waiting:
        if (now := models.get(each.model)) is None:
            continue
        theirs = forecast(each, now)
        if each.batch not in by_batch or theirs.wakes_at < by_batch[each.batch].wakes_at:
            by_batch[each.batch] = theirs
    return by_batch


def turns(waiting: Sequence[Waiting], models: Mapping[str, ModelNow], moment: datetime) -> list[Turn]:
    """Return what to begin, a model at a time. ``waiting``: the earliest deadline first. What has to run goes before
    what rides.
    """
    begun: list[Turn] = []
    # whose time is over is ended, not begun
    free = [each for each in waiting if each.free and each.deadline > moment]
    for name in dict.fromkeys(each.model for each in free):
        now = models.get(name)
        if now is None or not now.room:
            continue
        theirs = [each for each in free if each.model == name]
        forced = [each for each in theirs if has_to_run(each, now, moment)]
        if forced:
            begun.append(Turn(name, tuple(each.batch for each in forced), now.room, rides=False))
        elif now.awake and not now.busy:
            begun.append(Turn(name, tuple(each.batch for each in theirs), now.room, rides=True))
    return begun


def has_to_run(waiting: Waiting, now: ModelNow, moment: datetime) -> bool:
    """Return True if a model may be woken for a batch: its deadline is near, or it is off-peak."""
    return moment >= forecast(waiting, now).wakes_at or (
        waiting.off_peak is not None and is_off_peak(waiting.off_peak, moment)
    )


def is_off_peak(hours: Mapping[str, str], moment: datetime) -> bool:
    """Return True within the hours of a day from ``from`` to ``to`` in ``timezone``, over midnight if that is not
    later. Hours that are the same are the whole day.
    """
    clock = moment.astimezone(ZoneInfo(hours["timezone"])).strftime("%H:%M")
    start, to = hours["from"], hours["to"]
    return start <= clock < to if start < to else clock >= start or clock < to


def again_after(
    status: int, code: str | int | None, retry_after: float | None, attempts: int
) -> tuple[float, bool] | None:
    """Return after how many seconds a line is asked again, and whether it has been tried; None: that was its result.
    One that was only kept waiting, by a limit, a right to wake or a full engine, has not been tried; one with which an
    engine ended has.
    """
    if code == NO_IDLE_REPLICA:
        return _AGAIN_SECONDS, False
    if code in _WAITS or (status in (429, 503) and code != "engine_ended"):
        return retry_after or _KEPT_WAITING_SECONDS, False
    if status < 500 or attempts >= _MOST_ATTEMPTS:
        return None
    return _AGAIN_SECONDS * attempts, True
