"""ASGI application: liveness, metrics and KEDA's queries about each model, with the keeper behind them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

from .in_flight import Unknown
from .keeper import Keeper

LIVE, METRICS, LOAD, WAITING = "/health/liveness", "/metrics", "/load/", "/waiting/"
WAKES, REQUESTS = "/wakes", "/requests"
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_log = logging.getLogger("ebbtide.keeper")


class KeeperApp:
    """ASGI application. ``numbers`` returns the metrics' text, ``kind`` is its content type. ``load`` returns how many
    requests a model's replicas work on, ``waiting`` how many wait in the queues of a model that is ``counted``.
    ``used`` returns the groups' usage, by path. ``beside``: loops that run beside the keeper's.
    """

    def __init__(
        self,
        keeper: Keeper,
        numbers: Callable[[], bytes],
        kind: str,
        load: Callable[[str], Awaitable[float]],
        waiting: Callable[[str], Awaitable[float]],
        counted: Collection[str],
        used: Mapping[str, Callable[[], Awaitable[dict[str, object]]]],
        beside: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    ) -> None:
        self._keeper = keeper
        self._numbers = numbers
        self._kind = kind
        self._load = load
        self._waiting = waiting
        self._counted = counted
        self._used = used
        self._beside = beside

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one ASGI connection or the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            status, kind, body = await self._answer(scope["path"])
            headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def _answer(self, path: str) -> tuple[int, str, bytes]:
        if path == LIVE:
            return (200, "text/plain", b"ok\n") if self._keeper.alive else (503, "text/plain", b"the loop stands\n")
        if path == METRICS:
            return 200, self._kind, self._numbers()
        if path in self._used:
            return _document(await self._used[path]())
        if path.startswith(LOAD):
            try:
                return _document({"inFlight": await self._load(path.removeprefix(LOAD))})
            except Unknown as problem:
                return 503, "text/plain", f"{problem}\n".encode()
        model = path.removeprefix(WAITING)
        if path.startswith(WAITING) and model in self._counted:
            return _document({"waiting": await self._waiting(model)})
        paths = (LIVE, METRICS, *self._used, f"{LOAD}<a model>", f"{WAITING}<a model with a queueTarget>")
        return 404, "text/plain", f"paths: {', '.join(paths)}\n".encode()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        loops = [self._keeper.run, *self._beside]
        running = [asyncio.create_task(loop()) for loop in loops]
        for each in running:
            each.add_done_callback(_end_on_failure)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await send({"type": "lifespan.shutdown.complete"})


def _document(said: Mapping[str, object]) -> tuple[int, str, bytes]:
    return 200, "application/json", json.dumps(said).encode()


def _end_on_failure(running: asyncio.Task[None]) -> None:
    if not running.cancelled() and running.exception() is not None:
        _log.critical("the loop ended: %r", running.exception())
        os.kill(os.getpid(), signal.SIGTERM)
