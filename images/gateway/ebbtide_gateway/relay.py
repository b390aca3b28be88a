"""The answer on its way to the client: bytes as they come, errors as upstream gave them."""

from __future__ import annotations

import json

from .access_log import Record
from .call import Answer, Call, Failure
from .errors import error_body, error_headers
from .request import Send
from .upstream import BrokenOff

Headers = list[tuple[bytes, bytes]]


async def deliver(found: Answer | Failure, call: Call, record: Record, send: Send) -> None:
    """Give the client what came of its call and note it in the record."""
    if isinstance(found, Failure):
        headers = error_headers(found.retry_after)
        record.code = json.loads(found.body)["error"]["code"]
        await _whole(found.status, headers, found.body, call, record, send)
    elif found.rest is None:
        await _whole(found.status, answer_headers(found), found.first, call, record, send)
    else:
        await _stream(found, call, record, send)


def answer_headers(found: Answer) -> Headers:
    """What of the engine's headers a client needs."""
    headers = [(b"content-type", found.content_type.encode())]
    if found.cache_control is not None:
        headers.append((b"cache-control", found.cache_control.encode()))
    return headers


async def _whole(status: int, headers: Headers, body: bytes, call: Call, record: Record, send: Send) -> None:
    await _start(status, [*headers, (b"content-length", str(len(body)).encode())], call, record, send)
    await send({"type": "http.response.body", "body": body})
    record.complete = True


async def _stream(found: Answer, call: Call, record: Record, send: Send) -> None:
    # A buffering proxy on the way would turn a stream into one late block.
    await _start(found.status, [*answer_headers(found), (b"x-accel-buffering", b"no")], call, record, send)
    await send({"type": "http.response.body", "body": found.first, "more_body": True})
    assert found.rest is not None
    try:
        async for chunk in found.rest:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except BrokenOff as problem:
        record.code = "answer_broken_off"
        await send({"type": "http.response.body", "body": broken_off(call, str(problem))})
        return
    await send({"type": "http.response.body", "body": b""})
    record.complete = True


def broken_off(call: Call, why: str) -> bytes:
    """The event after which a client library raises: a stream that just ended might pass for a whole answer.

    The blank line first: the engine's last event may lack its end.
    """
    message = f"the answer of model {call.model.name!r} broke off ({why}); what came so far is not all of it"
    return b"\n\ndata: " + error_body(message, "server_error", "answer_broken_off") + b"\n\n"


async def _start(status: int, headers: Headers, call: Call, record: Record, send: Send) -> None:
    headers.append((b"x-ebbtide-model", call.model.name.encode()))
    if call.held:
        headers.append((b"x-ebbtide-wait-seconds", f"{call.waited_seconds:.3f}".encode()))
    if call.woken:
        headers.append((b"x-ebbtide-woken", b"true"))
        if call.model.usd_per_hour is not None:
            headers.append((b"x-ebbtide-usd-per-hour", f"{call.model.usd_per_hour:.2f}".encode()))
    record.status, record.complete = status, False
    await send({"type": "http.response.start", "status": status, "headers": headers})
