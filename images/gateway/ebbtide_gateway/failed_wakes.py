"""Failed wakes: the answer a client gets while the wake keeper says that a model cannot be woken."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any

from ebbtide_kube.wake_failure import WakeFailure, failure_in_force

from .errors import ApiError
from .settings import Model


class WakeFailed(ApiError):
    """Error 503 with the reason as ``param``, and ``Retry-After`` until the next wake may be tried."""

    def __init__(self, model: Model, failure: WakeFailure, now: datetime) -> None:
        wait = (failure.until - now).total_seconds()
        message = f"model {model.name!r} cannot be woken: {failure.message}"
        super().__init__(503, "wake_failed", message, retry_after=wait, param=failure.reason)


class FailedWakes:
    """Refusals of requests, held ones too, whose model cannot be woken. ``observe`` returns the ScaledObjects by model
    name, or None when unknown: then nothing is known to fail.
    """

    def __init__(
        self,
        observe: Callable[[], Mapping[str, Mapping[str, Any]] | None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._observe = observe
        self._clock = clock
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Make waiting requests look again: the cluster changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    def refusal(self, model: Model) -> WakeFailed | None:
        """Return why a request for this model is not even tried now, or None."""
        workload = (self._observe() or {}).get(model.name, {})
        now = self._clock()
        failure = failure_in_force(workload.get("metadata", {}).get("annotations") or {}, now)
        return WakeFailed(model, failure, now) if failure is not None else None

    async def unless_failing(
        self, model: Model, begun: Callable[[], bool], work: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Do ``work``, and stop it with ``WakeFailed`` when the model's wake is known to fail before the answer has
        ``begun``.
        """
        if (refusal := self.refusal(model)) is not None:
            raise refusal
        serving = asyncio.create_task(work())
        try:
            while not serving.done() and not begun():
                # no await between a look at the cluster and this line: a change in between would be missed
                moved = asyncio.create_task(self._changed.wait())
                try:
                    await asyncio.wait((serving, moved), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    moved.cancel()
                if serving.done() or begun():
                    break
                if (refusal := self.refusal(model)) is not None:
                    raise refusal
            await serving
        finally:
            if not serving.done():
                serving.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await serving
            elif not serving.cancelled():
                serving.exception()  # it may break at the moment in which its client leaves: nothing to log
