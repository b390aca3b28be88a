"""HTTP/1.1 server for clients: aiohttp's, with bounds for clients that have not shown a key (docs/decisions/0018).

aiohttp itself bounds a line, a field and the number of fields, and serves a request with ``Upgrade`` as plain HTTP/1.1.
This module bounds what it leaves open: the size of a whole head and the time it may take, the connections without a
key, readers that do not read, and the connections that a stopping process waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from .errors import ApiError
from .settings import Limits

_LINE_BYTES = 8190
_FIELD_BYTES = 16 * 1024
_FIELDS = 100
# longer than any load balancer keeps an idle connection (4000 s at most): a connection that we close first may just be
# carrying the next request, and its client gets a 502
_KEEP_SECONDS = 4100.0
_REST_OF_A_REFUSED_BODY_SECONDS = 5.0
_LOOK_SECONDS = 1.0


class Leaving(Exception):
    """Signal that this process has to stop while a request's body is still coming."""


class Connection(RequestHandler):
    """Connection of one client. ``known``: a request on it had a good key."""

    def __init__(self, connections: Connections, limits: Limits, **options: Any) -> None:
        super().__init__(connections, **options)
        self._all = connections
        self._limits = limits
        self._wire: asyncio.Transport | None = None
        self.known = False
        self._working = False
        self._has_request = False
        self._body: StreamReader | None = None
        self._quiet_since = self._loop.time()
        self._head_since: float | None = None
        self._head_bytes = 0
        self._unread, self._unread_since = 0, self._quiet_since

    @property
    def leaving(self) -> bool:
        """Return True if the connection ends with the request that is being answered."""
        return self._close or self._all.going

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast(asyncio.Transport, transport)  # uvloop's own is no subclass of it
        super().connection_made(transport)
        self._all.came(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._all.went(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        idle = self._is_idle()
        super().data_received(data)
        self._has_request = self._has_request or bool(self._messages)
        if not idle:
            return
        if not self._is_idle():
            self._head_since, self._head_bytes = None, 0
            return
        if self._head_since is None:
            self._head_since = self._loop.time()
        self._head_bytes += len(data)
        if self._head_bytes > self._limits.head_bytes:
            self._refuse(head_too_large(self._limits.head_bytes))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to what is not HTTP, in the shape of every other error."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer had begun")
        error = malformed(exc) if status == 400 else ApiError(status, "internal", "the gateway could not answer this")
        headers = error.headers() | own_headers(self._all.refused(error))
        response = web.Response(status=error.status, body=error.body(), headers=headers)
        response.force_close()
        return response

    def show_key(self) -> None:
        """Note that a request on this connection has a good key."""
        self.known = True
        self._all.forget(self)

    @contextlib.contextmanager
    def reading(self, body: StreamReader) -> Iterator[None]:
        """Mark a request's body as being read; raises ``Leaving`` there when the process has to stop."""
        self._body = body
        try:
            yield
        finally:
            self._body = None

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Mark an admitted request as being answered: it may take as long as a hold and its answer."""
        self._working = True
        try:
            yield
        finally:
            self._working = False

    def rest(self) -> None:
        """Note that a request has been answered."""
        self._quiet_since = self._loop.time()

    def leave(self) -> None:
        """End the connection: at once if no admitted request is being answered on it, else with that answer."""
        if self._working:
            self.close()
        elif self._body is not None:
            self._lingering_time = 0.0
            self._body.set_exception(Leaving())
            self.close()
        else:
            self.abort()

    def abort(self) -> None:
        """End the connection now, whatever is still to be sent."""
        if self._wire is not None:
            self._wire.abort()

    def look(self, now: float, leaving: bool) -> None:
        """End the connection if it has overstayed."""
        assert self._wire is not None
        unread = self._wire.get_write_buffer_size()
        if unread == 0 or unread < self._unread:
            self._unread_since = now
        self._unread = unread
        patience = self._limits.reader_seconds
        if now - self._unread_since > (min(patience, self._limits.head_seconds) if leaving else patience):
            self.abort()
        elif not self._is_idle():
            return
        elif self._head_since is not None and now - self._head_since > self._limits.head_seconds:
            seconds = f"{self._limits.head_seconds:g} s"
            self._refuse(ApiError(408, "request_timeout", f"the request's headers were not complete within {seconds}"))
        elif not self.known and now - self._quiet_since > self._limits.idle_seconds:
            self.abort()

    def _is_idle(self) -> bool:
        """Return True if the connection waits for a request's headers, or for the rest of them."""
        if self._waiter is None:  # before its first request, or while one is being answered
            return not self._has_request
        return not self._messages and not self._waiter.done()

    def _refuse(self, error: ApiError) -> None:
        """Answer a head that is not complete and of which aiohttp knows nothing yet."""
        if self._wire is None or self._wire.is_closing():
            return
        headers, body = error.headers() | own_headers(self._all.refused(error)), error.body()
        head = [f"HTTP/1.1 {error.status} {error.code}", "connection: close", f"content-length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        self._wire.write("\r\n".join([*head, "", ""]).encode() + body)
        self.force_close()


class Connections(web.Server):
    """All connections. ``answer`` answers a request; ``refused`` logs what never became one, and returns its id.
    ``going``: the process was told to go, and each answer ends its connection, so that no balancer keeps one.
    """

    def __init__(
        self,
        answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        refused: Callable[[ApiError], str],
        limits: Limits,
    ) -> None:
        # its log repeats what clients sent, with tracebacks; the relevant part is in the access log
        logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
        super().__init__(answer, handler_cancellation=True)
        self.refused = refused
        self._limits = limits
        self._open: dict[Connection, None] = {}
        self._keyless: dict[Connection, None] = {}
        self.going = False
        self._leaving = False
        self._fewer = asyncio.Event()

    def __call__(self) -> RequestHandler:
        """Return a new connection."""
        return Connection(
            self,
            self._limits,
            loop=self._loop,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=_KEEP_SECONDS,
            lingering_time=_REST_OF_A_REFUSED_BODY_SECONDS,
            max_line_size=_LINE_BYTES,
            max_field_size=_FIELD_BYTES,
            max_headers=_FIELDS,
        )

    def came(self, connection: Connection) -> None:
        """Add a connection. The oldest one without a key makes room: a client that has a key shows it at once."""
        self._open[connection] = self._keyless[connection] = None
        if len(self._keyless) > self._limits.keyless_connections:
            oldest = next(iter(self._keyless))
            self.forget(oldest)
            oldest.abort()

    def forget(self, connection: Connection) -> None:
        """Stop counting the connection as one without a key."""
        self._keyless.pop(connection, None)

    def went(self, connection: Connection) -> None:
        """Remove a connection that is gone."""
        self._open.pop(connection, None)
        self.forget(connection)
        self._fewer.set()

    async def watch(self) -> None:
        """End overstaying connections, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = self._loop.time()
            for connection in list(self._open):
                connection.look(now, self._leaving)

    async def drain(self) -> None:
        """End connections without an admitted request now, others with their answer, the rest after
        ``shutdown_seconds``.
        """
        self._leaving = True
        for connection in list(self._open):
            connection.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.shutdown_seconds):
                while self._open:
                    self._fewer.clear()
                    await self._fewer.wait()
        for connection in list(self._open):
            connection.abort()
        await self.shutdown(_LOOK_SECONDS)


def own_headers(request_id: str) -> dict[str, str]:
    """Return the headers of every answer."""
    return {"x-request-id": request_id, "server": "ebbtide"}


def head_too_large(most: int) -> ApiError:
    """Return the 431 for all of a request's headers together."""
    return ApiError(431, "headers_too_large", f"the request's headers may have at most {most} bytes together")


def malformed(problem: BaseException | None) -> ApiError:
    """Return the error for malformed input, without repeating it: it may hold a key."""
    if isinstance(problem, LineTooLong):
        if problem.args[1] == _LINE_BYTES:
            return ApiError(414, "uri_too_long", f"the request line may have at most {_LINE_BYTES} bytes")
        return ApiError(431, "headers_too_large", f"a request header may have at most {_FIELD_BYTES} bytes")
    if str(problem) == "Too many headers received" or "Too many headers" in getattr(problem, "message", ""):
        return ApiError(431, "headers_too_large", f"a request may have at most {_FIELDS} headers")
    return ApiError(400, "malformed_request", f"this is no HTTP/1.1 request ({type(problem).__name__})")
