"""The wake guard: a sleeping model is only woken when its GPUs fit beside those already taken.

The Kubernetes ResourceQuota stays the hard limit; this guard exists so that a caller waits or is told why,
instead of a pod that stays Pending. Reservations live in this process, so with several gateway replicas two
wakes can still race; the quota then decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from .errors import ApiError
from .settings import Guard, Model

_FULL_RETRY_AFTER_SECONDS = 30.0


@dataclass(frozen=True)
class Taken:
    """GPUs in use: replicas wanted or still there, and GPUs per replica, by model name."""

    replicas: Mapping[str, int]
    gpus: Mapping[str, int]

    def holders(self) -> dict[str, int]:
        """GPUs by model, for those that hold any."""
        held = {name: count * self.gpus.get(name, 0) for name, count in self.replicas.items()}
        return {name: gpus for name, gpus in sorted(held.items()) if gpus > 0}


def fits(model: Model, taken: Taken, waking: Mapping[str, int], most: int | None) -> bool:
    """Whether a request for this model may go up: it is awake or being woken, or there is room for one
    replica.
    """
    if most is None or taken.replicas.get(model.name, 0) > 0 or waking.get(model.name, 0) > 0:
        return True
    return sum(reserved(taken, waking).values()) + model.gpus <= most


def reserved(taken: Taken, waking: Mapping[str, int]) -> dict[str, int]:
    """GPUs by model, counting one replica for each model with requests on the way that has no pod yet."""
    coming = {name: 1 for name, calls in waking.items() if calls > 0 and taken.replicas.get(name, 0) == 0}
    return Taken({**taken.replicas, **coming}, taken.gpus).holders()


def full(model: Model, holders: Mapping[str, int], most: int, waited: float) -> ApiError:
    """Why not: who holds the GPUs, and after which wait."""
    if holders:
        who = "held by " + ", ".join(f"{name} ({gpus})" for name, gpus in holders.items())
    else:
        who = "none is held: the limit is below this model's need"
    after = f" after waiting {waited:.0f} s" if waited >= 1 else ""
    message = (
        f"model {model.name!r} sleeps and needs {model.gpus} GPU(s), but {sum(holders.values())} of {most} "
        f"are in use{after}: {who}"
    )
    return ApiError(503, "gpus_in_use", message, retry_after=_FULL_RETRY_AFTER_SECONDS)


class WakeGuard:
    """Admits calls. ``observe`` gives what the cluster shows, or None when unknown: then everything is
    admitted.
    """

    def __init__(self, rules: Guard, models: Mapping[str, int], observe: Callable[[], Taken | None]) -> None:
        self._rules = rules
        self._gpus = dict(models)
        self._observe = observe
        self._waking: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Something was released or the cluster moved: those who wait look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def asleep(self, model: Model) -> bool:
        """Whether the cluster is known to have no replica of this model."""
        taken = self._observe()
        return taken is not None and taken.replicas.get(model.name, 0) == 0

    def first(self, model: Model) -> bool:
        """For one who was just admitted: whether the model sleeps and nobody else's request is waking it."""
        return self.asleep(model) and self._waking[model.name] == 1

    @asynccontextmanager
    async def admitted(self, model: Model) -> AsyncIterator[float]:
        """Hold a place for one call; gives the seconds waited for it. Raises ``ApiError`` 503 when there is
        none.
        """
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
        while not self._fits(model):
            waited = time.monotonic() - started
            impossible = self._rules.max_gpus is not None and model.gpus > self._rules.max_gpus
            if self._rules.when_full == "refuse" or waited >= limit or impossible:
                raise full(model, self._holders(), self._rules.max_gpus or 0, waited)
            changed = self._changed
            # not wait_for, which lets a client's leaving go unheard when room is made at the same moment (Python 3.11)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit - waited):
                    await changed.wait()
        return time.monotonic() - started

    def _fits(self, model: Model) -> bool:
        taken = self._observe()
        return taken is None or fits(model, self._with_sizes(taken), self._waking, self._rules.max_gpus)

    def _holders(self) -> dict[str, int]:
        return reserved(self._with_sizes(self._observe() or Taken({}, {})), self._waking)

    def _with_sizes(self, taken: Taken) -> Taken:
        return Taken(taken.replicas, {**taken.gpus, **self._gpus})
