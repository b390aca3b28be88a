"""The only way out: LiteLLM's HTTP clients send through this transport, which retries while a model wakes.

It sits below LiteLLM because only here the interceptor's own status is known: above, a refused connection, a
502 of a hop without a pod and a full engine's 503 all look like LiteLLM's exceptions. It also takes the
target from the admitted ``Call`` and not from the request, so nothing in a client's body can lead to another
model or host.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator

import httpx

from .call import Call, Failure, current
from .errors import error_body, error_type, upstream_error

_CONNECT_SECONDS = 5.0
_BACKOFF_SECONDS = (0.1, 0.2, 0.4, 0.8)
_BUSY_RETRY_AFTER_SECONDS = 5.0
_NOT_READY_RETRY_AFTER_SECONDS = 15.0
_HOP_STATUSES = frozenset({502, 503, 504})
_MAX_ERROR_BYTES = 1024 * 1024
# A hold sends nothing for minutes: probes find a peer that vanished without a word.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6),
)


class Interrupted(Exception):
    """An attempt that ended before its first byte for a reason that a wake explains."""


def connection_pool() -> httpx.AsyncHTTPTransport:
    """The real connections: unlimited, since each held request keeps one; no retries of its own."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=15)
    return httpx.AsyncHTTPTransport(limits=limits, socket_options=_KEEPALIVE, trust_env=False)


class WakeTransport(httpx.AsyncBaseTransport):
    """Sends one admitted call to the interceptor until it answers or the model's hold is over."""

    def __init__(self, interceptor_url: str, request_seconds: float, pool: httpx.AsyncBaseTransport) -> None:
        self._base = interceptor_url.rstrip("/")
        self._timeout = httpx.Timeout(request_seconds, connect=_CONNECT_SECONDS, pool=None)
        self._pool = pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Never raises for the network: a deadline or a final error comes back as a response."""
        call = current.get()
        if call is None:
            raise httpx.UnsupportedProtocol("only admitted model requests may leave the gateway", request=request)
        if call.failure is None:
            body = await request.aread()
            started = time.monotonic()
            response = await self._until_answered(call, body, started + call.model.hold_seconds)
            call.held = call.held or call.attempts > 1
            if call.held:
                call.waited_seconds += time.monotonic() - started
            if response is not None:
                call.response = response
                return response
        failure = call.failure
        assert failure is not None
        return httpx.Response(failure.status, headers={"content-type": "application/json"}, content=failure.body)

    async def _until_answered(self, call: Call, body: bytes, deadline: float) -> httpx.Response | None:
        while True:
            try:
                return await self._attempt(call, body)
            except Interrupted as reason:
                pause = pause_after(call.attempts)
                if time.monotonic() + pause >= deadline:
                    call.failure = not_ready(call, str(reason))
                    return None
                await asyncio.sleep(pause)
            except httpx.TimeoutException:
                call.failure = too_slow(call, self._timeout.read or 0)
                return None

    async def _attempt(self, call: Call, body: bytes) -> httpx.Response | None:
        call.attempts += 1
        request = httpx.Request(
            "POST",
            self._base + call.path,
            headers={
                "host": call.model.host,
                "content-type": "application/json",
                "accept-encoding": "identity",
                "user-agent": "ebbtide-gateway",
            },
            content=body,
            extensions={"timeout": self._timeout.as_dict()},
        )
        try:
            response = await self._pool.handle_async_request(request)
        except httpx.ReadTimeout:
            raise
        except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.TimeoutException) as problem:
            raise Interrupted(f"no answer from the interceptor ({type(problem).__name__})") from None
        if response.status_code >= 400:
            call.failure = await _judged(call, response)
            return None
        return await _begun(response)

    async def aclose(self) -> None:
        """LiteLLM closes clients it has done with; the pool is everybody's and lives as long as the process."""


async def _judged(call: Call, response: httpx.Response) -> Failure:
    """A final error, or ``Interrupted`` when the hop before the engine gave it."""
    try:
        content = await _read(response, _MAX_ERROR_BYTES)
    except (httpx.NetworkError, httpx.RemoteProtocolError):
        content = b""
    finally:
        await response.aclose()
    status = response.status_code
    error = upstream_error(status, content)
    if error is None and status in _HOP_STATUSES:
        raise Interrupted(f"the interceptor answered {status}")
    if error is None and status == 404:
        message = f"the interceptor has no route for {call.model.host}; is the model's InterceptorRoute there?"
        return Failure(502, error_body(message, "server_error", "route_missing"))
    if error is None:
        message = f"model {call.model.name!r} answered {status} without a reason"
        return Failure(status, error_body(message, error_type(status), "upstream_error"))
    retry_after = _seconds(response.headers.get("retry-after"))
    if status in (429, 503) and retry_after is None:
        retry_after = _BUSY_RETRY_AFTER_SECONDS
    kind = error.get("type") or error_type(status)
    code = error.get("code", status)
    return Failure(status, error_body(error["message"], kind, code, error.get("param")), retry_after)


def pause_after(attempts: int) -> float:
    """Seconds before the next attempt, spread so that many held requests do not come back in step."""
    spread = random.uniform(0.8, 1.2)  # noqa: S311
    return _BACKOFF_SECONDS[min(attempts, len(_BACKOFF_SECONDS)) - 1] * spread


def not_ready(call: Call, last: str) -> Failure:
    """The hold is over and nothing was ready."""
    message = (
        f"model {call.model.name!r} did not become ready within {call.model.hold_seconds:g} s "
        f"({call.attempts} attempts; last: {last})"
    )
    return Failure(504, error_body(message, "server_error", "model_not_ready"), _NOT_READY_RETRY_AFTER_SECONDS)


def too_slow(call: Call, seconds: float) -> Failure:
    """The model took the request and gave nothing for longer than any answer may take."""
    message = f"model {call.model.name!r} gave no byte for {seconds:g} s"
    return Failure(504, error_body(message, "server_error", "request_timeout"), _NOT_READY_RETRY_AFTER_SECONDS)


async def _begun(response: httpx.Response) -> httpx.Response:
    """The same answer once its first bytes are here. A pod that goes away before them has cost nothing:
    retry.
    """
    chunks = aiter(_stream_of(response))
    streamed = response.headers.get("content-type", "").startswith("text/event-stream")
    first = []
    try:
        async for chunk in chunks:
            first.append(chunk)
            if streamed:
                break
    except (httpx.NetworkError, httpx.RemoteProtocolError) as problem:
        await response.aclose()
        raise Interrupted(f"the answer broke off before its first byte ({type(problem).__name__})") from None
    return httpx.Response(response.status_code, headers=response.headers, stream=_Resumed(first, chunks, response))


async def _read(response: httpx.Response, limit: int) -> bytes:
    content = b""
    async for chunk in _stream_of(response):
        content += chunk
        if len(content) > limit:
            break
    return content


def _stream_of(response: httpx.Response) -> httpx.AsyncByteStream:
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    return stream


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isdigit() else None


class _Resumed(httpx.AsyncByteStream):
    def __init__(self, first: list[bytes], rest: AsyncIterator[bytes], response: httpx.Response) -> None:
        self._first, self._rest, self._response = first, rest, response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._first:
            yield chunk
        async for chunk in self._rest:
            yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()
