"""Budgets of groups and keys: requests and tokens a minute, requests at once, wakes a day, and the models a group may
wake at all.

Each process counts its own and asks the wake keeper for the counts of the others (``SharedUsage``). The requests of a
process are gone with it, its wakes are not. Tokens of a day and a month: ``day_sums.py``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from ebbtide_kube.api import describe

from .day_sums import DaySums
from .errors import ApiError
from .limits import Exceeded, Holder, UsageLimits, exceeded, label_of, refuse
from .settings import Model

if TYPE_CHECKING:
    from .keys import Caller

ANY_MODEL = "*"
_DAY = 86_400
_MINUTE = 60.0
_FRESH_FOR_SECONDS = 10.0  # older counts of the others are ignored: a process then counts for itself
_OTHERS_RETRY_AFTER_SECONDS = 5.0
_CONCURRENCY_RETRY_AFTER_SECONDS = 2.0
_ASK_SECONDS = 2.0
_FRESH_SECONDS = 1.0
_FOLLOWED_SECONDS = 60.0
LATELY = ("requests", "tokens", "concurrent")
"""Counts of the last minute and of now, as the processes of the gateway hear them from one another."""
_log = logging.getLogger("ebbtide.gateway.elsewhere")


@dataclass(frozen=True)
class Group:
    """Group of keys. ``wake`` None: it may wake every model it may use. ``limits`` None: it has none of them.
    ``load_adapters``: models into which it may load adapters. ``admin``: its keys may make other groups' keys and read
    all usage.
    """

    name: str
    models: frozenset[str]
    wake: frozenset[str] | None = None
    limits: UsageLimits | None = None
    load_adapters: frozenset[str] = frozenset()
    admin: bool = False

    def may_use(self, model: str) -> bool:
        """Return True if its keys may ask this model (its name, not an alias)."""
        return _names(self.models, model)

    def may_wake(self, model: str) -> bool:
        """Return True if its keys may ask this model while it sleeps."""
        return self.may_use(model) and (self.wake is None or _names(self.wake, model))


def _names(rights: Collection[str], model: str) -> bool:
    """Return True if a list of rights has the model, or what stands for it: ``*``, and ``MODEL/*`` for adapters that a
    call loaded into one."""
    base, slash, _ = model.partition("/")
    return ANY_MODEL in rights or model in rights or (bool(slash) and f"{base}/{ANY_MODEL}" in rights)


class LastMinute:
    """Amounts of the last 60 seconds, each with its moment, by a clock that never jumps."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, int]] = deque()
        self._total = 0

    def add(self, now: float, amount: int) -> None:
        """Add an amount."""
        self._entries.append((now, amount))
        self._total += amount

    def total(self, now: float) -> int:
        """Return the sum, and forget what is older."""
        while self._entries and now - self._entries[0][0] >= _MINUTE:
            self._total -= self._entries.popleft()[1]
        return self._total

    def peek(self, now: float) -> int:
        """Return the sum for another thread: it reads a copy and discards nothing."""
        return sum(amount for moment, amount in tuple(self._entries) if now - moment < _MINUTE)

    def below(self, most: int, others: int, now: float) -> float:
        """Return the seconds until so much is a minute old that the rest, with that of ``others``, is below ``most``.
        What the others have leaves at a time that is not known here.
        """
        rest = self.total(now) + others
        for moment, amount in self._entries:
            rest -= amount
            if rest < most:
                return _MINUTE - (now - moment)
        return _OTHERS_RETRY_AFTER_SECONDS


class Budgets:
    """Counts of this process's requests, tokens and wakes, by the labels of groups and keys. ``wall``: seconds since
    1970 (UTC), ``clock``: seconds that never jump.
    """

    def __init__(self, wall: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._clock = wall, clock
        self.sums = DaySums(wall, clock)
        self._requests: dict[str, LastMinute] = {}
        self._tokens: dict[str, LastMinute] = {}
        self._at_once: Counter[str] = Counter()
        self._day = 0
        self._wakes: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self._beside: dict[str, Counter[str]] = {name: Counter() for name in LATELY}
        self._updated = -math.inf
        self.process = secrets.token_hex(8)

    def ask(self, caller: Caller) -> None:
        """Count a request. Raises ``ApiError`` 429 if its group or its key has used up a limit, here and in the other
        processes together; such a request is not counted.
        """
        holders = caller.holders
        if not holders:
            return
        now = self._clock()
        refuse(limit for holder in holders for limit in (*self._lately(holder, now), *self.sums.exceeded(holder)))
        for holder in holders:
            if holder.limits.requests_per_minute is not None:
                self._requests.setdefault(holder.label, LastMinute()).add(now, 1)

    def _lately(self, holder: Holder, now: float) -> Iterator[Exceeded | None]:
        """Yield what is used up of the last minute and of now."""
        limits = holder.limits
        if limits.requests_per_minute is not None:
            yield self._minute("requests_per_minute", holder, self._requests, "requests", now)
        if limits.tokens_per_minute is not None:
            yield self._minute("tokens_per_minute", holder, self._tokens, "tokens", now)
        if limits.concurrent_requests is not None:
            used = self._at_once[holder.label] + self._elsewhere("concurrent", holder, now)
            yield exceeded(holder, "concurrent_requests", used, lambda: _CONCURRENCY_RETRY_AFTER_SECONDS)

    def _minute(
        self, limit: str, holder: Holder, counts: Mapping[str, LastMinute], what: str, now: float
    ) -> Exceeded | None:
        own, others = counts.get(holder.label, LastMinute()), self._elsewhere(what, holder, now)
        most = getattr(holder.limits, limit)
        return exceeded(holder, limit, own.total(now) + others, lambda: own.below(most, others, now))

    def _elsewhere(self, what: str, holder: Holder, now: float) -> int:
        return self._beside[what][holder.label] if now - self._updated <= _FRESH_FOR_SECONDS else 0

    @contextmanager
    def at_once(self, caller: Caller) -> Iterator[None]:
        """Count a request that was let in as one of those at once."""
        labels = [each.label for each in caller.holders if each.limits.concurrent_requests is not None]
        self._at_once.update(labels)
        try:
            yield
        finally:
            # none of them stays that has no request
            self._at_once -= Counter(labels)

    def used(self, caller: Caller, tokens: int) -> None:
        """Count tokens of a request that has ended: before that nobody knows them."""
        for holder in caller.holders:
            if holder.limits.tokens_per_minute is not None and tokens:
                self._tokens.setdefault(holder.label, LastMinute()).add(self._clock(), tokens)

    def beside(self, counts: Mapping[str, Any]) -> None:
        """Store the wake keeper's counts of all processes: ``{"requests": {process: {label: those of 60 s}}}``, and
        ``tokens`` and ``concurrent`` like it.
        """
        self._beside = {what: self._of_others(counts[what]) for what in LATELY}
        self._updated = self._clock()

    def _of_others(self, counts: Mapping[str, Mapping[str, int]]) -> Counter[str]:
        return sum((Counter(labels) for process, labels in counts.items() if process != self.process), Counter())

    def lately(self) -> Mapping[str, Mapping[str, int]]:
        """Return this process's counts as the others need them, of the holders with such a limit. Called from another
        thread, so it reads copies and discards nothing.
        """
        now = self._clock()
        return {
            "requests": {label: minute.peek(now) for label, minute in dict(self._requests).items()},
            "tokens": {label: minute.peek(now) for label, minute in dict(self._tokens).items()},
            "concurrent": dict(self._at_once),
        }

    def may_wake(self, caller: Caller, model: Model, groups: Collection[Group]) -> None:
        """Raise ``ApiError`` 403 without the right to wake this model, 429 when today's wakes are used up."""
        if not caller.rights.may_wake(model.public_name):
            raise not_allowed(caller.rights, model, groups)
        today = self._today()
        for holder in caller.holders:
            most = holder.limits.max_wakes_per_day
            if most is not None and today[holder.label] + self._others[holder.label] >= most:
                message = (
                    f"model {model.engine_name!r} sleeps, and {holder} may wake models {most} time(s) a day "
                    "(UTC), which it has; models that are awake still answer"
                )
                raise ApiError(429, "wake_budget", message, retry_after=_DAY - self._wall() % _DAY)

    def wake(self, caller: Caller, model: Model, groups: Collection[Group]) -> None:
        """Count a wake that begins now. Raises as ``may_wake`` does: another request may have taken the last one."""
        self.may_wake(caller, model, groups)
        limited = {each.label for each in caller.holders if each.limits.max_wakes_per_day is not None}
        self._today().update({label_of("group", caller.group)} | limited)

    def elsewhere(self, counts: Mapping[str, Any]) -> None:
        """Store the wake keeper's counts of all processes: ``{"day": …, "wakes": {process: {label: wakes}}}``. Counts
        of another day are ignored: this process's midnight is not quite the keeper's.
        """
        self._today()
        if counts["day"] == self._day:
            self._others = self._of_others(counts["wakes"])

    def begun(self) -> tuple[int, Mapping[str, int]]:
        """Return a day in days since 1970, and the wakes of each label that were begun on it here. Called from another
        thread, so it begins no new day.
        """
        return self._day, dict(self._wakes)

    def _today(self) -> Counter[str]:
        day = math.floor(self._wall() / _DAY)
        if day != self._day:
            self._day, self._wakes, self._others = day, Counter(), Counter()
        return self._wakes


def not_allowed(group: Group, model: Model, groups: Collection[Group]) -> ApiError:
    """Return the 403 that names the groups that may wake the model instead."""
    who = sorted(other.name for other in groups if other.may_wake(model.public_name))
    ask = f"ask somebody with a key of group {' or '.join(who)}" if who else "no group may wake it"
    message = f"model {model.engine_name!r} sleeps, and group {group.name!r} may use it only while it is awake; {ask}"
    return ApiError(403, "wake_not_allowed", message)


class SharedUsage:
    """Usage in the other processes, read from the wake keeper. ``keeper`` is its address, None if there is none."""

    def __init__(
        self,
        keeper: str | None,
        budgets: Budgets,
        client: httpx.AsyncClient | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._keeper = keeper
        self._budgets = budgets
        self._client = client or httpx.AsyncClient(trust_env=False, timeout=_ASK_SECONDS)
        self._clock, self._pause = clock, pause
        self._wanted = -math.inf
        self._following: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()

    async def wakes(self) -> None:
        """Update the budgets with the wakes that other processes have begun. Never raises."""
        await self._learn("wakes", self._budgets.elsewhere)

    async def follow(self) -> None:
        """Have the budgets know for a minute from now on what the other processes have used lately. Waits for the first
        answer alone, or until it fails; never raises.
        """
        if self._keeper is None:
            return
        self._wanted = self._clock()
        if self._following is None or self._following.done():
            self._heard = asyncio.Event()
            self._following = asyncio.create_task(self._follow(self._heard))
        if not self._heard.is_set():
            await self._heard.wait()

    async def _follow(self, heard: asyncio.Event) -> None:
        try:
            while self._clock() - self._wanted <= _FOLLOWED_SECONDS:
                await self._learn("requests", self._budgets.beside)
                heard.set()
                await self._pause(_FRESH_SECONDS)
        finally:
            heard.set()

    async def _learn(self, what: str, tell: Callable[[dict[str, Any]], None]) -> None:
        if self._keeper is None:
            return
        try:
            answer = await self._client.get(f"{self._keeper}/{what}")
            answer.raise_for_status()
            tell(answer.json())
        except (httpx.HTTPError, LookupError, ValueError, TypeError, AttributeError) as problem:
            _log.warning("the wake keeper does not say which %s others have had: %s", what, describe(problem))
