"""Usage of each group and key, by process of the gateway: wakes of today, requests and tokens of the last minute, and
requests at once.

A process counts its own and starts with none. Each is asked when another wants to know, and for wakes also every few
seconds: the wakes of a process that is gone are kept until the day after. A restarted keeper knows what the living
processes know.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import httpx

from .metrics_text import samples

_SECONDS = 2.0
_PAUSE_SECONDS = 5.0
_FRESH_SECONDS = 1.0
_DAY = 86_400
_WAKES = "ebbtide_gateway_day_wakes"
_LATELY = {
    "requests": "ebbtide_gateway_minute_requests",
    "tokens": "ebbtide_gateway_minute_tokens",
    "concurrent": "ebbtide_gateway_concurrent_requests",
}

Counts = dict[str, dict[str, int]]  # by process, by "group:NAME" or "key:ID"


class GroupUsage:
    """Usage of all groups. ``gateways`` returns the addresses of the gateway's pods, or None when unknown. ``wall``:
    seconds since 1970; ``clock``: seconds that never jump.
    """

    def __init__(
        self,
        gateways: Callable[[], Sequence[str] | None],
        client: httpx.AsyncClient | None = None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gateways = gateways
        self._client = client or httpx.AsyncClient(trust_env=False, timeout=_SECONDS)
        self._wall, self._clock = wall, clock
        self._days: dict[int, Counts] = {}
        self._now: dict[str, Counts] = lately(())
        self._looked = -math.inf
        self._looking = asyncio.Lock()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self.reconcile()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def wakes(self) -> dict[str, object]:
        """Return ``{"day": days since 1970, "wakes": {process: {label: wakes}}}``, fresh from all that answer."""
        await self.reconcile()
        today = self._today()
        return {"day": today, "wakes": self._days.get(today, {})}

    async def requests(self) -> dict[str, object]:
        """Return ``{"requests": {process: {label: requests}}}``, and ``tokens`` and ``concurrent`` like it, of those
        that answer, at most a second old: each process asks about as often, and however many they are, each is asked
        once.
        """
        async with self._looking:
            if self._clock() - self._looked >= _FRESH_SECONDS:
                await self.reconcile()
        return dict(self._now)

    async def reconcile(self) -> None:
        """Ask each process. One that does not answer keeps its wakes, but not its requests and tokens, which are soon
        a minute old.
        """
        began = self._clock()
        texts = await asyncio.gather(*map(self._metrics, self._gateways() or ()))
        today = self._today()
        for day, process, label, wakes in (each for text in texts for each in counted(text)):
            known = self._days.setdefault(day, defaultdict(dict))[process]
            known[label] = max(wakes, known.get(label, 0))
        # a process whose midnight comes later than this one's is still in the day before
        self._days = {day: counts for day, counts in self._days.items() if abs(day - today) <= 1}
        self._now, self._looked = lately(texts), began

    async def _metrics(self, gateway: str) -> str:
        try:
            answer = await self._client.get(f"{gateway}/metrics", params={"name[]": [_WAKES, *_LATELY.values()]})
            answer.raise_for_status()
        except httpx.HTTPError:
            return ""
        return answer.text

    def _today(self) -> int:
        return int(self._wall() // _DAY)


def counted(metrics: str) -> list[tuple[int, str, str, int]]:
    """Return day, process, label and wakes, from the metrics of one process."""
    return [
        (int(sample.labels["day"]), sample.labels["process"], _label(sample.labels), int(sample.value))
        for sample in samples(metrics, _WAKES)
    ]


def lately(texts: Iterable[str]) -> dict[str, Counts]:
    """Return the counts of the last minute and of now by what is counted, from the metrics of the processes."""
    counts: dict[str, defaultdict[str, dict[str, int]]] = {what: defaultdict(dict) for what in _LATELY}
    names = {name: what for what, name in _LATELY.items()}
    for sample in (sample for text in texts for sample in samples(text, *names)):
        counts[names[sample.name]][sample.labels["process"]][_label(sample.labels)] = int(sample.value)
    return {what: dict(found) for what, found in counts.items()}


def _label(labels: Mapping[str, str]) -> str:
    """Return whose a count is, as the gateway names it: ``group:NAME`` or ``key:ID``."""
    return f"key:{labels['key']}" if labels.get("key") else f"group:{labels['group']}"
