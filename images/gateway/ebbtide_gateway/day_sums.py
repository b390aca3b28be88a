"""Tokens and dollars of a day and a month: sums that the database gave last, and of tokens what this process has
counted since. Pure.

A token that is counted here is also written to the database a moment later. It counts here until a sum that was asked
for after its writing has come, so it is in exactly one of the two.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from types import MappingProxyType

from .limits import Exceeded, Holder, exceeded

_CURRENT_SECONDS = 30.0
_FOLLOWED_SECONDS = 60.0
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Sums:
    """Tokens and dollars of a holder by day, from the first of a month on, as the database had them when it was
    asked.
    """

    asked: float
    days: Mapping[date, int]
    dollars: Mapping[date, float]


class DaySums:
    """Sums of the holders that ask, by their labels. ``wall``: seconds since 1970 (UTC), ``clock``: seconds that never
    jump.
    """

    def __init__(self, wall: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._clock = wall, clock
        self._sums: dict[str, Sums] = {}
        self._wanted: dict[str, float] = {}
        # counted here and not in the sums, and those of them that are written by now
        self._own: defaultdict[str, Counter[date]] = defaultdict(Counter)
        self._written: defaultdict[str, Counter[date]] = defaultdict(Counter)

    def today(self) -> date:
        """Return the day, UTC."""
        return datetime.fromtimestamp(self._wall(), UTC).date()

    def count(self, label: str, day: date, tokens: int) -> None:
        """Count tokens of a request that has ended and is to be written."""
        self._own[label][day] += tokens

    def written(self, label: str, day: date, tokens: int) -> None:
        """Note that the database has confirmed tokens that were counted."""
        self._written[label][day] += tokens
        if label not in self._sums:
            self._settle(label)

    def want(self, holder: Holder) -> bool:
        """Have a holder's sums kept for a minute from now on. Return True if those that are here are recent."""
        self._wanted[holder.label] = self._clock()
        return self.is_current(holder)

    def is_current(self, holder: Holder) -> bool:
        """Return True if the database has said a holder's sums lately."""
        sums = self._sums.get(holder.label)
        return sums is not None and self._clock() - sums.asked <= _CURRENT_SECONDS

    def wanted(self) -> list[str]:
        """Return the labels whose sums are to be asked for, and forget those that nobody has wanted for a minute."""
        now = self._clock()
        for label in [each for each, moment in self._wanted.items() if now - moment > _FOLLOWED_SECONDS]:
            del self._wanted[label]
            if self._sums.pop(label, None) is not None:
                self._settle(label)
        return list(self._wanted)

    def answered(
        self,
        asked: float,
        sums: Mapping[str, Mapping[date, int]],
        dollars: Mapping[str, Mapping[date, float]] = MappingProxyType({}),
    ) -> None:
        """Take the database's sums by label and day, from the month's first day on, also of holders that have none.
        Nothing may have been written while it was asked.
        """
        for label in sums.keys() & self._wanted.keys():
            self._sums[label] = Sums(asked, sums[label], dollars.get(label, {}))
            self._settle(label)

    def spent(self, label: str, since: date) -> int:
        """Return a holder's tokens from a day on."""
        known: list[Mapping[date, int]] = [self._sums[label].days] if label in self._sums else []
        own = [self._own[label]] if label in self._own else []
        return sum(tokens for days in (*known, *own) for day, tokens in days.items() if day >= since)

    def cost(self, label: str, since: date) -> float:
        """Return a holder's dollars from a day on, as far as they were charged."""
        days = self._sums[label].dollars if label in self._sums else {}
        return sum(dollars for day, dollars in days.items() if day >= since)

    def _settle(self, label: str) -> None:
        """Count no longer what was written: the sums have it, or will when they are asked for."""
        if label in self._written:
            self._own[label] -= self._written.pop(label)
            if not self._own[label]:
                del self._own[label]

    def exceeded(self, holder: Holder) -> list[Exceeded | None]:
        """Return a holder's limits of a day and a month that are used up."""
        if not holder.limits.is_summed_up:
            return []
        today, now = self.today(), self._wall()
        first = today.replace(day=1)

        def days_end() -> float:
            return _DAY_SECONDS - now % _DAY_SECONDS

        def months_end() -> float:
            return _month_ends(first) - now

        label = holder.label
        return [
            exceeded(holder, "tokens_per_day", self.spent(label, today), days_end),
            exceeded(holder, "tokens_per_month", self.spent(label, first), months_end),
            exceeded(holder, "dollars_per_day", self.cost(label, today), days_end),
            exceeded(holder, "dollars_per_month", self.cost(label, first), months_end),
        ]


def _month_ends(first: date) -> float:
    """Return the end of a month in seconds since 1970, UTC."""
    year, month = first.year + first.month // 12, first.month % 12 + 1
    return datetime(year, month, 1, tzinfo=UTC).timestamp()
