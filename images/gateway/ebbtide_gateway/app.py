"""Request pipeline: everything a request passes before it is sent upstream."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from aiohttp import web
from ebbtide_kube.informer import Informer

from . import cors
from .access_log import NOT_ANSWERED, Record, request_id
from .budgets import Budgets, Group, SharedUsage
from .errors import NO_IDLE_REPLICA, ApiError, error_headers
from .failed_wakes import FailedWakes
from .guard import Places, WakeGuard
from .keys import Caller, KeyFile
from .loaded_adapters import LOAD, UNLOAD, LoadedAdapters
from .metrics import Metrics
from .model_states import ModelStates
from .relay import KeptReply, Reply, deliver
from .request import (
    LIVE,
    MODELS,
    READY,
    BodyMemory,
    Generation,
    Share,
    check_method,
    choose,
    described,
    is_of_a_stored_response,
    methods_for,
    not_stored,
    parse,
    parse_form,
    presented_key,
    read_body,
    read_form_body,
    unknown_key,
    usable,
)
from .routes import ROUTES, api_of
from .server import Connection, head_too_large
from .settings import Limits, Model, Settings
from .upstream import WakeTransport
from .upstream_call import Answer, Call
from .usage import Use

if TYPE_CHECKING:
    from .accounts import Accounts
    from .admin import Admin
    from .batch_api import BatchApi
    from .batch_work import BatchWork

_NOT_STORED = {"cache-control": "no-store"}
_log = logging.getLogger("ebbtide.gateway")


class Gateway:
    """Front of one process. Liveness answers from the first moment, requests once the cluster was looked at."""

    def __init__(
        self,
        settings: Settings,
        keys: KeyFile,
        transport: WakeTransport,
        guard: WakeGuard,
        failed: FailedWakes,
        views: Sequence[Informer],
        metrics: Metrics,
        budgets: Budgets,
        elsewhere: SharedUsage,
        states: ModelStates,
        adapters: LoadedAdapters,
        accounts: Accounts | None = None,
        admin: Admin | None = None,
        batch_api: BatchApi | None = None,
        batch_work: BatchWork | None = None,
    ) -> None:
        self._settings = settings
        self._adapters = adapters
        self._keys = keys
        self._transport = transport
        self._guard = guard
        self._failed = failed
        self._views = views
        self._metrics = metrics
        self._budgets = budgets
        self._elsewhere = elsewhere
        self._states = states
        self._accounts, self._admin = accounts, admin
        self._batch_api, self._batch_work = batch_api, batch_work
        self._places = Places()
        self._bodies = BodyMemory(settings.limits.max_held_bytes)
        self._files = BodyMemory(settings.limits.max_file_bytes)
        self._looked = False
        self._leaving = False

    @property
    def _models(self) -> Mapping[str, Model]:
        return self._adapters.models

    @property
    def _started(self) -> bool:
        return self._looked and self._adapters.looked

    def mark_ready(self) -> None:
        """Note that the cluster was looked at, or is known to be unreachable: from here the guard decides as it should,
        and a longer outage of the cluster's API does not keep the gateway from answering.
        """
        self._looked = True

    def leave(self) -> None:
        """Say to balancers that no new request should come; those that come all the same are answered."""
        self._leaving = True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what accompanies the requests: the upstream connections and the view of the cluster."""
        await self._transport.start()
        following = [asyncio.create_task(view.run()) for view in self._views]
        if self._accounts is not None:
            self._accounts.start()
        if self._batch_work is not None:
            self._batch_work.start(self.answer_line)
        try:
            yield
        finally:
            if self._batch_work is not None:
                await self._batch_work.stop()
            if self._accounts is not None:
                await self._accounts.stop()
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
            await self._transport.stop()

    def refused(self, error: ApiError) -> str:
        """Log what never became a request; returns its id."""
        record = Record("-", "-", request_id(None), status=error.status, code=error.code)
        record.write()
        self._metrics.finished(record)
        return record.request_id

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. If the client leaves early, this task is cancelled and everything on its behalf ends, the
        upstream request too.
        """
        connection, path = request.protocol, request.path
        assert isinstance(connection, Connection)
        record = Record(request.method, path, request_id(request.headers.get("x-request-id")))
        readers = cors.allowing(self._settings.cors.origins, request.headers.get("origin"))
        reply = Reply(request, connection, record, readers)
        try:
            methods = self._methods_for(path)
            check_method(request.method, path, methods)
            check_head(request, self._settings.limits)
            if request.method == "OPTIONS":
                permitted = cors.permitting(methods, request.headers) if cors.ALLOWED in readers else {}
                await reply.send(204, {"allow": ", ".join(methods)} | permitted, b"")
            elif path in (LIVE, READY):
                await self._health(path, reply)
            else:
                await self._authenticated(request, connection, record, reply)
        except ApiError as refusal:
            record.code = refusal.code
            await reply.send(refusal.status, refusal.headers(), refusal.body(api_of(path)))
        except ConnectionError:
            record.complete = False
            raise
        except Exception as problem:
            # Only the type: a message may repeat what the client sent.
            _log.error("internal error on %s: %s", path, type(problem).__name__)
            record.code = "internal"
            if reply.response is not None:
                raise ConnectionError("broken off by an internal error") from None
            broken = ApiError(500, "internal", "the gateway could not handle this request")
            await reply.send(broken.status, broken.headers(), broken.body(api_of(path)))
        finally:
            reply.close()
            connection.rest()
            if path not in (LIVE, READY):
                self._note(record)
        assert reply.response is not None
        return reply.response

    def _note(self, record: Record) -> None:
        """Note a request that has ended, however it did."""
        record.write()
        self._metrics.finished(record)
        if record.use is not None:
            self._budgets.used(record.use.caller, record.use.total_tokens)
            if self._accounts is not None:
                self._accounts.end(record.use, record)

    async def answer_line(
        self, path: str, body: bytes, caller: Caller, record: Record, reply: KeptReply, rides: bool
    ) -> None:
        """Answer a line of a batch as a request of its key. ``rides``: only where a replica is awake and idle, else 503
        ``no_idle_replica``.
        """
        record.key, record.group = caller.name, caller.group
        try:
            self._check_started()
            generation = parse(path, body, self._models, caller, counted=True)
            generation.rides = rides
            await self._count(generation, nullcontext(), record, reply)
        except ApiError as refusal:
            record.code = refusal.code
            await reply.send(refusal.status, refusal.headers(), refusal.body(api_of(path)))
        finally:
            self._note(record)

    def _methods_for(self, path: str) -> tuple[str, ...]:
        """Return the methods a path takes. Raises ``ApiError`` 404 for every path that is not listed."""
        for own in (self._admin, self._batch_api) if path not in ROUTES else ():
            if own is not None and (methods := own.methods_for(path)) is not None:
                return methods
        return methods_for(path)

    async def _health(self, path: str, reply: Reply) -> None:
        good = path == LIVE or (self._started and self._keys.ready and not self._leaving)
        body = b'{"ok": true}' if good else b'{"ok": false}'
        await reply.send(200 if good else 503, error_headers(None), body)

    async def _authenticated(
        self, request: web.BaseRequest, connection: Connection, record: Record, reply: Reply
    ) -> None:
        path = request.path
        ring = self._keys.ring()
        key = presented_key(request.headers)
        caller = ring.find(key) if ring is not None else None
        if caller is None and ring is not None and self._accounts is not None:
            caller = await self._accounts.caller(key, ring)
        if caller is None or ring is None:
            raise unknown_key()
        record.key, record.group = caller.name, caller.group
        connection.show_key()
        if path == MODELS:
            listed = [described(model, self._states.described(model)) for model in usable(self._models, caller)]
            await reply.send(200, error_headers(None), json.dumps({"object": "list", "data": listed}).encode())
        elif path.startswith(MODELS + "/"):
            model = choose(self._models, caller, path.removeprefix(MODELS + "/"))
            description = described(model, self._states.described(model))
            await reply.send(200, error_headers(None), json.dumps(description).encode())
        elif path in (LOAD, UNLOAD):
            with self._bodies.share() as share:
                body = await read_body(request, connection, self._settings.limits, share)
                self._check_started()
                with connection.working():
                    await self._change_adapters(path, body, caller, record, reply)
        elif is_of_a_stored_response(path):
            raise not_stored()
        elif path not in ROUTES and self._batch_api is not None and self._batch_api.methods_for(path) is not None:
            await self._batches(request, connection, caller, reply, self._batch_api)
        elif path not in ROUTES:
            assert self._admin is not None
            with self._bodies.share() as share:
                body = await read_body(request, connection, self._settings.limits, share)
                status, document = await self._admin.answer(request.method, path, request.query, body, caller, ring)
            await reply.send(status, error_headers(None) | _NOT_STORED, json.dumps(document).encode())
        elif ROUTES[path].body == "form":
            # has no name in the file system: it is gone with the request, and with the process
            with self._files.share() as share, tempfile.TemporaryFile() as file:
                form = await read_form_body(request, connection, self._settings.limits, share, file)
                self._check_started()
                generation = parse_form(path, form, self._models, caller)
                with self._person(generation.model):
                    await self._count(generation, connection.working(), record, reply)
        else:
            with self._bodies.share() as share:
                generation = await self._generation(request, connection, caller, share)
                with self._person(generation.model):
                    await self._count(generation, connection.working(), record, reply)

    def _person(self, model: Model) -> AbstractContextManager[None]:
        """Have no line of a batch in the way of somebody who asks a model."""
        return self._batch_work.person(model.name) if self._batch_work is not None else nullcontext()

    async def _batches(
        self, request: web.BaseRequest, connection: Connection, caller: Caller, reply: Reply, api: BatchApi
    ) -> None:
        """Answer a request for files or batches: they come and go in pieces, and lie on disk in between."""
        method, path = request.method, request.path
        if path == api.FILES and method == "POST":
            with self._files.share() as share, tempfile.TemporaryFile() as file:
                form = await read_form_body(request, connection, self._settings.limits, share, file, api.MOST_BYTES)
                document = await api.upload(form, caller)
        elif method == "GET" and path.endswith("/content"):
            stored, pieces = await api.content(path, caller)
            length = {"content-length": str(stored.bytes), "content-type": "application/octet-stream"}
            await reply.begin(200, length | _NOT_STORED)
            async for piece in pieces:
                await reply.write(piece)
            await reply.end()
            return
        else:
            with self._bodies.share() as share:
                body = await read_body(request, connection, self._settings.limits, share)
                document = await api.answer(method, path, request.query, body, caller)
        await reply.send(200, error_headers(None) | _NOT_STORED, json.dumps(document).encode())

    async def _change_adapters(self, path: str, body: bytes, caller: Caller, record: Record, reply: Reply) -> None:
        """Load an adapter or take one out. The words of the answer are vLLM's."""
        model, name = self._adapters.asked(path, body, caller)
        record.model = name
        await self._admit(caller)
        if path == LOAD:
            await self._adapters.load(model, name, self._transport)
        else:
            await self._adapters.unload(model, name)
        done = f"Success: LoRA adapter '{name}' {'added' if path == LOAD else 'removed'} successfully."
        await reply.send(200, {"content-type": "text/plain; charset=utf-8"}, done.encode())

    async def _count(
        self, generation: Generation, working: AbstractContextManager[None], record: Record, reply: Reply
    ) -> None:
        """Take a checked request from the budgets of its group and its key, and serve it. ``working`` is entered while
        it is served.
        """
        caller, model = generation.caller, generation.model
        record.model = model.engine_name
        if self._accounts is not None:
            self._accounts.begin(caller, model.public_name, model.name, generation.hides_usage, record)
        elif caller.counts_tokens:
            record.use = Use(caller, model.public_name, generation.hides_usage)
        if not caller.holders:
            with working:
                await self._serve(generation, record, reply)
            return
        await self._admit(caller)
        with self._budgets.at_once(caller), working:
            await self._serve(generation, record, reply)

    async def _admit(self, caller: Caller) -> None:
        """Count a request. Raises ``ApiError`` 429 for a limit that is used up, 503 for one that cannot be known."""
        if caller.holders:
            if self._accounts is not None:
                await self._accounts.know_sums(caller.holders)
            await self._elsewhere.follow()
        self._budgets.ask(caller)

    async def _generation(
        self, request: web.BaseRequest, connection: Connection, caller: Caller, share: Share
    ) -> Generation:
        body = await read_body(request, connection, self._settings.limits, share)
        self._check_started()
        generation = parse(
            request.path, body, self._models, caller, counted=self._accounts is not None or caller.counts_tokens
        )
        share.resize(len(generation.body))
        return generation

    def _check_started(self) -> None:
        if not self._started:
            raise ApiError(503, "starting", "the gateway is starting", retry_after=5)

    async def _serve(self, generation: Generation, record: Record, reply: Reply) -> None:
        model, silence = generation.model, self._settings.limits.silence_seconds
        call = Call(
            model,
            generation.path,
            generation.api,
            generation.prompt,
            generation.body,
            generation.form,
            held=self._guard.waking(model),
            rides=generation.rides,
        )
        if generation.stream and silence is not None:
            reply.comment(silence, functools.partial(self._states.comment, call), call)
        try:
            self._transport.refuse(call)
            if call.rides:
                await self._ride(call, record, reply)
                return
            await self._failed.unless_failing(
                model,
                lambda: call.response is not None or (record.status != NOT_ANSWERED and not reply.waiting),
                lambda: self._admitted(generation, call, record, reply),
            )
        finally:
            call.close()
            record.wait_seconds, record.attempts = (call.waited_seconds if call.held else 0.0), call.attempts
            if record.use is not None:
                record.use.woke = call.woken is True

    async def _ride(self, call: Call, record: Record, reply: Reply) -> None:
        call.held = False
        result = await self._transport.ride(call)
        if result is None:
            raise ApiError(503, NO_IDLE_REPLICA, f"model {call.model.name!r} has no replica that is awake")
        await deliver(result, call, record, reply)

    async def _admitted(self, generation: Generation, call: Call, record: Record, reply: Reply) -> None:
        model = generation.model
        slept = self._guard.asleep(model)
        with contextlib.ExitStack() as waiting:
            if slept:
                if any(each.limits.max_wakes_per_day is not None for each in generation.caller.holders):
                    await self._elsewhere.wakes()
                self._budgets.may_wake(generation.caller, model, self._groups())
            if call.held:
                waiting.enter_context(self._metrics.holding(model.name))
            if self._transport.has_to_wait(call):
                waiting.enter_context(self._places.hold(model))
            async with self._guard.admitted(model) as waited:
                call.held, call.waited_seconds = call.held or waited >= 0.001, waited
                call.woken = self._begin_wake(generation)
                result = await self._transport.ask(call)
                waiting.close()
                if slept and isinstance(result, Answer):
                    self._metrics.woke(model.name, call.waited_seconds)
                    self._places.woke(model, call.waited_seconds)
                await deliver(result, call, record, reply)

    def _begin_wake(self, generation: Generation) -> bool:
        """Return True if this request is the one that wakes the model; the budgets are then charged."""
        if not self._guard.first(generation.model):
            return False
        self._budgets.wake(generation.caller, generation.model, self._groups())
        return True

    def _groups(self) -> tuple[Group, ...]:
        ring = self._keys.ring()
        return ring.groups if ring is not None else ()


def check_head(request: web.BaseRequest, limits: Limits) -> None:
    """Raise ``ApiError`` 431 for headers that are too many bytes together, although each is small enough."""
    if sum(len(name) + len(value) + 4 for name, value in request.raw_headers) > limits.head_bytes:
        raise head_too_large(limits.head_bytes)
