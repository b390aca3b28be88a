"""Wakes that other processes of the gateway have begun today, those that are gone too: the wake keeper remembers them.

Asked only when somebody whose wakes are limited wants one. While the keeper is away what it said last counts: a cap
that could not be asked for is no reason to leave a model asleep.
"""

from __future__ import annotations

import logging

import httpx

from .budgets import Budgets
from .cluster import describe

_SECONDS = 2.0
_log = logging.getLogger("ebbtide.gateway.elsewhere")


class Elsewhere:
    """``keeper`` is its address, None where there is none."""

    def __init__(self, keeper: str | None, budgets: Budgets, client: httpx.AsyncClient | None = None) -> None:
        self._keeper = keeper
        self._budgets = budgets
        self._client = client or httpx.AsyncClient(trust_env=False, timeout=_SECONDS)

    async def learn(self) -> None:
        """Tell the budgets. Never raises."""
        if self._keeper is None:
            return
        try:
            answer = await self._client.get(f"{self._keeper}/wakes")
            answer.raise_for_status()
            self._budgets.elsewhere(answer.json())
        except (httpx.HTTPError, LookupError, ValueError, TypeError, AttributeError) as problem:
            _log.warning("the wake keeper does not say which wakes others have begun: %s", describe(problem))
