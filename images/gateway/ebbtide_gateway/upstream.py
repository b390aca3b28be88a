"""The only way out: one admitted call is sent to a replica of its model, again and again while the model wakes.

Host and path come from the admitted ``Call``; the client's headers are not sent. So nothing that a client sends can
lead to another model or host.

While no replica is known to be ready, a GET without a body goes first to the interceptor, which wakes the model and
holds the GET. The interceptor notices at once when a GET is given up, and nobody waits any more; it would count a held
POST until its own hold ends, since Go's server looks at a connection only after the body was read. The call itself
passes the interceptor only if the replicas cannot be seen.
"""

from __future__ import annotations

import functools
import json
import random
import socket
import time
from asyncio import sleep
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import aiohttp
from yarl import URL

from .engine_deaths import EndsEngines, EngineDeaths, MustWait
from .errors import engine_died, upstream_error
from .parameters import constraints
from .replicas import Replicas
from .settings import Model
from .upstream_call import Answer, Call, Failure

_CONNECT_SECONDS = 5.0
_KEEPALIVE_SECONDS = 3.0  # vLLM closes a connection after 5 s without a request
_BACKOFF_SECONDS = (0.1, 0.2, 0.4, 0.8)
_BUSY_RETRY_AFTER_SECONDS = 5.0
_NOT_READY_RETRY_AFTER_SECONDS = 15.0
_KNOCK_PATH = "/health"
_HOP_STATUSES = frozenset({502, 503, 504})
_REFUSAL = b'data: {"error"'
_NAMED_REFUSAL = b"event: error\n"  # where an API names its events
_MAX_ERROR_BYTES = 1024 * 1024
# A hold sends nothing for minutes: probes find a peer that vanished silently.
_PROBES = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6),
)


class Interrupted(Exception):
    """Attempt that ended before its first byte for a reason that a wake explains."""


class EngineLost(Interrupted):
    """Attempt whose engine broke it off silently: it died, or the cluster removed it."""


class EngineDied(EngineLost):
    """Attempt whose engine said that it died."""


class BrokenOff(Exception):
    """Answer that ended in its middle."""


def connections(request_seconds: float) -> aiohttp.ClientSession:
    """Open the client session: unlimited, since each held request keeps a connection; no proxy, no cookie, no redirect
    of the environment's or the upstream's choice. Needs a running event loop.
    """
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS, socket_factory=_socket)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=request_seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("accept", "user-agent"),
        auto_decompress=False,
        trust_env=False,
    )


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    opened = socket.socket(family, kind, protocol)
    for level, option, value in _PROBES:
        opened.setsockopt(level, option, value)
    return opened


