"""How many requests wait in a model's own engines: asked of each when KEDA asks, and not at any other time.

KEDA's ``metrics-api`` scaler could ask the engines itself, but calls a model without a ready pod an error, and a model
whose scaler is in error is never scaled to zero. Here no pod, and a pod that does not answer, count as an empty queue.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence

import httpx

_SECONDS = 2.0  # KEDA waits 3 s for the sum
_WAITING = re.compile(r"^vllm:num_requests_waiting(?:\{[^}]*\})? ([0-9.e+]+)$", re.M)


class Waiting:
    """``engines`` gives the addresses of a model's engines that are ready."""

    def __init__(self, engines: Callable[[str], Sequence[str]], client: httpx.AsyncClient | None = None) -> None:
        self._engines = engines
        self._client = client or httpx.AsyncClient(trust_env=False, timeout=_SECONDS)

    async def of(self, model: str) -> float:
        """Requests that wait, over all its engines."""
        return sum(await asyncio.gather(*(self._in(engine) for engine in self._engines(model))))

    async def _in(self, engine: str) -> float:
        try:
            answer = await self._client.get(f"{engine}/metrics")
        except httpx.HTTPError:
            return 0.0
        return waiting(answer.text) if answer.status_code == 200 else 0.0


def waiting(metrics: str) -> float:
    """vLLM's own count (0.32.0, ``v1/metrics/loggers.py``), over its engine cores."""
    return sum(float(value) for value in _WAITING.findall(metrics))
