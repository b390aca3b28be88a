"""LiteLLM's answer on its way to the client: bytes as they come, errors as upstream gave them."""

from __future__ import annotations

import json
from typing import Any

from .access_log import Record
from .call import Call, Failure
from .engine import COMPLETIONS_SUFFIX
from .errors import error_body, error_headers, error_type
from .request import Message, Send

# Not content-length: a name may become shorter on the way.
_KEPT = frozenset({b"content-type", b"cache-control"})


class Relay:
    """Stands between LiteLLM and the server for one request."""

    def __init__(self, call: Call, record: Record, send: Send) -> None:
        self._call, self._record, self._send = call, record, send
        self._plain = b'"model":"%s"' % call.model.name.encode()
        self._routed = b'"model":"%s"' % (call.model.name + COMPLETIONS_SUFFIX).encode()
        self._status = 0
        self._withheld = bytearray()
        self.started = False

    async def send(self, message: Message) -> None:
        """LiteLLM's ``send``. A success goes on at once, chunk by chunk; an error's body is kept back."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if self._status < 400 and self._call.failure is None:
                kept = [(name.lower(), value) for name, value in message["headers"] if name.lower() in _KEPT]
                await self._start(self._status, kept)
        elif message["type"] == "http.response.body":
            if self.started:
                await self._send({**message, "body": self._named(message.get("body", b""))})
                self._record.complete = not message.get("more_body", False)
            else:
                self._withheld += message.get("body", b"")

    def _named(self, chunk: bytes) -> bytes:
        # The route's name back to the model's. Inside a JSON string these quotes would be escaped, so no text
        # a model writes can be hit; LiteLLM sends each event whole.
        return chunk.replace(self._routed, self._plain) if self._routed in chunk else chunk

    async def finish(self) -> None:
        """Called when LiteLLM is done: gives the error that was kept back."""
        if self.started:
            return
        failure = self._call.failure or own_error(self._status, bytes(self._withheld))
        headers = error_headers(failure.retry_after)
        headers.append((b"content-length", str(len(failure.body)).encode()))
        self._record.code = json.loads(failure.body)["error"]["code"]
        await self._start(failure.status, headers)
        await self._send({"type": "http.response.body", "body": failure.body})
        self._record.complete = True

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        call = self._call
        headers.append((b"x-ebbtide-model", call.model.name.encode()))
        if call.held:
            headers.append((b"x-ebbtide-wait-seconds", f"{call.waited_seconds:.3f}".encode()))
        if any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers):
            # A buffering proxy on the way would turn a stream into one late block.
            headers.append((b"x-accel-buffering", b"no"))
        self._record.status, self._record.complete = status, False
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


def own_error(status: int, body: bytes) -> Failure:
    """LiteLLM refused by itself, before anything was asked upstream: its status and message, in OpenAI's
    shape.
    """
    status = status if status >= 400 else 500
    error: Any = None
    try:
        document = json.loads(body)
        error = document.get("error", document.get("detail")) if isinstance(document, dict) else None
    except ValueError:
        pass
    message = error.get("message") if isinstance(error, dict) else error
    text = str(message) if message and status < 500 else "the gateway could not handle this request"
    code = "invalid_request" if status < 500 else "internal"
    return Failure(status, error_body(text, error_type(status), code))
