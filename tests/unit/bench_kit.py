"""A small OpenAI endpoint that does as told: how long to the first token and between tokens, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.unit.gateway_kit import Served

FIXED = 7  # tokens of the chat template
PER_WORD = 2  # tokens a word, so that a scale is needed


@dataclass
class Engine:
    """``slots``: how many run at once, the others wait; ``queue``: how many may wait before a 503."""

    first: float = 0.0
    per_token: float = 0.0
    slots: int = 1000
    queue: int = 1000
    key: str | None = None
    faults: list[str] = field(default_factory=list)  # for the next answers: 503, cut, error, stuck
    bodies: list[dict[str, Any]] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    models: tuple[str, ...] = ("small",)
    most_at_once: int = 0
    _inside: int = 0

    def __post_init__(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/version", self._version)
        self.served = Served(app)
        self.url = self.served.url
        self._running = asyncio.Semaphore(self.slots)

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": name} for name in self.models]})

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "9.9"})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.hosts.add(request.headers["Host"])
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": "this key is not known here"}}, status=401)
        if self._inside >= self.slots + self.queue:
            return web.json_response({"error": {"message": "full"}}, status=503, headers={"Retry-After": "3"})
        self._inside += 1
        self.most_at_once = max(self.most_at_once, self._inside)
        try:
            async with self._running:
                return await self._answer(request, body)
        finally:
            self._inside -= 1

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        fault = self.faults.pop(0) if self.faults else ""
        if fault.isdecimal():
            return web.json_response({"error": {"message": "told to"}}, status=int(fault), headers={"Retry-After": "3"})
        if fault == "stuck":
            await asyncio.sleep(60)
        await asyncio.sleep(self.first)
        count = body["max_tokens"]
        words = len(body["messages"][0]["content"].split())
        usage = {"prompt_tokens": FIXED + PER_WORD * words, "completion_tokens": count}
        name = f"chat-{len(self.bodies)}"
        if not body.get("stream"):
            await asyncio.sleep(self.per_token * count)
            message = {"role": "assistant", "content": "a " * count}
            choices = [{"index": 0, "message": message, "finish_reason": "length"}]
            whole = {"object": "chat.completion", "created": 1, "model": body["model"]}
            return web.json_response({"id": name, "choices": choices, "usage": usage} | whole)
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)

        async def event(**more: Any) -> None:
            head = {"id": name, "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
            await answer.write(f"data: {json.dumps(head | more)}\n\n".encode())

        await event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])
        for number in range(count):
            if number:
                await asyncio.sleep(self.per_token)
            if fault == "cut" and number == 1:
                assert request.transport is not None
                request.transport.abort()
                return answer
            if fault == "error" and number == 1:
                await event(error={"message": "the engine died"})
                return answer
            await event(choices=[{"index": 0, "delta": {"content": "a "}, "finish_reason": None}])
        await event(choices=[{"index": 0, "delta": {}, "finish_reason": "length"}])
        await event(choices=[], usage=usage)
        await answer.write(b"data: [DONE]\n\n")
        return answer
