"""From the wire to a checked request: path by allow-list, body by limit, model by name or alias."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ApiError
from .keys import Caller
from .parameters import missing, refused
from .prefix import beginning
from .settings import Model

Scope = Mapping[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LIVE, READY, MODELS = "/health/liveness", "/health/readiness", "/v1/models"
GENERATE = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")


class Gone(Exception):
    """The client left while it was still sending."""


@dataclass(frozen=True)
class Generation:
    """One checked POST: ``body`` is what goes up, with the model's own name in it; ``prompt`` its prompt's beginning
    where that decides who gets it.
    """

    path: str
    model: Model
    body: bytes
    caller: Caller
    prompt: bytes | None = None


def method_for(path: str) -> str:
    """The one method a path takes. Raises ``ApiError`` 404 for every path that is not listed."""
    if path in GENERATE:
        return "POST"
    if path in (LIVE, READY, MODELS) or (path.startswith(MODELS + "/") and path != MODELS + "/"):
        return "GET"
    known = ", ".join((*GENERATE, MODELS))
    raise ApiError(404, "unknown_path", f"there is no {path[:100]!r} here; paths: {known}")


def bearer(headers: Collection[tuple[bytes, bytes]]) -> bytes:
    """The key a client sent. Raises ``ApiError`` 401 when there is none."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() == b"bearer" and key.strip():
                return key.strip()
    raise ApiError(401, "missing_api_key", "send your key as 'Authorization: Bearer KEY'")


async def read_body(headers: Collection[tuple[bytes, bytes]], receive: Receive, most: int) -> bytes:
    """The whole body. Raises ``ApiError`` 413 as soon as it is known to be too large, ``Gone`` when it breaks
    off.
    """
    too_large = ApiError(413, "body_too_large", f"the request body may have at most {most} bytes")
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > most:
            raise too_large
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body += message.get("body", b"")
        if len(body) > most:
            raise too_large
        more = message.get("more_body", False)
    return bytes(body)


def usable(models: Mapping[str, Model], caller: Caller) -> list[Model]:
    """The models this caller may use, each once, by name."""
    distinct = {model.name: model for model in models.values()}
    return [model for name, model in sorted(distinct.items()) if caller.may_use(name)]


def choose(models: Mapping[str, Model], caller: Caller, asked: str) -> Model:
    """The model meant by a name or alias. Raises ``ApiError`` 404 (with the names there are) or 403."""
    model = models.get(asked)
    if model is None:
        names = ", ".join(found.name for found in usable(models, caller)) or "none"
        message = f"there is no model {asked[:100]!r}; models you may use: {names}"
        raise ApiError(404, "model_not_found", message)
    if not caller.may_use(model.name):
        message = f"your key's group {caller.group!r} may not use model {model.name!r}"
        raise ApiError(403, "model_not_allowed", message)
    return model


def parse(path: str, raw: bytes, models: Mapping[str, Model], caller: Caller) -> Generation:
    """Check a body and put the model's own name into it. Raises ``ApiError`` 400, 403 or 404.

    What goes up is written anew from what was read here: a name given twice in the client's text is there once.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as problem:
        where = f" at character {problem.pos}" if isinstance(problem, json.JSONDecodeError) else ""
        raise ApiError(400, "invalid_json", f"the request body is not JSON{where}") from None
    if not isinstance(document, dict):
        raise ApiError(400, "invalid_json", "the request body must be a JSON object")
    asked = document.get("model")
    if not isinstance(asked, str) or not asked:
        raise ApiError(400, "missing_model", "the body needs 'model': a model's name or alias")
    model = choose(models, caller, asked)
    if found := refused(document):
        raise ApiError(400, "unsupported_parameter", f"not accepted here: {', '.join(found)}")
    if lacking := missing(path, document):
        raise ApiError(400, "missing_parameter", f"the body needs {lacking}")
    document["model"] = model.name
    try:
        body = json.dumps(document, separators=(",", ":")).encode()
    except RecursionError:
        raise ApiError(400, "invalid_json", "the request body is nested too deeply") from None
    return Generation(path, model, body, caller, beginning(document) if model.by_prefix else None)


def described(model: Model) -> dict[str, Any]:
    """One entry of the models list."""
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "ebbtide",
        "aliases": list(model.aliases),
    }
