"""How many wakes each group has begun today, by process of the gateway: what a process knew outlives it here.

A process counts its own and starts with none. Each is asked every few seconds, and when another wants to know; the
counts of one that is gone stay until the day after. A keeper that starts anew knows what the living ones know.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import httpx
from prometheus_client.parser import text_string_to_metric_families

_SECONDS = 2.0
_PAUSE_SECONDS = 5.0
_DAY = 86_400
_WAKES = "ebbtide_gateway_day_wakes"

Counts = dict[str, dict[str, int]]  # by process, by group


class Wakes:
    """``gateways`` gives the addresses of the gateway's pods, or None when unknown. ``wall``: seconds since 1970."""

    def __init__(
        self,
        gateways: Callable[[], Sequence[str] | None],
        client: httpx.AsyncClient | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._gateways = gateways
        self._client = client or httpx.AsyncClient(trust_env=False, timeout=_SECONDS)
        self._wall = wall
        self._days: dict[int, Counts] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def told(self) -> dict[str, object]:
        """``{"day": days since 1970, "wakes": {process: {group: wakes}}}``, fresh from all that answer."""
        await self.look()
        today = self._today()
        return {"day": today, "wakes": self._days.get(today, {})}

    async def look(self) -> None:
        """Ask each process. Who does not answer keeps what it had."""
        texts = await asyncio.gather(*map(self._metrics, self._gateways() or ()))
        today = self._today()
        for day, process, group, wakes in (each for text in texts for each in counted(text)):
            known = self._days.setdefault(day, defaultdict(dict))[process]
            known[group] = max(wakes, known.get(group, 0))
        # a process whose midnight comes later than this one's is still in the day before
        self._days = {day: counts for day, counts in self._days.items() if abs(day - today) <= 1}

    async def _metrics(self, gateway: str) -> str:
        try:
            answer = await self._client.get(f"{gateway}/metrics", params={"name[]": _WAKES})
            answer.raise_for_status()
        except httpx.HTTPError:
            return ""
        return answer.text

    def _today(self) -> int:
        return int(self._wall() // _DAY)


def counted(metrics: str) -> list[tuple[int, str, str, int]]:
    """Day, process, group and wakes, as one process tells them."""
    return [
        (int(sample.labels["day"]), sample.labels["process"], sample.labels["group"], int(sample.value))
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == _WAKES
    ]
