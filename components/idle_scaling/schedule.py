"""Keep-warm windows: the hours in which some replicas of a model run, with requests or without.

KEDA's ``cron`` trigger (2.20.2) has no notion of a window: it takes the next start and the next end, each on the wall
clock of the time zone, and calls the model active while the end comes first. A trigger that is not active reports 0, so
a window ends like any use: KEDA's cooldown, the idle TTL, begins with it. Beside the push trigger the two are an *or*
for waking, and the larger number of replicas counts. The errors of a plain pair of cron lines are avoided here:

- **Clocks that change.** A start or end inside the hour that spring skips does not come on that day, and the model
  would stay awake (or asleep) until the next one, for a week at worst. Inside the hour that autumn repeats it comes
  twice. So none is ever put there: on that day of the week a start moves before the hour, an end behind it.
- **``ahead`` across a spring change** would be an hour short: it is lengthened by that hour.
- **Windows that meet**, across midnight or by ``ahead``, would hide each other's end: they are joined first.
- **Clocks that skip midnight** (the Azores, Cairo, Santiago) **or move by half an hour** (Lord Howe): the cron library
  (robfig/cron 3.0.1) loses that day or takes it for the one before. ``is_misread`` reports it; there is no remedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from components.idle_scaling.clocks import DAY, WEEK, Change, changes

ALL_DAYS: Final = frozenset(range(7))
_CRON_DAYS: Final = (1, 2, 3, 4, 5, 6, 0)  # cron's week begins with Sunday


@dataclass(frozen=True, kw_only=True)
class Window:
    """Window of the week: ``replicas`` run from minute ``start`` of each of ``days`` (0 is Monday) to minute ``end``,
    on the next day if that is not later; they are started ``ahead`` minutes before. ``end`` may be 1440, the end of the
    day.

    Raises ``ValueError`` naming every value that cannot work.
    """

    days: frozenset[int]
    start: int
    end: int
    timezone: str
    replicas: int = 1
    ahead: int = 0

    def __post_init__(self) -> None:
        wrong = []
        if not self.days or not self.days <= ALL_DAYS:
            wrong.append(f"days are {sorted(self.days)}, allowed is one or more of 0..6")
        if not 0 <= self.start < DAY or not 0 <= self.end <= DAY or self.start == self.end:
            wrong.append(f"it is from minute {self.start} to {self.end}, allowed are two different ones of a day")
        if self.replicas < 1:
            wrong.append(f"replicas is {self.replicas}, allowed is 1 or more")
        if not 0 <= self.ahead <= DAY:
            wrong.append(f"ahead is {self.ahead} minutes, allowed is 0..{DAY}")
        if wrong:
            raise ValueError("keep-warm window: " + "; ".join(wrong))


@dataclass(frozen=True, order=True)
class Span:
    """Wall-clock minutes of the week, 0 is Monday 00:00: from ``start`` in this week to before ``end``, perhaps in the
    next."""

    start: int
    end: int


@cache
def spans(window: Window) -> tuple[Span, ...]:
    """Return when KEDA holds the window's replicas: apart from each other, never beginning or ending where clocks
    change.

    One span of a whole week if there is no moment without.
    """
    clocks = sorted(
        Change(change.start + week, change.end + week, change.skips)
        for change in changes(window.timezone)
        for week in (-WEEK, 0, WEEK)
    )
    covered = bytearray(WEEK)
    for day in window.days:
        for minute in range(*_day(day * DAY + window.start, window, clocks)):
            covered[minute % WEEK] = 1
    if all(covered):
        return (Span(0, WEEK),)
    starts = [minute for minute in range(WEEK) if covered[minute] and not covered[minute - 1]]
    twice = covered + covered
    return tuple(Span(start, twice.index(0, start)) for start in starts)


def is_always(window: Window) -> bool:
    """Return True if the window never ends: a ``min`` says that, no cron line can."""
    return spans(window) == (Span(0, WEEK),)


def is_misread(window: Window) -> bool:
    """Return True if KEDA would keep the window at wrong hours for a day or a week of each year, because its clocks
    move.

    A skipped midnight does no harm where the lines name every day, because no date is looked at then.
    """
    clocks = changes(window.timezone)
    if any((change.end - change.start) % 60 for change in clocks):
        return True
    daily = all(len(same) == len(ALL_DAYS) for same in _alike(window).values())
    return not daily and any(change.skips_a_midnight for change in clocks)


def cron_triggers(windows: Iterable[Window]) -> list[dict[str, Any]]:
    """Return KEDA's ``cron`` triggers: one for each start and end that days of a window have in common."""
    return [
        {
            "type": "cron",
            "metadata": {
                "timezone": window.timezone,
                "start": _line(start, {span.start // DAY for span in same}),
                "end": _line(end, {span.end // DAY % 7 for span in same}),
                "desiredReplicas": str(window.replicas),
            },
        }
        for window in windows
        for (start, end), same in sorted(_alike(window).items())
    ]


def _alike(window: Window) -> Mapping[tuple[int, int], list[Span]]:
    alike: dict[tuple[int, int], list[Span]] = {}
    for span in spans(window):
        alike.setdefault((span.start % DAY, span.end % DAY), []).append(span)
    return alike


def _line(minute: int, days: set[int]) -> str:
    """Return the cron line: minute, hour, any day of any month, days of the week."""
    named = "*" if days == ALL_DAYS else ",".join(str(day) for day in sorted(_CRON_DAYS[day] for day in days))
    return f"{minute % 60} {minute // 60} * * {named}"


def _day(start: int, window: Window, clocks: Sequence[Change]) -> tuple[int, int]:
    """Return one day's window, begun ``ahead`` and moved away from where clocks change. ``clocks`` in order: hours of
    change may lie side by side (Santiago), and a time moved out of one must not stop in the other."""
    begun, ended = start - window.ahead, start + ((window.end - window.start) % DAY or DAY)
    for change in clocks:
        if change.skips and change.start < start and begun < min(start, change.end):
            begun -= change.end - change.start
    for change in reversed(clocks):
        if change.start <= begun < change.end:
            begun = change.start - 1
    for change in clocks:
        if change.start <= ended < change.end:
            ended = change.end
    return begun, ended
