"""The ASGI application: everything a request must pass before it is asked upstream."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Sequence
from typing import Any

from .access_log import NOT_ANSWERED, Record
from .budgets import Budgets, Group
from .call import Answer, Call
from .cluster import Watched
from .elsewhere import Elsewhere
from .errors import ApiError, error_headers
from .failed_wakes import FailedWakes
from .guard import WakeGuard
from .keys import KeyFile
from .metrics import Metrics
from .places import Places
from .relay import deliver
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
from .upstream import WakeTransport

_log = logging.getLogger("ebbtide.gateway")


class Gateway:
    """One process's front. Liveness answers from the first moment, requests once the cluster was looked at."""

    def __init__(
        self,
        settings: Settings,
        keys: KeyFile,
        transport: WakeTransport,
        guard: WakeGuard,
        failed: FailedWakes,
        views: Sequence[Watched],
        metrics: Metrics,
        budgets: Budgets,
        elsewhere: Elsewhere,
    ) -> None:
        self._settings = settings
        self._models = settings.by_any_name()
        self._keys = keys
        self._transport = transport
        self._guard = guard
        self._failed = failed
        self._views = views
        self._metrics = metrics
        self._budgets = budgets
        self._elsewhere = elsewhere
        self._places = Places()
        self._looked = False

    def looked(self) -> None:
        """The cluster was looked at, or it was seen that it cannot be: from here the guard decides as it should, and a
        cluster's API that is away for longer does not keep the gateway from answering.
        """
        self._looked = True

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
        await self._transport.start()
        following = [asyncio.create_task(view.follow()) for view in self._views]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in following:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await self._transport.stop()
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
        except Exception as problem:
            # Only the type: a message may repeat what the client sent.
            _log.error("internal error on %s: %s", path, type(problem).__name__)
            record.code = "internal"
            if record.status == NOT_ANSWERED:
                broken = ApiError(500, "internal", "the gateway could not handle this request")
                record.status = broken.status
                await answer(send, broken.status, broken.headers(), broken.body())
        if path not in (LIVE, READY):
            record.write()
            self._metrics.finished(record)

    async def _health(self, path: str, send: Send) -> None:
        good = path == LIVE or (self._looked and self._keys.ready)
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
        if not self._looked:
            raise ApiError(503, "starting", "the gateway is starting", retry_after=5)
        asked = parse(path, body, self._models, caller)
        record.model = asked.model.name
        if caller.rights.requests_per_minute is not None:
            self._elsewhere.refresh()
        self._budgets.ask(caller.rights)
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
        model = asked.model
        slept = self._guard.asleep(model)
        call = Call(model, asked.path, asked.prompt, held=slept)
        try:
            await self._failed.unless_failing(
                model,
                lambda: call.response is not None or record.status != NOT_ANSWERED,
                lambda: self._admitted(asked, call, slept, record, send),
            )
        finally:
            call.close()
            record.wait_seconds, record.attempts = (call.waited_seconds if call.held else 0.0), call.attempts

    async def _admitted(self, asked: Generation, call: Call, slept: bool, record: Record, send: Send) -> None:
        model = asked.model
        with contextlib.ExitStack() as waiting:
            if slept:
                if asked.caller.rights.max_wakes_per_day is not None:
                    await self._elsewhere.wakes()
                self._budgets.may_wake(asked.caller.rights, model, self._groups())
                waiting.enter_context(self._metrics.holding(model.name))
            if self._transport.has_to_wait(call):
                waiting.enter_context(self._places.taken(model))
            async with self._guard.admitted(model) as waited:
                call.held, call.waited_seconds = call.held or waited >= 0.001, waited
                call.woken = self._begin_wake(asked)
                found = await self._transport.ask(call, asked.body)
                waiting.close()
                if slept and isinstance(found, Answer):
                    self._metrics.woke(model.name, call.waited_seconds)
                await deliver(found, call, record, send)

    def _begin_wake(self, asked: Generation) -> bool:
        """Whether this request is what wakes the model; then it is taken from its group's budget."""
        if not self._guard.first(asked.model):
            return False
        self._budgets.wake(asked.caller.rights, asked.model, self._groups())
        return True

    def _groups(self) -> tuple[Group, ...]:
        ring = self._keys.ring()
        return ring.groups if ring is not None else ()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """One whole response."""
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