class WakeTransport:
    """Transport that sends an admitted call again until it is answered or the model's hold is over."""

    def __init__(self, interceptor_url: str, request_seconds: float, replicas: Replicas, deaths: EngineDeaths) -> None:
        self._interceptor = interceptor_url.rstrip("/")
        self._request_seconds = request_seconds
        self._replicas = replicas
        self._deaths = deaths
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Create the connection pool; nothing is connected to yet."""
        self._session = connections(self._request_seconds)

    async def stop(self) -> None:
        """Close what is still open."""
        if self._session is not None:
            await self._session.close()

    def has_to_wait(self, call: Call) -> bool:
        """Return True if no replica is known that would answer the call now."""
        return not self._replicas.any(call.model.name)

    def refuse(self, call: Call) -> None:
        """Raise ``EndsEngines`` for a request that engines died of, before anything is done for it."""
        self._deaths.check(call)

    async def ask(self, call: Call) -> Answer | Failure:
        """Send the call on. Never raises for the network: a deadline or a final error is returned as a ``Failure``."""
        started = time.monotonic()
        try:
            return await self._until_answered(call, started + call.model.hold_seconds)
        finally:
            self._deaths.leave(call)
            call.held = call.held or call.attempts > 1
            if call.held:
                call.waited_seconds += time.monotonic() - started

    async def ask_ready(self, model: Model, path: str, body: bytes) -> tuple[int, dict[str, Any] | None] | None:
        """Ask one ready replica, once, and never by a wake: return its status, and its error if there is one; None
        where no replica is ready or it was lost."""
        replica = self._replicas.pick(model.name)
        if replica is None:
            return None
        leave = self._replicas.enter(model.name, replica)
        try:
            async with await self._send(Call(model, path, body=body), replica, "POST", path) as response:
                return response.status, upstream_error(response.status, await _read(response, _MAX_ERROR_BYTES))
        except (Interrupted, aiohttp.ClientError, OSError):
            return None
        finally:
            leave()

    async def ride(self, call: Call) -> Answer | Failure | None:
        """Send the call to a ready replica, once, and never by a wake. None: there is none, or it was lost."""
        try:
            replica = self._choose(call)
            if replica is None:
                return None
            call.attempts += 1
            try:
                return await self._ask(call, replica)
            except Interrupted as reason:
                self._lost(call, replica, reason)
                return None
        except Interrupted:
            return None
        except EndsEngines as refusal:
            return Failure(refusal.status, refusal.message, refusal.code)
        except aiohttp.SocketTimeoutError:
            return too_slow(call, self._request_seconds)
        finally:
            self._deaths.leave(call)

    async def _until_answered(self, call: Call, deadline: float) -> Answer | Failure:
        while True:
            try:
                return await self._attempt(call)
            except Interrupted as reason:
                pause = pause_after(call.attempts)
                if time.monotonic() + pause >= deadline:
                    return engine_ended(call) if isinstance(reason, EngineLost) else not_ready(call, str(reason))
                await sleep(pause)
            except EndsEngines as refusal:
                return Failure(refusal.status, refusal.message, refusal.code)
            except aiohttp.SocketTimeoutError:
                return too_slow(call, self._request_seconds)

    async def _attempt(self, call: Call) -> Answer | Failure:
        call.attempts += 1
        replica = self._choose(call)
        if replica is None:
            await self._knock(call)
            replica = self._choose(call)
            if replica is None and self._replicas.are_seen and self._deaths.is_suspect(call):
                raise Interrupted("the replica in which it is to be tried alone is not seen yet")
        try:
            return await self._ask(call, replica)
        except Interrupted as reason:
            self._lost(call, replica, reason)
            call.close()
            raise

    def _choose(self, call: Call) -> str | None:
        name = call.model.name
        try:
            return self._deaths.choose(
                call, self._replicas.ready(name), lambda without: self._replicas.pick(name, call.prompt, without)
            )
        except MustWait:
            raise Interrupted("requests that an engine died with are tried one at a time") from None

    async def _ask(self, call: Call, replica: str | None) -> Answer | Failure:
        """Send the call to that replica, or to any that the interceptor finds."""
        call.leave = self._enter(call, replica)
        response = call.response = await self._send(call, replica, "POST", call.path)
        result = await (_judged(call, replica, response) if response.status >= 300 else _begun(call, response))
        self._deaths.begun(call, replica)
        if isinstance(result, Answer) and result.rest is not None:
            return replace(result, rest=self._to_its_end(call, replica, result.rest))
        if result.status < 500:
            self._deaths.answered(call)
        return result

    def _enter(self, call: Call, replica: str | None) -> Callable[[], None]:
        uncount = None if replica is None else self._replicas.enter(call.model.name, replica, rides=call.rides)
        self._deaths.sent(call, replica)

        def leave() -> None:
            if uncount is not None:
                uncount()
            self._deaths.left(call, replica)

        return leave

    def _lost(self, call: Call, replica: str | None, reason: Exception) -> None:
        """Note that the replica did not answer as a ready one does; its engine may have died. A silent break behind the
        interceptor may be the interceptor's own end.
        """
        died = isinstance(reason, EngineDied)
        if replica is not None:
            died = died or (isinstance(reason, EngineLost) and not self._replicas.is_leaving(replica))
            self._replicas.missed(replica)
        if died:
            self._deaths.died(replica, call.model.name)

    async def _to_its_end(self, call: Call, replica: str | None, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the rest of a stream. Raises ``BrokenOff``, also if the engine says in an event that it has died."""
        refusal = _refusal(call)
        try:
            async for chunk in rest:
                if refusal in chunk and _says_that_it_died(chunk, refusal):
                    self._lost(call, replica, EngineDied("its engine ended"))
                    raise BrokenOff("its engine ended")
                yield chunk
        except BrokenOff as problem:
            self._lost(call, replica, EngineLost(str(problem)))
            raise
        self._deaths.answered(call)

    async def _knock(self, call: Call) -> None:
        """Return once something answers for the model; the answer itself is ignored: the call will get its own."""
        async with await self._send(call, None, "GET", _KNOCK_PATH) as response:
            if response.status in _HOP_STATUSES:
                raise Interrupted(f"{_who(None)} answered {response.status}")

    async def _send(self, call: Call, replica: str | None, method: str, path: str) -> aiohttp.ClientResponse:
        assert self._session is not None
        data: bytes | AsyncIterator[bytes] | None = None
        headers = {"host": call.model.host, "accept-encoding": "identity", "user-agent": "ebbtide-gateway"}
        if method == "POST" and call.form is not None:
            headers |= call.form.headers()
            data = call.form.pieces()
        elif method == "POST":
            headers["content-type"] = "application/json"
            data = call.body
        base = self._interceptor if replica is None else f"http://{replica}"
        try:
            return await self._session.request(
                method, _url(base + path), data=data, headers=headers, allow_redirects=False
            )
        except aiohttp.SocketTimeoutError:
            raise
        except (aiohttp.ClientError, OSError) as problem:
            nobody_there = replica is None or isinstance(problem, aiohttp.ClientConnectorError)
            raise (Interrupted if nobody_there else EngineLost)(
                f"no answer from {_who(replica)} ({type(problem).__name__})"
            ) from None


