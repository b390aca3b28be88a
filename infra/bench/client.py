"""Asks one OpenAI-compatible endpoint, and keeps the time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from infra.bench.replies import Reply
from infra.bench.stream import Stream

_SAID = 200


@dataclass(frozen=True)
class Endpoint:
    """``url`` without the ``/v1``; the key is never shown."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    host: str | None = None  # a Host header other than the address's own

    def headers(self) -> dict[str, str]:
        found = {"Accept-Encoding": "identity"}
        if self.key:
            found["Authorization"] = f"Bearer {self.key}"
        if self.host:
            found["Host"] = self.host
        return found


@dataclass(frozen=True)
class Question:
    """``exact``: exactly ``tokens`` of answer, as vLLM's ``ignore_eos`` gives; else that many at most."""

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
    """The address as typed, with or without ``/v1``."""
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


class Client:
    """Connections are kept and shared by all that ask at once; no request is ever sent a second time."""

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
        """Never raises but for being cancelled; ``due`` is when it should have been sent, if not now."""
        began = time.monotonic()
        sent = began if due is None else due
        known: dict[str, Any] = {"number": number, "sent": sent, "late": began - sent}
        heard = Stream()
        status: list[int] = []
        try:
            async with asyncio.timeout(self._limit):
                known |= await self._answer(question, heard, status)
        except (TimeoutError, httpx.TimeoutException):
            known["fault"] = "time-out"
        except httpx.ConnectError as broken:
            known |= {"fault": "no connection", "said": str(broken)[:_SAID]}
        except (httpx.HTTPError, ValueError) as broken:
            known |= {"fault": "cut off" if status else "no answer", "said": str(broken)[:_SAID]}
        known.setdefault("ended", time.monotonic())
        known["status"] = status[0] if status else None
        return Reply(**known)

    async def _answer(self, question: Question, heard: Stream, status: list[int]) -> dict[str, Any]:
        body = question.body(self.endpoint.model)
        async with self._http.stream("POST", "/v1/chat/completions", json=body) as answer:
            status.append(answer.status_code)
            if answer.status_code != httpx.codes.OK:
                said = (await answer.aread()).decode(errors="replace")
                retry = answer.headers.get("retry-after")
                return {"fault": str(answer.status_code), "said": said[:_SAID], "retry_after": retry}
            if not question.stream:
                await answer.aread()
                return _whole(answer.json())
            async for data in answer.aiter_raw():
                heard.feed(data, time.monotonic())
            ended = time.monotonic()
        return {
            "ended": ended,
            "first": heard.first or heard.last,
            "last": heard.last,
            "tokens": heard.pieces if heard.tokens is None else heard.tokens,
            "prompt_tokens": heard.prompt_tokens,
            "gaps": tuple(heard.gaps),
            "ids": tuple(heard.ids),
            "endings": heard.closed,
            "fault": heard.fault,
            "said": heard.error or "",
        }

    async def models(self) -> tuple[str, ...]:
        """What the endpoint says it serves; empty where it does not say."""
        try:
            listed = (await self._http.get("/v1/models", timeout=30)).json()["data"]
            return tuple(str(each["id"]) for each in listed)
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return ()

    async def version(self) -> str | None:
        """What the engine says it is, where the endpoint lets one ask; a gateway does not."""
        try:
            told = (await self._http.get("/version", timeout=5)).json()["version"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None
        return str(told)[:40]


def _whole(body: Any) -> dict[str, Any]:
    """Of an answer in one piece. Raises ``ValueError`` for one that has no choices."""
    if not isinstance(body, dict) or not body.get("choices"):
        raise ValueError("an answer without choices")
    usage = body.get("usage") or {}
    return {
        "tokens": usage.get("completion_tokens"),
        "prompt_tokens": usage.get("prompt_tokens"),
        "ids": (str(body["id"]),) if body.get("id") else (),
        "endings": sum(1 for choice in body["choices"] if choice.get("finish_reason")),
    }
