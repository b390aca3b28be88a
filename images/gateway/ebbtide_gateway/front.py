"""The ASGI application: everything a request must pass before LiteLLM sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from typing import Any

from .access_log import Record
from .call import Call, current
from .cluster import Workloads
from .engine import Engine
from .errors import ApiError, error_headers
from .guard import WakeGuard
from .keys import KeyFile
from .relay import Relay
from .request import (
    LIVE,
    MODELS,
    READY,
    Generation,
    Gone,
    Receive,
    Scope,
    Send,
    bearer,
    choose,
    described,
    method_for,
    parse,
    read_body,
    usable,
)
from .settings import Settings

_log = logging.getLogger("ebbtide.gateway")


class Gateway:
    """One process's front. ``engine`` starts in the background: liveness answers from the first moment."""

    def __init__(self, settings: Settings, keys: KeyFile, engine: Engine, guard: WakeGuard, view: Workloads) -> None:
        self._settings = settings
        self._models = settings.by_any_name()
        self._keys = keys
        self._engine = engine
        self._guard = guard
        self._view = view

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            # A websocket is refused by closing it before it was accepted.
            await send({"type": "websocket.close", "code": 1008})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        starting = asyncio.create_task(self._engine.start())
        starting.add_done_callback(_end_on_failure)
        following = asyncio.create_task(self._view.follow())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in (following, starting):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await self._engine.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        record = Record(scope["method"], path)
        try:
            if scope["method"] != method_for(path):
                raise ApiError(405, "method_not_allowed", f"{path} takes {method_for(path)} only")
            if path in (LIVE, READY):
                await self._health(path, send)
                return
            await self._authenticated(scope, record, receive, send)
        except ApiError as refusal:
            record.status, record.code = refusal.status, refusal.code
            await answer(send, refusal.status, refusal.headers(), refusal.body())
        except Gone:
            record.complete = False
        if path not in (LIVE, READY):
            record.write()

    async def _health(self, path: str, send: Send) -> None:
        good = path == LIVE or (self._engine.ready and self._keys.ready)
        body = b'{"ok": true}' if good else b'{"ok": false}'
        await answer(send, 200 if good else 503, error_headers(None), body)

    async def _authenticated(self, scope: Scope, record: Record, receive: Receive, send: Send) -> None:
        path, headers = scope["path"], scope["headers"]
        ring = self._keys.ring()
        caller = ring.find(bearer(headers)) if ring is not None else None
        if caller is None:
            raise ApiError(401, "invalid_api_key", "this key is not known here")
        record.key, record.group = caller.name, caller.group
        if path == MODELS:
            listed = {"object": "list", "data": [described(model) for model in usable(self._models, caller)]}
            await self._document(send, record, listed)
            return
        if path.startswith(MODELS + "/"):
            model = choose(self._models, caller, path.removeprefix(MODELS + "/"))
            await self._document(send, record, described(model))
            return
        body = await read_body(headers, receive, self._settings.limits.max_body_bytes)
        if not self._engine.ready:
            raise ApiError(503, "starting", "the gateway is starting", retry_after=5)
        asked = parse(path, body, self._models, caller, self._engine.owned_parameters)
        record.model = asked.model.name
        await self._until_gone(asked, record, receive, send)

    async def _document(self, send: Send, record: Record, document: dict[str, Any]) -> None:
        record.status = 200
        await answer(send, 200, error_headers(None), json.dumps(document).encode())

    async def _until_gone(self, asked: Generation, record: Record, receive: Receive, send: Send) -> None:
        """Serve, unless the client leaves first: then everything on its behalf ends, the upstream request
        too.
        """
        serving = asyncio.create_task(self._serve(asked, record, send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait((serving, leaving), return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
        finally:
            for task in (serving, leaving):
                if not task.done():
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task

    async def _serve(self, asked: Generation, record: Record, send: Send) -> None:
        call = Call(asked.model, asked.path, held=self._guard.asleep(asked.model))
        current.set(call)
        relay = Relay(call, record, send)
        try:
            async with self._guard.admitted(asked.model) as waited:
                call.held, call.waited_seconds = call.held or waited >= 0.001, waited
                await self._through_litellm(asked, relay)
                await relay.finish()
        finally:
            await call.close()
            record.wait_seconds, record.attempts = (call.waited_seconds if call.held else 0.0), call.attempts

    async def _through_litellm(self, asked: Generation, relay: Relay) -> None:
        try:
            await self._engine.handle(asked.path, asked.body, relay.send)
        except Exception as problem:
            # Only the type: LiteLLM's messages repeat what the client sent.
            _log.error("LiteLLM failed on %s: %s", asked.path, type(problem).__name__)
            if relay.started:
                raise


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """One whole response."""
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _end_on_failure(starting: asyncio.Task[None]) -> None:
    if not starting.cancelled() and starting.exception() is not None:
        # A gateway that can never become ready must restart and be seen restarting.
        _log.critical("LiteLLM did not start: %r", starting.exception())
        os.kill(os.getpid(), signal.SIGTERM)