@functools.lru_cache(maxsize=1024)
def _url(text: str) -> URL:
    return URL(text, encoded=True)  # parsing it for each request would cost more than sending it


def _who(replica: str | None) -> str:
    return "the interceptor" if replica is None else "a replica"


async def _judged(call: Call, replica: str | None, response: aiohttp.ClientResponse) -> Failure:
    """Return a final error; raises ``Interrupted`` when it is not one of the engine's own."""
    try:
        content = await _read(response, _MAX_ERROR_BYTES)
    except (aiohttp.ClientError, OSError):
        content = b""
    status = response.status
    error = upstream_error(status, content)
    if error is not None and engine_died(error, status):
        raise EngineDied("its engine ended")
    if error is None and status in _HOP_STATUSES:
        raise Interrupted(f"{_who(replica)} answered {status}")
    if error is not None and status == 404 and call.model.adapter is not None and not call.model.adapter.loaded:
        # the name was checked here: a replica from before the adapter, which its update replaces
        raise Interrupted(f"{_who(replica)} does not have adapter {call.model.adapter.name!r} yet")
    if error is None and status == 404 and replica is None:
        message = f"the interceptor has no route for {call.model.host}; is the model's InterceptorRoute there?"
        return Failure(502, message, "route_missing")
    if status < 400:
        message = f"model {call.model.name!r} answered {status}, which is no answer to a POST"
        return Failure(502, message, "upstream_error")
    if error is None:
        message = f"model {call.model.name!r} answered {status} without a reason"
        return Failure(status, message, "upstream_error")
    if status == 500 and (names := constraints(json.loads(call.body))):
        message = f"model {call.model.name!r} failed at this request alone, likely at its {' or '.join(names)}: "
        return Failure(400, message + error["message"], "unusable_constraint", param=names[0])
    return _engines_own(status, error, _seconds(response.headers.get("retry-after")))


def _engines_own(status: int, error: dict[str, Any], retry_after: float | None) -> Failure:
    if status in (429, 503) and retry_after is None:
        retry_after = _BUSY_RETRY_AFTER_SECONDS
    code, param = error.get("code", status), error.get("param")
    return Failure(status, error["message"], code, error.get("type"), param, retry_after)


