"""Budgets of a group: requests a minute, wakes a day, and the models it may wake at all.

Each process counts its own and asks the wake keeper for the counts of the others (``SharedUsage``). The requests of a
process are gone with it, its wakes are not.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from ebbtide_kube.api import describe

from .errors import ApiError
from .settings import Model

ANY_MODEL = "*"
_DAY = 86_400
_MINUTE = 60.0
_FRESH_FOR_SECONDS = 10.0  # older counts of the others are ignored: a process then counts for itself
_OTHERS_RETRY_AFTER_SECONDS = 5.0
_ASK_SECONDS = 2.0
_FRESH_SECONDS = 1.0
_log = logging.getLogger("ebbtide.gateway.elsewhere")


@dataclass(frozen=True)
class Group:
    """Group of keys. ``wake`` None: it may wake every model it may use. A limit of None: no limit. ``load_adapters``:
    models into which it may load adapters. ``admin``: its keys may make other groups' keys and read all usage.
    """

    name: str
    models: frozenset[str]
    wake: frozenset[str] | None = None
    max_wakes_per_day: int | None = None
    requests_per_minute: int | None = None
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


class Budgets:
    """Counts of this process's requests and wakes. ``wall``: seconds since 1970 (UTC), ``clock``: seconds that never
    jump.
    """

    def __init__(self, wall: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._clock = wall, clock
        self._recent: dict[str, deque[float]] = {}
        self._day = 0
        self._wakes: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self._beside: Counter[str] = Counter()
        self._updated = -math.inf
        self.process = secrets.token_hex(8)

    def ask(self, group: Group) -> None:
        """Count a request. Raises ``ApiError`` 429 if the group has used up its requests of the last 60 seconds,
        counted here and in the other processes.
        """
        most = group.requests_per_minute
        if most is None:
            return
        now = self._clock()
        recent = self._recent.setdefault(group.name, deque())
        while recent and now - recent[0] >= _MINUTE:
            recent.popleft()
        others = self._beside[group.name] if now - self._updated <= _FRESH_FOR_SECONDS else 0
        if len(recent) + others >= most:
            message = f"group {group.name!r} may send {most} request(s) a minute, and has"
            wait = _MINUTE - (now - recent[0]) if recent else _OTHERS_RETRY_AFTER_SECONDS
            raise ApiError(429, "request_limit", message, retry_after=wait)
        recent.append(now)

    def beside(self, counts: Mapping[str, Any]) -> None:
        """Store the wake keeper's counts of all processes: ``{"requests": {process: {group: those of 60 s}}}``."""
        others = [groups for process, groups in counts["requests"].items() if process != self.process]
        self._beside, self._updated = sum(map(Counter, others), Counter()), self._clock()

    def recent_requests(self) -> Mapping[str, int]:
        """Return this process's requests of the last 60 seconds, for each group with a limit. Called from another
        thread, so it reads copies and discards nothing.
        """
        now = self._clock()
        return {
            name: sum(now - moment < _MINUTE for moment in tuple(recent)) for name, recent in dict(self._recent).items()
        }

    def may_wake(self, group: Group, model: Model, groups: Collection[Group]) -> None:
        """Raise ``ApiError`` 403 without the right to wake this model, 429 when today's wakes are used up."""
        if not group.may_wake(model.public_name):
            raise not_allowed(group, model, groups)
        most = group.max_wakes_per_day
        if most is not None and self._today()[group.name] + self._others[group.name] >= most:
            message = (
                f"model {model.engine_name!r} sleeps, and group {group.name!r} may wake models {most} time(s) a day "
                "(UTC), which it has; models that are awake still answer"
            )
            raise ApiError(429, "wake_budget", message, retry_after=_DAY - self._wall() % _DAY)

    def wake(self, group: Group, model: Model, groups: Collection[Group]) -> None:
        """Count a wake that begins now. Raises as ``may_wake`` does: another request may have taken the last one."""
        self.may_wake(group, model, groups)
        self._today()[group.name] += 1

    def elsewhere(self, counts: Mapping[str, Any]) -> None:
        """Store the wake keeper's counts of all processes: ``{"day": …, "wakes": {process: {group: wakes}}}``. Counts
        of another day are ignored: this process's midnight is not quite the keeper's.
        """
        self._today()
        if counts["day"] == self._day:
            others = [groups for process, groups in counts["wakes"].items() if process != self.process]
            self._others = sum(map(Counter, others), Counter())

    def begun(self) -> tuple[int, Mapping[str, int]]:
        """Return a day in days since 1970, and the wakes that each group has begun on it here. Called from another
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
    ) -> None:
        self._keeper = keeper
        self._budgets = budgets
        self._client = client or httpx.AsyncClient(trust_env=False, timeout=_ASK_SECONDS)
        self._clock = clock
        self._refreshed = -math.inf
        self._asking: asyncio.Task[None] | None = None

    async def wakes(self) -> None:
        """Update the budgets with the wakes that other processes have begun. Never raises."""
        await self._learn("wakes", self._budgets.elsewhere)

    def refresh(self) -> None:
        """Start updating the budgets with the requests of the other processes; no request waits for that."""
        now = self._clock()
        fresh = now - self._refreshed < _FRESH_SECONDS
        if self._keeper is None or fresh or (self._asking is not None and not self._asking.done()):
            return
        self._refreshed = now
        self._asking = asyncio.create_task(self._learn("requests", self._budgets.beside))

    async def _learn(self, what: str, tell: Callable[[dict[str, Any]], None]) -> None:
        if self._keeper is None:
            return
        try:
            answer = await self._client.get(f"{self._keeper}/{what}")
            answer.raise_for_status()
            tell(answer.json())
        except (httpx.HTTPError, LookupError, ValueError, TypeError, AttributeError) as problem:
            _log.warning("the wake keeper does not say which %s others have had: %s", what, describe(problem))
