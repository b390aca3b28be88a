"""Clock changes in the week of a time zone: hours that spring skips and autumn repeats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

DAY: Final = 24 * 60
WEEK: Final = 7 * DAY

# Fixed years, so that one stack file means the same on every day. The database spells changes out until 2037 and
# repeats its last rule from there on.
_FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2038, 1, 1, tzinfo=UTC)
_NO_PLACES: Final = frozenset({"Factory", "localtime", "posixrules"})


@dataclass(frozen=True, order=True)
class Change:
    """Wall-clock minutes of the week (0 is Monday 00:00) from ``start`` to before ``end``, which may be past the week's
    end. ``skips``: there is no such hour on the day of the change; else it comes twice.
    """

    start: int
    end: int
    skips: bool

    @property
    def skips_a_midnight(self) -> bool:
        """Return True if a day begins later than at 00:00."""
        return self.skips and -(-self.start // DAY) * DAY < self.end


@cache
def timezones() -> frozenset[str]:
    """Return every name of the time zone database that stands for one zone everywhere."""
    return frozenset(available_timezones() - _NO_PLACES)


@cache
def changes(timezone: str) -> tuple[Change, ...]:
    """Return each hour of the week in which the clocks of ``timezone`` change at least once."""
    return tuple(sorted({_change(before, after) for before, after in _turns(ZoneInfo(timezone))}))


@cache
def winter_offset(timezone: str) -> int:
    """Return minutes ahead of UTC on the first of January 2026: enough to align weeks of several zones."""
    return _minutes(_FIRST.astimezone(ZoneInfo(timezone)))


def _turns(zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
    """Yield the moments before and at which the offset changes, a minute apart, in local time."""
    week = _FIRST.astimezone(zone)
    while week.astimezone(UTC) < _LAST:
        following = (week.astimezone(UTC) + timedelta(days=7)).astimezone(zone)
        if following.utcoffset() != week.utcoffset():
            yield _turn(week, following, zone)
        week = following


def _turn(low: datetime, high: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    before, after, first = low.astimezone(UTC), high.astimezone(UTC), low.utcoffset()
    while after - before > timedelta(minutes=1):
        middle = before + timedelta(minutes=(after - before) // timedelta(minutes=2))
        if middle.astimezone(zone).utcoffset() == first:
            before = middle
        else:
            after = middle
    return before.astimezone(zone), after.astimezone(zone)


def _change(before: datetime, after: datetime) -> Change:
    moved = _minutes(after) - _minutes(before)
    clock = _of_the_week(before) + 1  # what the old clock would have shown at the change
    start, end = (clock, clock + moved) if moved > 0 else (clock + moved, clock)
    start, end = start % WEEK, start % WEEK + end - start
    return Change(start, end, moved > 0)


def _minutes(moment: datetime) -> int:
    offset = moment.utcoffset()
    return 0 if offset is None else int(offset.total_seconds() // 60)


def _of_the_week(moment: datetime) -> int:
    return moment.weekday() * DAY + moment.hour * 60 + moment.minute
