"""Relay of an answer to the client: bytes as they come, errors as upstream gave them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping

from aiohttp import web

from .access_log import Record
from .errors import as_event, error_event, error_headers
from .routes import Api
from .server import Connection, own_headers
from .upstream import BrokenOff
from .upstream_call import Answer, Call, Failure

# A buffering proxy on the way would turn a stream into one late block.
_UNBUFFERED = {"x-accel-buffering": "no"}
_EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", **_UNBUFFERED}


class Reply:
    """Answer to one request. ``response`` is set once it has begun; ``waiting``: so far with comments alone;
    ``headers`` are those that every answer has."""

    def __init__(
        self, request: web.BaseRequest, connection: Connection, record: Record, headers: Mapping[str, str]
    ) -> None:
        self._headers = {**headers, **own_headers(record.request_id)}
        self._request = request
        self._connection = connection
        self._record = record
        self.response: web.StreamResponse | None = None
        self.waiting = False
        self._timer: asyncio.TimerHandle | None = None
        self._comments: asyncio.Task[None] | None = None
        self._commenting = asyncio.Lock()
        self._api: Api = "openai"

    def comment(self, seconds: float, text: Callable[[float], bytes], call: Call) -> None:
        """Send a comment each ``seconds`` until the answer begins, after a head that says 200: proxies cut what is
        silent. A client library skips comments (docs/decisions/0029). ``text`` returns one, for the seconds since now.
        An error after them is an event of the call's API.
        """
        self._api = call.api
        began = time.monotonic()

        def begin() -> None:
            self._comments = asyncio.create_task(self._comment(seconds, lambda: text(time.monotonic() - began), call))

        # a task for each request that is answered at once would cost every one of them
        self._timer = asyncio.get_running_loop().call_later(seconds, begin)

    async def _comment(self, seconds: float, text: Callable[[], bytes], call: Call) -> None:
        with contextlib.suppress(ConnectionError):  # whoever answers the request finds that its client has left
            while True:
                async with self._commenting:
                    if not self.waiting:
                        await self._start(web.StreamResponse(headers=self._with_own(_EVENTS | head_of(call))))
                        self.waiting = True
                    await self.write(text())
                await asyncio.sleep(seconds)

    async def _no_more_comments(self) -> bool:
        """Return True if the answer has begun with comments. None is cut off in its middle."""
        if self._comments is None:
            self.close()
            return False
        async with self._commenting:
            self.close()
        waited, self.waiting = self.waiting, False
        return waited

    def close(self) -> None:
        """Send no more comments."""
        if self._timer is not None:
            self._timer.cancel()
        if self._comments is not None:
            self._comments.cancel()

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a whole answer; as an event if the head of a stream is already sent."""
        if await self._no_more_comments():
            await self.write(as_event(self._api, status, body))
        else:
            await self._start(web.Response(status=status, headers=self._with_own(headers), body=body))
        await self.end()

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of an answer that comes in pieces."""
        if not await self._no_more_comments():
            await self._start(web.StreamResponse(status=status, headers=self._with_own(headers)))

    async def write(self, piece: bytes) -> None:
        """Send one piece, when the client has room for it."""
        assert self.response is not None
        await self.response.write(piece)

    async def end(self) -> None:
        """End the answer, all of which was sent."""
        assert self.response is not None
        await self.response.write_eof()
        self._record.complete = True

    def _with_own(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {**headers, **self._headers}

    async def _start(self, response: web.StreamResponse) -> None:
        if self._connection.leaving:
            response.force_close()
        self.response = response
        self._record.status, self._record.complete = response.status, False
        await response.prepare(self._request)


class KeptReply(Reply):
    """Answer that goes to no client: it is kept whole. ``status`` 499: there is none yet."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._kept = bytearray()
        self._retry_after: str | None = None
        self.response, self.waiting = None, False

    @property
    def status(self) -> int:
        """Return the status of the answer."""
        return self._record.status

    @property
    def code(self) -> str | int | None:
        """Return the code of an error."""
        return self._record.code

    @property
    def body(self) -> bytes:
        """Return what came of the answer."""
        return bytes(self._kept)

    @property
    def request_id(self) -> str:
        """Return the id by which the access log knows the request."""
        return self._record.request_id

    @property
    def retry_after(self) -> float | None:
        """Return the seconds after which to ask again, where the answer says so."""
        return None if self._retry_after is None else float(self._retry_after)

    def comment(self, seconds: float, text: Callable[[float], bytes], call: Call) -> None:
        """Send none: nobody waits."""

    def close(self) -> None:
        """There are no comments to end."""

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Keep a whole answer."""
        await self.begin(status, headers)
        await self.write(body)
        await self.end()

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Keep the head of an answer."""
        self._record.status, self._record.complete = status, False
        self._retry_after = headers.get("retry-after")

    async def write(self, piece: bytes) -> None:
        """Keep one piece."""
        self._kept += piece

    async def end(self) -> None:
        """Note that all of it is here."""
        self._record.complete = True


async def deliver(result: Answer | Failure, call: Call, record: Record, reply: Reply) -> None:
    """Send the client the result of its call and note it in the record."""
    if isinstance(result, Failure):
        record.code = result.code
        await reply.send(result.status, error_headers(result.retry_after) | call_headers(call), result.body(call.api))
        return
    if record.use is not None:
        record.use.first_token_seconds = time.monotonic() - record.started
    if result.rest is None:
        if record.use is not None:
            record.use.whole(result.first)
        await reply.send(result.status, answer_headers(result) | call_headers(call), result.first)
    else:
        await _stream(result, call, record, reply)


def answer_headers(answer: Answer) -> dict[str, str]:
    """Return those of the engine's headers that a client needs."""
    headers = {"content-type": answer.content_type}
    if answer.cache_control is not None:
        headers["cache-control"] = answer.cache_control
    return headers


def call_headers(call: Call) -> dict[str, str]:
    """Return the gateway's headers about a call: its model, its wake, its wait."""
    headers = head_of(call)
    if call.held:
        headers["x-ebbtide-wait-seconds"] = f"{call.waited_seconds:.3f}"
    return headers


def head_of(call: Call) -> dict[str, str]:
    """Return those of the headers that are known while it waits."""
    headers = {"x-ebbtide-model": call.model.engine_name}
    if call.woken is not None:
        headers["x-ebbtide-woken"] = "true" if call.woken else "false"
    if call.woken and call.model.usd_per_hour is not None:
        headers["x-ebbtide-usd-per-hour"] = f"{call.model.usd_per_hour:.2f}"
    return headers


async def _stream(answer: Answer, call: Call, record: Record, reply: Reply) -> None:
    await reply.begin(answer.status, answer_headers(answer) | call_headers(call) | _UNBUFFERED)
    rest = answer.rest
    assert rest is not None
    if record.use is None:
        await reply.write(answer.first)
    else:
        rest = record.use.passing(answer.first, rest)
    try:
        async for chunk in rest:
            await reply.write(chunk)
    except BrokenOff as problem:
        record.code = "answer_broken_off"
        await reply.write(broken_off(call, str(problem)))
        await reply.end()
        record.complete = False
        return
    await reply.end()


def broken_off(call: Call, why: str) -> bytes:
    """Return the event that makes a client library raise: a stream that just ended might pass for a whole answer.

    The blank line comes first because the engine's last event may lack its end.
    """
    message = f"the answer of model {call.model.name!r} broke off ({why}); what came so far is not all of it"
    return b"\n\n" + error_event(call.api, 500, message, "answer_broken_off")
