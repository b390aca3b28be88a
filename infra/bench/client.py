"""Client that asks one OpenAI-compatible endpoint and measures the time."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

_LONGEST_MESSAGE = 200


@dataclass(frozen=True)
class Endpoint:
    """Address of an endpoint. ``url`` is without the ``/v1``; the key is never shown."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    host: str | None = None  # a Host header other than the address's own

    def headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        if self.host:
            headers["Host"] = self.host
        return headers


@dataclass(frozen=True)
class Question:
    """One question. ``exact``: exactly ``tokens`` of answer, as vLLM's ``ignore_eos`` gives; else that many at most."""

    text: str
    tokens: int
    stream: bool = True
    exact: bool = True

    def body(self, model: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": self.text}],
            "max_tokens": self.tokens,
            "temperature": 0,
        }
        if self.exact:
            body |= {"min_tokens": self.tokens, "ignore_eos": True}
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body


def base(url: str) -> str:
    """Return the address without the ``/v1`` that may have been typed."""
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


class Client:
    """Client of one endpoint. Connections are kept and shared by concurrent requests; none is ever sent twice."""

    def __init__(self, endpoint: Endpoint, limit_seconds: float) -> None:
        self.endpoint, self._limit = endpoint, limit_seconds
        self._http = httpx.AsyncClient(
            base_url=endpoint.url,
            headers=endpoint.headers(),
            timeout=httpx.Timeout(limit_seconds, connect=30, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            trust_env=False,
        )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, question: Question, number: int, due: float | None = None) -> Reply:
        """Ask, and raise nothing but a cancellation; ``due`` is when the request should have been sent, if not now."""
        began = time.monotonic()
        sent = began if due is None else due
        known: dict[str, Any] = {"number": number, "sent": sent, "late": began - sent}
        stream = Stream()
        status: list[int] = []
        try:
            async with asyncio.timeout(self._limit):
                known |= await self._answer(question, stream, status)
        except (TimeoutError, httpx.TimeoutException):
            known["fault"] = "time-out"
        except httpx.ConnectError as broken:
            known |= {"fault": "no connection", "said": str(broken)[:_LONGEST_MESSAGE]}
        except (httpx.HTTPError, ValueError) as broken:
            known |= {"fault": "cut off" if status else "no answer", "said": str(broken)[:_LONGEST_MESSAGE]}
        known.setdefault("ended", time.monotonic())
        known["status"] = status[0] if status else None
        return Reply(**known)

    async def _answer(self, question: Question, stream: Stream, status: list[int]) -> dict[str, Any]:
        body = question.body(self.endpoint.model)
        async with self._http.stream("POST", "/v1/chat/completions", json=body) as answer:
            status.append(answer.status_code)
            if answer.status_code != httpx.codes.OK:
                message = (await answer.aread()).decode(errors="replace")
                retry = answer.headers.get("retry-after")
                return {"fault": str(answer.status_code), "said": message[:_LONGEST_MESSAGE], "retry_after": retry}
            if not question.stream:
                await answer.aread()
                return _whole(answer.json())
            async for data in answer.aiter_raw():
                stream.feed(data, time.monotonic())
            ended = time.monotonic()
        return {
            "ended": ended,
            "first": stream.first or stream.last,
            "last": stream.last,
            "tokens": stream.pieces if stream.tokens is None else stream.tokens,
            "prompt_tokens": stream.prompt_tokens,
            "gaps": tuple(stream.gaps),
            "ids": tuple(stream.ids),
            "endings": stream.closed,
            "fault": stream.fault,
            "said": stream.error or "",
        }

    async def models(self) -> tuple[str, ...]:
        """Return the models the endpoint says it serves; empty where it does not say."""
        try:
            listed = (await self._http.get("/v1/models", timeout=30)).json()["data"]
            return tuple(str(each["id"]) for each in listed)
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return ()

    async def version(self) -> str | None:
        """Return the engine's version, where the endpoint answers that; a gateway does not."""
        try:
            version = (await self._http.get("/version", timeout=5)).json()["version"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None
        return str(version)[:40]


def _whole(body: Any) -> dict[str, Any]:
    """Return the figures of an answer in one piece. Raises ``ValueError`` for one without choices."""
    if not isinstance(body, dict) or not body.get("choices"):
        raise ValueError("an answer without choices")
    usage = body.get("usage") or {}
    return {
        "tokens": usage.get("completion_tokens"),
        "prompt_tokens": usage.get("prompt_tokens"),
        "ids": (str(body["id"]),) if body.get("id") else (),
        "endings": sum(1 for choice in body["choices"] if choice.get("finish_reason")),
    }


# One request as its client saw it. Times are seconds on the client's own monotonic clock.


@dataclass(frozen=True, kw_only=True)
class Reply:
    """Reply to one request. ``sent`` is when it was due: a client that is late itself must not make the server look
    faster. ``fault`` is None for a whole answer; else a status like ``503``, or what broke off."""

    number: int
    sent: float
    ended: float
    status: int | None = None
    first: float | None = None  # the first token; None without a stream
    last: float | None = None  # the last token
    tokens: int | None = None  # in the answer: as the server counts them, else pieces of the stream
    prompt_tokens: int | None = None
    gaps: tuple[float, ...] = ()  # between pieces of the stream that follow each other
    fault: str | None = None
    said: str = ""  # the server's words for a fault, shortened
    retry_after: str | None = None
    ids: tuple[str, ...] = ()  # in the answer: more than one means more than one answer
    endings: int = 0  # how often the answer was marked as whole
    late: float = 0.0  # seconds after ``sent`` at which the client really sent it

    @property
    def whole(self) -> bool:
        return self.fault is None

    @property
    def to_first(self) -> float | None:
        return None if self.first is None else self.first - self.sent

    @property
    def latency(self) -> float:
        return self.ended - self.sent

    @property
    def per_token(self) -> float | None:
        """Return seconds per token after the first; None for an answer of one token, or without a stream."""
        if self.first is None or self.last is None or (self.tokens or 0) < 2:
            return None
        return (self.last - self.first) / ((self.tokens or 0) - 1)


# The lines of a streamed chat, as far as timing and counting need them. Pure: bytes and their time in, facts out.


@dataclass
class Stream:
    """Reader of a stream, fed with each chunk and its time. An event may be cut anywhere between two reads."""

    first: float | None = None
    last: float | None = None
    pieces: int = 0
    tokens: int | None = None
    prompt_tokens: int | None = None
    gaps: list[float] = field(default_factory=list)
    ids: dict[str, None] = field(default_factory=dict)
    finishes: int = 0
    closed: int = 0  # how often the closing line came
    error: str | None = None
    _rest: bytes = b""
    _piece_at: float = 0.0

    def feed(self, data: bytes, at: float) -> None:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip(), at)

    def _event(self, data: bytes, at: float) -> None:
        if data == b"[DONE]":
            self.closed += 1
            return
        try:
            event: Any = json.loads(data)
        except ValueError:
            self.error = self.error or "an event that is no JSON"
            return
        if not isinstance(event, dict):
            return
        if event.get("error"):
            self.error = self.error or json.dumps(event["error"])[:200]
        if event.get("id"):
            self.ids[str(event["id"])] = None
        if usage := event.get("usage"):
            self.tokens, self.prompt_tokens = usage.get("completion_tokens"), usage.get("prompt_tokens")
        for choice in event.get("choices") or []:
            self._choice(choice, at)

    def _choice(self, choice: dict[str, Any], at: float) -> None:
        delta = choice.get("delta") or {}
        if delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning") or delta.get("tool_calls"):
            if self.first is None:
                self.first = at
            else:
                self.gaps.append(at - self._piece_at)
            self._piece_at = at
            self.pieces += 1
        # a token without text of its own (half a character, an end mark that is ignored) moves only the end
        self.last = at
        if choice.get("finish_reason"):
            self.finishes += 1

    @property
    def fault(self) -> str | None:
        """Return why this is no whole answer, once nothing more will come; None for a whole one."""
        if self.error is not None:
            return "error in the stream"
        return None if self.closed and self.finishes else "cut off"
