"""Windows of time in which a stack file keeps a model, from its hours on days of the week."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from .ledger.records import WarmWindow
from .lives import microseconds

_DAY = 1440


@dataclass(frozen=True)
class Hours:
    """``replicas`` of ``model`` are kept on ``days`` (0 is Monday) from minute ``start`` of the day to ``end``, on the
    next day if that is not later, by the clock of ``timezone``. They are started ``ahead`` minutes before.
    """

    model: str
    replicas: int
    days: Sequence[int]
    start: int
    end: int
    timezone: str
    ahead: int


def windows(hours: Hours, since: datetime, until: datetime) -> Iterator[WarmWindow]:
    """Yield the windows that a period has a part of. Those that touch are one: the model is kept on between them."""
    zone = ZoneInfo(hours.timezone)
    day = since.astimezone(zone).date() - timedelta(days=2)
    last = until.astimezone(zone).date() + timedelta(days=2)
    length = hours.end - hours.start if hours.end > hours.start else hours.end + _DAY - hours.start
    window: WarmWindow | None = None
    while day <= last:
        if day.weekday() in hours.days:
            start = microseconds(_at(day, hours.start, zone) - timedelta(minutes=hours.ahead))
            end = microseconds(_at(day, hours.start + length, zone))
            if window is not None and start <= window.end:
                window = replace(window, end=max(window.end, end))
            else:
                yield from _within(window, since, until)
                window = WarmWindow(hours.model, start, end, hours.replicas)
        day += timedelta(days=1)
    yield from _within(window, since, until)


def _within(window: WarmWindow | None, since: datetime, until: datetime) -> Iterator[WarmWindow]:
    if window is not None and window.start < microseconds(until) and window.end > microseconds(since):
        yield window


def _at(day: date, minute: int, zone: ZoneInfo) -> datetime:
    """Return a minute of a day by the clock on the wall there, as UTC."""
    clock = datetime(day.year, day.month, day.day) + timedelta(minutes=minute)
    return clock.replace(tzinfo=zone).astimezone(UTC)
