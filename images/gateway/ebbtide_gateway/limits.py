"""Limits of a group or a key, and the refusal of a request that one of them does not allow. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .errors import ApiError

Kind = Literal["group", "key"]


@dataclass(frozen=True, slots=True)
class UsageLimits:
    """What a group or a key may use at most, over all gateways; None: no limit. Days and months are UTC's."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    concurrent_requests: int | None = None
    max_wakes_per_day: int | None = None
    dollars_per_day: float | None = None
    dollars_per_month: float | None = None

    @property
    def counts_dollars(self) -> bool:
        """Return True if it has to be charged what the requests cost."""
        return self.dollars_per_day is not None or self.dollars_per_month is not None

    @property
    def is_summed_up(self) -> bool:
        """Return True if the database has to be asked for sums of days."""
        return self.tokens_per_day is not None or self.tokens_per_month is not None or self.counts_dollars


def limits_of(values: Mapping[str, Any]) -> UsageLimits | None:
    """Return the limits that are there by their fields' names; None if there are none, so that no request is counted
    for nothing.
    """
    limits = UsageLimits(**{name: value for name, value in values.items() if value is not None})
    return None if limits == UsageLimits() else limits


@dataclass(frozen=True, slots=True)
class Holder:
    """Group or key that has limits. ``id`` stays a key's when it is renewed, and is no other key's later."""

    kind: Kind
    id: str
    name: str
    limits: UsageLimits

    @property
    def label(self) -> str:
        """Return what tells it from every other holder."""
        return label_of(self.kind, self.id)

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"


def label_of(kind: Kind, name: str) -> str:
    """Return the label of a group by its name, or of a key by its id."""
    return f"{kind}:{name}"


@dataclass(frozen=True, slots=True)
class Exceeded:
    """Limit that is used up. ``retry_after``: seconds until it may allow a request again."""

    holder: Holder
    code: str
    message: str
    retry_after: float


_WORDS = {
    "requests_per_minute": ("request_limit", "may send {most} request(s) a minute, and has"),
    "tokens_per_minute": ("token_limit", "may use {most} token(s) a minute, and has used {used}"),
    "tokens_per_day": ("daily_token_limit", "may use {most} token(s) a day (UTC), and has used {used}"),
    "tokens_per_month": ("monthly_token_limit", "may use {most} token(s) a month (UTC), and has used {used}"),
    "dollars_per_day": ("daily_dollar_limit", "may cost {most:.2f} dollars a day (UTC), and has cost {used:.2f}"),
    "dollars_per_month": ("monthly_dollar_limit", "may cost {most:.2f} dollars a month (UTC), and has cost {used:.2f}"),
    "concurrent_requests": ("concurrency_limit", "may have {most} request(s) at once, and has {used}"),
}


def exceeded(holder: Holder, limit: str, used: float, retry_after: Callable[[], float]) -> Exceeded | None:
    """Return a limit by its field's name if it is used up; None if it is not, or if there is none."""
    most = getattr(holder.limits, limit)
    if most is None or used < most:
        return None
    code, words = _WORDS[limit]
    return Exceeded(holder, code, f"{holder} {words.format(most=most, used=used)}", retry_after())


def refuse(limits: Iterable[Exceeded | None]) -> None:
    """Raise ``ApiError`` 429 for the limit that holds longest: who waits for it is not refused for another one then."""
    longest = max(filter(None, limits), key=lambda each: each.retry_after, default=None)
    if longest is not None:
        raise ApiError(429, longest.code, longest.message, retry_after=longest.retry_after)
