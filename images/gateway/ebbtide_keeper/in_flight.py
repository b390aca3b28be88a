"""Numbers that KEDA asks for a model: requests its replicas work on, summed over the gateway's pods, which send them
there, and requests that wait in its engines' own queues.

The sum is given only when every pod of the gateway has answered: a silent one may hold a stream, and KEDA would take
the model for idle. KEDA then gets "unknown" instead, and scales nothing to zero until the number is known.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from .metrics_text import samples

ENGINE_PORT = 8000
_SECONDS = 2.0  # KEDA waits 3 s for the sum
_FRESH_SECONDS = 1.0
_RECENT = 0.01  # above zero, and no reason for another replica
_METRICS_PORT = 9090
_IN_FLIGHT, _IDLE = "ebbtide_gateway_in_flight_requests", "ebbtide_gateway_idle_seconds"
_REPLICAS = "ebbtide_gateway_replica_requests"
_METRICS = (_IN_FLIGHT, _IDLE, _REPLICAS)
_WAITING = "vllm:num_requests_waiting"


def url(pod: Mapping[str, Any], port: int) -> str:
    """Return the pod's URL: ``http://10.0.0.7:8000``."""
    return f"http://{address(pod, port)}"


def address(pod: Mapping[str, Any], port: int) -> str:
    """Return the pod's address: ``10.0.0.7:8000``; IPv6 in brackets."""
    host = pod["status"]["podIP"]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def runs(pod: Mapping[str, Any]) -> bool:
    """Return True if the pod has an address and a container that runs, ready or not."""
    status = pod.get("status", {})
    states = [each.get("state") or {} for each in status.get("containerStatuses") or ()]
    return bool(status.get("podIP")) and status.get("phase") == "Running" and any("running" in each for each in states)


class Unknown(Exception):
    """Error for a number that is not known now; the message says why."""


@dataclass(frozen=True)
class Load:
    """Load of one of the gateway's pods or of all: by model, requests in flight and seconds since the last one ended;
    by a replica's ``host:port``, requests in it.
    """

    in_flight: Mapping[str, float]
    idle: Mapping[str, float]
    replicas: Mapping[str, float] = field(default_factory=dict)

    def of(self, model: str, recent_seconds: float) -> float:
        """Return the load as KEDA gets it; it must notice a short request although it looks only now and then."""
        recent = self.idle.get(model, math.inf) <= recent_seconds
        return max(self.in_flight.get(model, 0.0), _RECENT if recent else 0.0)


class Loads:
    """Loads of the gateway's pods. ``gateways`` returns the addresses of those that may have a request, or None when
    unknown. A model counts as used for ``recent_seconds`` after its last request.
    """

    def __init__(
        self,
        gateways: Callable[[], Sequence[str] | None],
        recent_seconds: float,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self._gateways = gateways
        self._recent_seconds = recent_seconds
        self._client = client or httpx.AsyncClient(trust_env=False, timeout=_SECONDS)
        self._asking: asyncio.Task[Load] | None = None
        self._last: Load | None = None
        self._asked_at = 0.0

    async def of(self, model: str) -> float:
        """Return the requests in the model's replicas. Raises ``Unknown``."""
        return (await self.all()).of(model, self._recent_seconds)

    async def all(self, fresh: float = _FRESH_SECONDS) -> Load:
        """Return the load of every model, at most ``fresh`` seconds old. Raises ``Unknown``. KEDA asks for each model
        by itself: the pods are scraped for all at once, and once in ``fresh`` seconds at most. Concurrent callers share
        one scrape, including its failure: while a pod is silent, KEDA's questions must not queue up.
        """
        if self._last is not None and time.monotonic() - self._asked_at < fresh:
            return self._last
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Load:
        urls = self._gateways()
        if urls is None:
            raise Unknown("the gateway's pods cannot be seen")
        self._last = together(await asyncio.gather(*(self._load_of(each) for each in urls)))
        self._asked_at = time.monotonic()
        return self._last

    async def _load_of(self, gateway: str) -> Load:
        try:
            answer = await self._client.get(f"{gateway}/metrics", params={"name[]": _METRICS})
            answer.raise_for_status()
        except httpx.HTTPError as problem:
            raise Unknown(f"a pod of the gateway does not answer ({type(problem).__name__})") from None
        return parse_load(answer.text)


def parse_load(metrics: str) -> Load:
    """Parse the metrics of one of the gateway's pods."""
    by_name: dict[str, dict[str, float]] = {name: {} for name in _METRICS}
    for sample in samples(metrics, *_METRICS):
        whose = sample.labels.get("replica" if sample.name == _REPLICAS else "model")
        if whose is not None:
            by_name[sample.name][whose] = sample.value
    return Load(by_name[_IN_FLIGHT], by_name[_IDLE], by_name[_REPLICAS])


def together(loads: Sequence[Load]) -> Load:
    """Return the sum; a model is idle for as long as in the pod that had its last request."""
    in_flight: Counter[str] = Counter()
    replicas: Counter[str] = Counter()
    idle: dict[str, float] = {}
    for load in loads:
        in_flight.update(load.in_flight)
        replicas.update(load.replicas)
        idle |= {model: min(seconds, idle.get(model, math.inf)) for model, seconds in load.idle.items()}
    return Load(in_flight, idle, replicas)


def gateways(pods: Mapping[str, Mapping[str, Any]], now: datetime) -> list[str]:
    """Return the URLs of the gateway's pods that run, also of one on its way out, which has until its
    ``deletionTimestamp`` to finish its streams. One that is past it hangs on a node that is gone, and nothing answers
    there.
    """
    return [url(pod, _METRICS_PORT) for pod in pods.values() if runs(pod) and not _overdue(pod, now)]


def _overdue(pod: Mapping[str, Any], now: datetime) -> bool:
    until = pod["metadata"].get("deletionTimestamp")
    return until is not None and datetime.fromisoformat(until) < now


class Waiting:
    """Requests that wait in a model's own engines: each engine is asked when KEDA asks, and at no other time.
    ``engines`` returns the addresses of those that are ready.

    KEDA's ``metrics-api`` scaler could ask the engines itself, but calls a model without a ready pod an error, and a
    model whose scaler is in error is never scaled to zero. Here no pod, and a pod that does not answer, count as an
    empty queue.
    """

    def __init__(self, engines: Callable[[str], Sequence[str]], client: httpx.AsyncClient | None = None) -> None:
        self._engines = engines
        self._client = client or httpx.AsyncClient(trust_env=False, timeout=_SECONDS)

    async def of(self, model: str) -> float:
        """Return the requests that wait, over all the model's engines."""
        return sum(await asyncio.gather(*(self._in(engine) for engine in self._engines(model))))

    async def _in(self, engine: str) -> float:
        try:
            answer = await self._client.get(f"{engine}/metrics")
        except httpx.HTTPError:
            return 0.0
        return waiting(answer.text) if answer.status_code == 200 else 0.0


def waiting(metrics: str) -> float:
    """Return vLLM's own count (0.32.0, ``v1/metrics/loggers.py``), over its engine cores."""
    return sum(sample.value for sample in samples(metrics, _WAITING))
