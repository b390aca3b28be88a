"""Weeks of real time in a time zone, what KEDA's cron trigger makes of them, and what a window promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from components.idle_scaling.schedule import Window

DAY = 24 * 60
LENGTH = 35 * DAY
JUDGED = range(8 * DAY, 22 * DAY)
"""Far enough from both ends that the minute before and the trigger's next one after are inside, also if one is left
out."""


@dataclass(frozen=True)
class Time:
    """Each minute of real time as the clock on the wall shows it: its date's number and its minute of the day."""

    dates: tuple[int, ...]
    minutes: tuple[int, ...]
    turns: frozenset[int]
    """Where the clock jumps."""


@cache
def time(timezone: str, day: str) -> Time:
    """Five weeks around ``day``."""
    zone = ZoneInfo(timezone)
    first = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(days=15)
    shown = [(first + timedelta(minutes=minute)).astimezone(zone) for minute in range(LENGTH)]
    offsets = [moment.utcoffset() for moment in shown]
    return Time(
        tuple(moment.date().toordinal() for moment in shown),
        tuple(moment.hour * 60 + moment.minute for moment in shown),
        frozenset(at for at in range(1, LENGTH) if offsets[at] != offsets[at - 1]),
    )


def active(triggers: list[dict[str, Any]], now: Time) -> bytearray:
    """The minutes in which KEDA 2.20.2 calls any of the triggers active."""
    minutes = bytearray(LENGTH)
    for trigger in triggers:
        starts, ends = (set(_fires(trigger["metadata"][key], now)) for key in ("start", "end"))
        next_start = next_end = LENGTH
        for minute in range(LENGTH - 1, -1, -1):
            # pkg/scalers/cron_scaler.go: both are after now; inside is where the start is not before the end
            minutes[minute] |= next_start >= next_end
            next_start = minute if minute in starts else next_start
            next_end = minute if minute in ends else next_end
    return minutes


def _fires(line: str, now: Time) -> list[int]:
    """The minutes that a cron line names. A skipped one never comes, a repeated one twice, as in robfig/cron 3.0.1."""
    minute, hour, _, _, days = line.split()
    named = set(range(7)) if days == "*" else {int(day) for day in days.split(",")}
    of_day = int(hour) * 60 + int(minute)
    # day 1 of the calendar was a Monday, and cron calls a Sunday 0
    return [at for at in range(LENGTH) if now.minutes[at] == of_day and now.dates[at] % 7 in named]


def promised(window: Window, now: Time) -> bytearray:
    """The minutes that the window promises: from the first to the last whose clock is inside, and ``ahead`` before."""
    warm_minutes = bytearray(LENGTH)
    inside: dict[int, list[int]] = {}
    overnight = window.end <= window.start
    for at in range(LENGTH):
        date, minute = now.dates[at], now.minutes[at]
        if minute >= window.start and (overnight or minute < window.end):
            inside.setdefault(date, []).append(at)
        elif overnight and minute < window.end:
            inside.setdefault(date - 1, []).append(at)
    for date, minutes in inside.items():
        if (date - 1) % 7 in window.days:
            for at in range(max(0, minutes[0] - window.ahead), minutes[-1] + 1):
                warm_minutes[at] = 1
    return warm_minutes


def metadata(triggers: list[dict[str, Any]]) -> list[Mapping[str, str]]:
    return [trigger["metadata"] for trigger in triggers]
