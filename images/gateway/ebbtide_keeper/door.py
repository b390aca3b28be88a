"""The ASGI application: liveness and metrics, and the keeper behind them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .keeper import Keeper

LIVE, METRICS = "/health/liveness", "/metrics"
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_log = logging.getLogger("ebbtide.keeper")


class Door:
    """``numbers`` gives the metrics' text and ``kind`` its content type."""

    def __init__(self, keeper: Keeper, numbers: Callable[[], bytes], kind: str) -> None:
        self._keeper = keeper
        self._numbers = numbers
        self._kind = kind

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            status, kind, body = self._answer(scope["path"])
            headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        if path == LIVE:
            return (200, "text/plain", b"ok\n") if self._keeper.alive else (503, "text/plain", b"the loop stands\n")
        if path == METRICS:
            return 200, self._kind, self._numbers()
        return 404, "text/plain", f"paths: {LIVE}, {METRICS}\n".encode()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        running = asyncio.create_task(self._keeper.run())
        running.add_done_callback(_end_on_failure)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await send({"type": "lifespan.shutdown.complete"})


def _end_on_failure(running: asyncio.Task[None]) -> None:
    if not running.cancelled() and running.exception() is not None:
        _log.critical("the loop ended: %r", running.exception())
        os.kill(os.getpid(), signal.SIGTERM)
