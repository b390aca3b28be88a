"""The wake guard: wakes a sleeping model only when its GPUs, and one more instance, fit beside those already taken.

The Kubernetes ResourceQuota stays the hard limit; this guard exists so that a caller waits or gets the reason, instead
of a pod that stays Pending. Reservations live in this process, so with several gateway replicas two wakes can still
race; the quota then decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Literal

from .errors import ApiError
from .settings import Guard, Model

_FULL_RETRY_AFTER_SECONDS = 30.0
_SHORTEST_RETRY_SECONDS = 5.0
# the longest wait that a client library accepts (openai 3.52: two minutes); above it, it raises at once
_LONGEST_RETRY_SECONDS = 120.0


@dataclass(frozen=True)
class Usage:
    """GPUs in use: replicas wanted or still there, GPUs per replica, and ready replicas, by model name."""

    replicas: Mapping[str, int]
    gpus: Mapping[str, int]
    ready: Mapping[str, int] = field(default_factory=dict)

    def holders(self) -> dict[str, int]:
        """Return the GPUs by model, for those that hold any."""
        return _some({name: count * self.gpus.get(name, 0) for name, count in self.replicas.items()})

    def instances(self) -> dict[str, int]:
        """Return the replicas by model, for those that have any."""
        return _some(self.replicas)


def _some(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count > 0}


@dataclass(frozen=True)
class Limit:
    """A limit of the guard beside what one replica of a model would add to it. ``what``: GPUs, or instances, which are
    replicas; ``held`` by model.
    """

    what: Literal["gpus", "instances"]
    most: int
    held: Mapping[str, int]
    needed: int

    @property
    def has_room(self) -> bool:
        """Return True if one replica more keeps to it."""
        return sum(self.held.values()) + self.needed <= self.most


def exceeded(model: Model, usage: Usage, waking: Mapping[str, int], rules: Guard) -> Limit | None:
    """Return the limit that stands in the way of a request for this model; None if it may be sent: the model is awake
    or being woken, or there is room for one replica.
    """
    if usage.replicas.get(model.name, 0) > 0 or waking.get(model.name, 0) > 0:
        return None
    taken = reserved(usage, waking)
    limits: list[Limit] = []
    if rules.max_gpus is not None:
        limits.append(Limit("gpus", rules.max_gpus, taken.holders(), model.gpus))
    if rules.max_instances is not None:
        limits.append(Limit("instances", rules.max_instances, taken.instances(), 1))
    return next((limit for limit in limits if not limit.has_room), None)


def reserved(usage: Usage, waking: Mapping[str, int]) -> Usage:
    """Return what is in use, counting one replica for each model with requests on the way that has no pod yet."""
    coming = {name: 1 for name, calls in waking.items() if calls > 0 and usage.replicas.get(name, 0) == 0}
    return Usage({**usage.replicas, **coming}, usage.gpus)


def full(model: Model, limit: Limit, waited: float) -> ApiError:
    """Return the 503 that says who holds what there is none left of, and how long the request waited."""
    if limit.held:
        who = "held by " + ", ".join(f"{name} ({count})" for name, count in limit.held.items())
    else:
        who = "none is held: the limit is below this model's need"
    after = f" after waiting {waited:.0f} s" if waited >= 1 else ""
    needs = f"needs {model.gpus} GPU(s)" if limit.what == "gpus" else "needs an instance"
    in_use = f"{sum(limit.held.values())} of {limit.most} are in use{after}"
    message = f"model {model.name!r} sleeps and {needs}, but {in_use}: {who}"
    return ApiError(503, f"{limit.what}_in_use", message, retry_after=_FULL_RETRY_AFTER_SECONDS)


class WakeGuard:
    """Admission of calls. ``observe`` returns what the cluster shows, or None when unknown: then everything is
    admitted.
    """

    def __init__(self, rules: Guard, models: Mapping[str, int], observe: Callable[[], Usage | None]) -> None:
        self._rules = rules
        self._gpus = dict(models)
        self._observe = observe
        self._waking: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Make waiting calls look again: something was released or the cluster changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    def asleep(self, model: Model) -> bool:
        """Return True if the cluster is known to have no replica of this model."""
        usage = self._observe()
        return usage is not None and usage.replicas.get(model.name, 0) == 0

    def waking(self, model: Model) -> bool:
        """Return True if the cluster is known to have no ready replica of this model."""
        usage = self._observe()
        return usage is not None and usage.ready.get(model.name, 0) == 0

    def has_room(self, model: Model) -> bool:
        """Return True if a request for this model may be sent now."""
        return self._exceeded(model) is None

    def first(self, model: Model) -> bool:
        """Return True, for a call just admitted, if the model sleeps and no other request is waking it."""
        return self.asleep(model) and self._waking[model.name] == 1

    @asynccontextmanager
    async def admitted(self, model: Model) -> AsyncIterator[float]:
        """Hold a place for one call; yields the seconds waited for it. Raises ``ApiError`` 503 when there is none."""
        waited = await self._room(model)
        # No await between the check and this line: two calls cannot both see the last free GPU.
        self._waking[model.name] += 1
        try:
            yield waited
        finally:
            self._waking[model.name] -= 1
            self.changed()

    async def _room(self, model: Model) -> float:
        started = time.monotonic()
        limit = self._rules.wait_limit_seconds or model.hold_seconds
        while (over := self._exceeded(model)) is not None:
            waited = time.monotonic() - started
            if self._rules.when_full == "refuse" or waited >= limit or over.needed > over.most:
                raise full(model, over, waited)
            changed = self._changed
            # not wait_for, which may lose the cancellation of a leaving client if room is made at the same moment
            # (Python 3.11)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit - waited):
                    await changed.wait()
        return time.monotonic() - started

    def _exceeded(self, model: Model) -> Limit | None:
        usage = self._observe()
        if usage is None:
            return None
        return exceeded(model, Usage(usage.replicas, {**usage.gpus, **self._gpus}), self._waking, self._rules)


class Places:
    """Bound on the requests that wait for a model without a ready replica: as many as its engines take once they are
    up.

    One more would wait as long as the others, only to be refused by a full engine. The interceptor holds one GET for
    each that waits, so this bounds it as well. Counted in this process, with the time the first came and the length of
    the model's last wake.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: Counter[str] = Counter()
        self._since: dict[str, float] = {}
        self._last_wake: dict[str, float] = {}

    @contextmanager
    def hold(self, model: Model) -> Iterator[None]:
        """Hold one place. Raises ``ApiError`` 503 when there is none."""
        most = model.most_waiting
        if most is not None and self._waiting[model.name] >= most:
            message = f"model {model.name!r} is not up yet, and {most} wait for it, which is all that it will take"
            raise ApiError(503, "queue_full", message, retry_after=self.retry_after(model))
        if self._waiting[model.name] == 0:
            self._since[model.name] = self._clock()
        self._waiting[model.name] += 1
        try:
            yield
        finally:
            self._waiting[model.name] -= 1

    def woke(self, model: Model, seconds: float) -> None:
        """Record the seconds that a wake took."""
        self._last_wake[model.name] = seconds

    def retry_after(self, model: Model) -> float:
        """Return the seconds until the current wake should be over: it takes as long as the last one, or if that has
        passed, as long as the stack lets a start take, or at most as long as a request waits for it.
        """
        elapsed = self._clock() - self._since.get(model.name, self._clock())
        lengths = (self._last_wake.get(model.name), model.cold_start_seconds, model.hold_seconds)
        remaining = (length - elapsed for length in lengths if length is not None and length > elapsed)
        return min(max(next(remaining, 0.0), _SHORTEST_RETRY_SECONDS), _LONGEST_RETRY_SECONDS)
