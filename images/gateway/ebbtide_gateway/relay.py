"""Relay of an answer to the client: bytes as they come, errors as upstream gave them."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from .access_log import Record
from .errors import error_event, error_headers
from .server import Connection, own_headers
from .upstream import BrokenOff
from .upstream_call import Answer, Call, Failure


class Reply:
    """Answer to one request. ``response`` is set once it has begun; ``headers`` are those that every answer has."""

    def __init__(
        self, request: web.BaseRequest, connection: Connection, record: Record, headers: Mapping[str, str]
    ) -> None:
        self._headers = {**headers, **own_headers(record.request_id)}
        self._request = request
        self._connection = connection
        self._record = record
        self.response: web.StreamResponse | None = None

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a whole answer."""
        await self._start(web.Response(status=status, headers=self._with_own(headers), body=body))
        await self.end()

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of an answer that comes in pieces."""
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


async def deliver(found: Answer | Failure, call: Call, record: Record, reply: Reply) -> None:
    """Send the client the result of its call and note it in the record."""
    if isinstance(found, Failure):
        record.code = found.code
        await reply.send(found.status, error_headers(found.retry_after) | call_headers(call), found.body(call.api))
    elif found.rest is None:
        await reply.send(found.status, answer_headers(found) | call_headers(call), found.first)
    else:
        await _stream(found, call, record, reply)


def answer_headers(found: Answer) -> dict[str, str]:
    """Return those of the engine's headers that a client needs."""
    headers = {"content-type": found.content_type}
    if found.cache_control is not None:
        headers["cache-control"] = found.cache_control
    return headers


def call_headers(call: Call) -> dict[str, str]:
    """Return the gateway's headers about a call: its model, its wait, its wake."""
    headers = {"x-ebbtide-model": call.model.name}
    if call.held:
        headers["x-ebbtide-wait-seconds"] = f"{call.waited_seconds:.3f}"
    if call.woken:
        headers["x-ebbtide-woken"] = "true"
        if call.model.usd_per_hour is not None:
            headers["x-ebbtide-usd-per-hour"] = f"{call.model.usd_per_hour:.2f}"
    return headers


async def _stream(found: Answer, call: Call, record: Record, reply: Reply) -> None:
    # A buffering proxy on the way would turn a stream into one late block.
    await reply.begin(found.status, answer_headers(found) | call_headers(call) | {"x-accel-buffering": "no"})
    await reply.write(found.first)
    assert found.rest is not None
    try:
        async for chunk in found.rest:
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