def pause_after(attempts: int) -> float:
    """Return the seconds before the next attempt, spread so that many held requests do not come back in step."""
    spread = random.uniform(0.8, 1.2)  # noqa: S311
    return _BACKOFF_SECONDS[min(attempts, len(_BACKOFF_SECONDS)) - 1] * spread


def not_ready(call: Call, last: str) -> Failure:
    """Return the failure for a hold that is over while nothing was ready."""
    message = (
        f"model {call.model.name!r} did not become ready within {call.model.hold_seconds:g} s "
        f"({call.attempts} attempts; last: {last})"
    )
    return Failure(504, message, "model_not_ready", retry_after=_NOT_READY_RETRY_AFTER_SECONDS)


def engine_ended(call: Call) -> Failure:
    """Return the failure for a hold that is over, after an engine ended with this request in it."""
    message = f"the engine of model {call.model.name!r} ended while it worked on this and other requests"
    return Failure(503, message, "engine_ended", retry_after=_NOT_READY_RETRY_AFTER_SECONDS)


def too_slow(call: Call, seconds: float) -> Failure:
    """Return the failure for a model that took the request and sent nothing for longer than any answer may take."""
    message = f"model {call.model.name!r} gave no byte for {seconds:g} s"
    return Failure(504, message, "request_timeout", retry_after=_NOT_READY_RETRY_AFTER_SECONDS)


async def _begun(call: Call, response: aiohttp.ClientResponse) -> Answer | Failure:
    """Return the answer once its first bytes are here, or all of them if it is no stream. A pod that goes away before
    them has cost nothing: retry. A stream whose first event is an error is no answer, and is returned as a ``Failure``.
    """
    content_type = response.headers.get("content-type", "application/json")
    rest: AsyncIterator[bytes] | None = None
    try:
        if content_type.startswith("text/event-stream"):
            first = await response.content.readany()
            if first.startswith(_refusal(call)):
                refused = await _refused_in_the_stream(first, response)
                call.close()
                return refused
            rest = _rest(response)
        else:
            first = await response.read()
    except aiohttp.SocketTimeoutError:
        raise
    except (aiohttp.ClientError, OSError) as problem:
        raise EngineLost(f"the answer broke off before its first byte ({type(problem).__name__})") from None
    return Answer(response.status, content_type, response.headers.get("cache-control"), first, rest)


async def _refused_in_the_stream(first: bytes, response: aiohttp.ClientResponse) -> Failure:
    """Return the failure for a refusal within a stream. vLLM checks whether its queue is full before it begins a stream
    and once more after that: a request overtaken in between is refused within a stream that says 200. Nothing has gone
    to the client yet, so it can get the proper status.
    """
    event = first
    while b"\n\n" not in event and len(event) < _MAX_ERROR_BYTES and (more := await response.content.readany()):
        event += more
    error = _first_error(event)
    if error is not None and engine_died(error):
        raise EngineDied("its engine ended")
    if error is None:
        return Failure(502, "the model began its answer with an error", "upstream_error")
    code = error.get("code")
    return _engines_own(code if isinstance(code, int) and 400 <= code < 600 else 502, error, None)


def _first_error(events: bytes) -> dict[str, Any] | None:
    event = events.partition(b"\n\n")[0].removeprefix(_NAMED_REFUSAL)
    return upstream_error(502, event.removeprefix(b"data: "))


def _refusal(call: Call) -> bytes:
    """Return the beginning of an event by which the engine says that it failed."""
    return _REFUSAL if call.api == "openai" else _NAMED_REFUSAL


def _says_that_it_died(chunk: bytes, refusal: bytes) -> bool:
    error = _first_error(chunk[chunk.index(refusal) :])
    return error is not None and engine_died(error)


async def _rest(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield bytes as they come. Not read ahead of the client: a slow one slows the engine's socket, not this memory."""
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError) as problem:
        raise BrokenOff(type(problem).__name__) from None


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    content = b""
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > limit:
            break
    return content


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isdigit() else None
