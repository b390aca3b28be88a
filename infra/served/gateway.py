"""A gateway as its clients see it: the models' states, and one streamed answer with what is told while it is held."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from infra.errors import LocalProblem
from infra.served.access import Access

_SILENT_SECONDS = 1200.0  # a gateway whose comments are rare sends nothing for as long as a hold
_COMMENT = re.compile(r": ebbtide phase=([a-z-]+) seconds=([0-9]+) estimate=([0-9]+|unknown)")
_LONGEST_MESSAGE = 300


@dataclass(frozen=True)
class Waiting:
    """Phase of the wake that a held request waits for. ``estimate``: seconds of the whole wake; None: unknown."""

    phase: str
    seconds: int
    estimate: int | None

    def __str__(self) -> str:
        about = f" of about {self.estimate}" if self.estimate is not None else ""
        return f"{self.phase}, {self.seconds}{about} s"


@dataclass(frozen=True)
class Began:
    """Head of an answer. ``woken``: this request began the wake; None: not told."""

    model: str
    woken: bool | None


@dataclass(frozen=True)
class Piece:
    """Piece of the answer's text. ``cut``: it ended only because it reached the requested length."""

    text: str
    cut: bool = False


def states(access: Access) -> list[dict[str, Any]]:
    """Return the models that the key may use, as ``/v1/models`` lists them. Raises ``LocalProblem``."""
    try:
        answer = httpx.get(f"{access.url}/v1/models", headers=headers(access), timeout=30, trust_env=False)
    except httpx.HTTPError as broken:
        raise no_connection(access, broken) from None
    if answer.status_code != 200:
        raise refused(answer.status_code, answer.content, answer.headers)
    try:
        return [dict(each) for each in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        raise LocalProblem(f"{access.url}/v1/models lists no models", "name the address of a gateway") from None


def ask(access: Access, model: str, prompt: str, max_tokens: int) -> Iterator[Waiting | Began | Piece]:
    """Yield what is told while the request is held, its head, and the answer piece by piece. Raises ``LocalProblem``:
    what came before it is not the whole answer."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "stream": True,
    }
    url, timeout = f"{access.url}/v1/chat/completions", httpx.Timeout(_SILENT_SECONDS, connect=30)
    begun = False
    try:
        with (
            httpx.Client(trust_env=False, timeout=timeout) as client,
            client.stream("POST", url, json=body, headers=headers(access)) as answer,
        ):
            if answer.status_code != 200:
                raise refused(answer.status_code, answer.read(), answer.headers)
            begun = True
            woken = answer.headers.get("x-ebbtide-woken")
            yield Began(answer.headers.get("x-ebbtide-model", model), None if woken is None else woken == "true")
            for line in answer.iter_lines():
                if (event := _event(line)) is not None:
                    yield event
    except httpx.HTTPError as broken:
        if begun:
            raise LocalProblem(f"the answer broke off ({type(broken).__name__})", "ask again") from None
        raise no_connection(access, broken) from None


def _event(line: str) -> Waiting | Piece | None:
    if (comment := _COMMENT.fullmatch(line)) is not None:
        return Waiting(comment[1], int(comment[2]), None if comment[3] == "unknown" else int(comment[3]))
    data = line.removeprefix("data: ")
    if data == line or data == "[DONE]":
        return None
    try:
        document = json.loads(data)
    except ValueError:
        return None
    if "error" in document:
        raise refused(200, data.encode(), {})
    choice: dict[str, Any] = next(iter(document.get("choices") or ()), {})
    return Piece((choice.get("delta") or {}).get("content") or "", choice.get("finish_reason") == "length")


def headers(access: Access) -> dict[str, str]:
    return {"authorization": f"Bearer {access.key}", "accept-encoding": "identity"}


def no_connection(access: Access, broken: Exception) -> LocalProblem:
    return LocalProblem(f"no connection to {access.url}: {broken}", "see whether the stack is up and reached from here")


def refused(status: int, body: bytes, headers: Mapping[str, str]) -> LocalProblem:
    text = body.decode(errors="replace")
    try:
        error = json.loads(text)["error"]
        message = " ".join(str(word) for word in (error["message"], error.get("code"), error.get("param")) if word)
    except (ValueError, KeyError, TypeError):
        message = text
    again = headers.get("retry-after")
    fixes = {401: "name a key of this stack: --key, --key-env", 403: "ask with a key of a group that may"}
    usual = f"ask again in {again} s" if again else "docs/gateway.md says what each code means"
    return LocalProblem(f"the gateway answered {status}: {message[:_LONGEST_MESSAGE]}", fixes.get(status, usual))
