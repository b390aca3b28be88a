"""HTTP application: liveness, metrics and KEDA's queries about each model, with the keeper's loops behind them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

from aiohttp import web

from .in_flight import Unknown
from .keeper import Keeper

LIVE, METRICS, LOAD, WAITING = "/health/liveness", "/metrics", "/load/", "/waiting/"
WAKES, REQUESTS = "/wakes", "/requests"
_log = logging.getLogger("ebbtide.keeper")


class KeeperApp:
    """Handlers. ``numbers`` returns the metrics' text, ``kind`` is its content type. ``load`` returns how many requests
    a model's replicas work on, ``waiting`` how many wait in the queues of a model that is ``counted``. ``used`` returns
    the groups' usage, by path. ``beside``: loops that run beside the keeper's.
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

    def application(self) -> web.Application:
        """Return the application; its loops begin and end with it."""
        app = web.Application()
        app.cleanup_ctx.append(self._loops)
        app.router.add_get(LIVE, self._live)
        app.router.add_get(METRICS, self._metrics)
        for path in self._used:
            app.router.add_get(path, self._usage)
        app.router.add_get(LOAD + "{model}", self._model_load)
        app.router.add_get(WAITING + "{model}", self._model_waiting)
        app.router.add_route("*", "/{path:.*}", self._unknown)
        return app

    async def _live(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n") if self._keeper.alive else web.Response(status=503, text="the loop stands\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._numbers(), headers={"content-type": self._kind})

    async def _usage(self, request: web.Request) -> web.Response:
        return web.json_response(await self._used[request.path]())

    async def _model_load(self, request: web.Request) -> web.Response:
        try:
            return web.json_response({"inFlight": await self._load(request.match_info["model"])})
        except Unknown as problem:
            return web.Response(status=503, text=f"{problem}\n")

    async def _model_waiting(self, request: web.Request) -> web.Response:
        model = request.match_info["model"]
        if model not in self._counted:
            return await self._unknown(request)
        return web.json_response({"waiting": await self._waiting(model)})

    async def _unknown(self, _: web.Request) -> web.Response:
        paths = (LIVE, METRICS, *self._used, f"{LOAD}<a model>", f"{WAITING}<a model with a queueTarget>")
        return web.Response(status=404, text=f"paths: {', '.join(paths)}\n")

    async def _loops(self, _: web.Application) -> AsyncIterator[None]:
        running = [asyncio.create_task(loop()) for loop in (self._keeper.run, *self._beside)]
        for each in running:
            each.add_done_callback(_end_on_failure)
        yield
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _end_on_failure(running: asyncio.Task[None]) -> None:
    if not running.cancelled() and running.exception() is not None:
        _log.critical("the loop ended: %r", running.exception())
        os.kill(os.getpid(), signal.SIGTERM)
