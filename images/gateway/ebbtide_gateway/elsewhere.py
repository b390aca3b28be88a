"""What groups have used in other processes of the gateway: the wake keeper asks them all, and remembers today's wakes.

Asked only when somebody with a limit comes. While the keeper is away, the wakes that it told last count: a cap that
could not be asked for is no reason to leave a model asleep.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import httpx

from .budgets import Budgets
from .cluster import describe

_SECONDS = 2.0
_FRESH_SECONDS = 1.0
_log = logging.getLogger("ebbtide.gateway.elsewhere")


class Elsewhere:
    """``keeper`` is its address, None where there is none."""

    def __init__(
        self,
        keeper: str | None,
        budgets: Budgets,
        client: httpx.AsyncClient | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keeper = keeper
        self._budgets = budgets
        self._client = client or httpx.AsyncClient(trust_env=False, timeout=_SECONDS)
        self._clock = clock
        self._asked = -math.inf
        self._asking: asyncio.Task[None] | None = None

    async def wakes(self) -> None:
        """Tell the budgets which wakes others have begun. Never raises."""
        await self._learn("wakes", self._budgets.elsewhere)

    def refresh(self) -> None:
        """Have the budgets told soon how many requests others have had: no request waits for that."""
        now = self._clock()
        fresh = now - self._asked < _FRESH_SECONDS
        if self._keeper is None or fresh or (self._asking is not None and not self._asking.done()):
            return
        self._asked = now
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
