"""A STAND-IN for vLLM's answers, for what is asked of the gateway and a client alone: the shapes that vLLM 0.32 gives
them, whole or as events, with words that are no model's.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from aiohttp import web

TEXT = ("It ", "is ", "sunny.")
JSON = ('{"city": "Par', 'is", "sunny": true}')
VECTOR = (0.25, 0.5)
Event = dict[str, Any]


async def answers(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    whole, events = _APIS[request.path]
    if not body.get("stream"):
        return web.json_response(whole(body))
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for event in events(body):
        name = f"event: {event['type']}\n" if "type" in event else ""
        await response.write(f"{name}data: {json.dumps(event)}\n\n".encode())
    if events is chat_events:
        await response.write(b"data: [DONE]\n\n")
    return response


def calls(body: dict[str, Any]) -> bool:
    """Whether the answer is a call of the first tool: until the tool has answered, or always if one is demanded."""
    answered = body.get("messages", [{}])[-1].get("role") == "tool"
    return bool(body.get("tools")) and (not answered or body.get("tool_choice", "auto") != "auto")


def words_of(body: dict[str, Any]) -> tuple[str, ...]:
    """The pieces of the answer."""
    constrained = any(body.get(name) for name in ("response_format", "output_config")) or "format" in (
        body.get("text") or {}
    )
    return JSON if constrained or calls(body) else TEXT


def chat(body: dict[str, Any]) -> Event:
    text, usage = "".join(words_of(body)), {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls(body):
        function = {"name": body["tools"][0]["function"]["name"], "arguments": text}
        message |= {"content": None, "tool_calls": [{"id": "call-1", "type": "function", "function": function}]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls(body) else "stop"}
    if body.get("logprobs"):
        likely = [{"token": token, "logprob": -0.1, "bytes": None} for token in ("It", "A")]
        choice["logprobs"] = {"content": [{**likely[0], "top_logprobs": likely[: body.get("top_logprobs", 0)]}]}
    head = {"id": "chat-1", "object": "chat.completion", "created": 1, "model": body["model"]}
    return {**head, "choices": [choice], "usage": usage}


def chat_events(body: dict[str, Any]) -> Iterator[Event]:
    whole = chat(body)
    (choice,) = whole["choices"]
    head = {**whole, "object": "chat.completion.chunk", "usage": None}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> Event:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    if calls(body):
        (call,) = choice["message"]["tool_calls"]
        call["function"]["arguments"] = ""
        yield chunk({"tool_calls": [{"index": 0, **call}]})
    for piece in words_of(body):
        part = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} if calls(body) else {"content": piece}
        yield chunk(part)
    yield chunk({}, choice["finish_reason"])
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": whole["usage"]}


def message(body: dict[str, Any]) -> Event:
    text = "".join(words_of(body))
    block: dict[str, Any] = {"type": "text", "text": text}
    if calls(body):
        block = {"type": "tool_use", "id": "call-1", "name": body["tools"][0]["name"], "input": json.loads(text)}
    why = {"stop_reason": "tool_use" if calls(body) else "end_turn", "stop_sequence": None}
    head = {"id": "message-1", "type": "message", "role": "assistant", "model": body["model"]}
    return {**head, **why, "content": [block], "usage": {"input_tokens": 3, "output_tokens": 2}}


def message_events(body: dict[str, Any]) -> Iterator[Event]:
    whole = message(body)
    (block,) = whole["content"]
    empty = {"input": {}} if calls(body) else {"text": ""}
    yield {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}}
    yield {"type": "content_block_start", "index": 0, "content_block": block | empty}
    for piece in words_of(body):
        delta = (
            {"type": "input_json_delta", "partial_json": piece}
            if calls(body)
            else {"type": "text_delta", "text": piece}
        )
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    why = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": why, "usage": {"output_tokens": 2}}
    yield {"type": "message_stop"}


def response(body: dict[str, Any]) -> Event:
    part = {"type": "output_text", "text": "".join(words_of(body)), "annotations": []}
    item = {"type": "message", "id": "item-1", "status": "completed", "role": "assistant", "content": [part]}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5, **details}
    head = {"id": "response-1", "object": "response", "created_at": 1, "model": body["model"], "status": "completed"}
    rest = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None}
    return {**head, **rest, "output": [item], "usage": usage}


def response_events(body: dict[str, Any]) -> Iterator[Event]:
    whole = response(body)
    (item,) = whole["output"]
    (part,) = item["content"]
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    text: dict[str, Any] = {**place, "logprobs": []}
    events: Iterable[Event] = (
        {"type": "response.created", "response": {**whole, "status": "in_progress", "output": [], "usage": None}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **text, "delta": piece} for piece in words_of(body)),
        {"type": "response.output_text.done", **text, "text": part["text"]},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    )
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


def vectors(body: dict[str, Any]) -> Event:
    packed = body.get("encoding_format") == "base64"
    vector = base64.b64encode(struct.pack("<2f", *VECTOR)).decode() if packed else VECTOR
    data = [{"object": "embedding", "index": number, "embedding": vector} for number in range(len(body["input"]))]
    usage = {"prompt_tokens": 2, "total_tokens": 2}
    return {"id": "vectors-1", "object": "list", "created": 1, "model": body["model"], "data": data, "usage": usage}


def none(body: dict[str, Any]) -> Iterator[Event]:
    raise NotImplementedError(f"no events here: {body}")


_APIS: dict[str, tuple[Callable[[dict[str, Any]], Event], Callable[[dict[str, Any]], Iterator[Event]]]] = {
    "/v1/chat/completions": (chat, chat_events),
    "/v1/messages": (message, message_events),
    "/v1/messages/count_tokens": (lambda _: {"input_tokens": 3}, none),
    "/v1/responses": (response, response_events),
    "/v1/embeddings": (vectors, none),
    "/v1/audio/transcriptions": (lambda _: {"text": "Silence."}, none),
}
