"""Checks that turn a request on the wire into a valid one: path by allow-list, body within bounds of size, silence and
memory, model by name or alias."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from .errors import ApiError
from .form import MOST_FILE_BYTES, Form, file_too_large, form_bytes, read_form
from .keys import Caller
from .loaded_adapters import LOAD, UNLOAD
from .parameters import check, refused
from .prompt_length import shortest
from .replicas import beginning
from .routes import ROUTES, Api, api_of
from .server import Connection, Leaving
from .settings import Limits, Model

LIVE, READY, MODELS = "/health/liveness", "/health/readiness", "/v1/models"
_STORED = "/v1/responses/"
_OF_BATCHES = ("/v1/files", "/v1/batches")
# the streams of the other APIs always end with their counts
_COUNTED_ON_REQUEST = frozenset({"/v1/chat/completions", "/v1/completions"})
_CHALLENGE = 'Bearer realm="ebbtide"'
# A JSON value takes up to some 100 bytes in memory where its text has three: without this a body within its bounds
# could take a gigabyte. Texts and images have few of these signs, a list of token ids has one for each.
_MOST_VALUES = 4_000_000
_RETRY_AFTER_SECONDS = 5.0
T = TypeVar("T")


@dataclass
class Generation:
    """One checked POST. ``body`` is sent upstream, with the model's own name in it; of a form it is what the form says,
    and the form is sent. ``prompt`` is the beginning of its prompt if that decides which replica gets it. ``stream``:
    the answer is asked for as events. ``hides_usage``: the engine is asked for their count, which the client was not
    to see. ``rides``: it is answered only where a replica is awake anyway, and keeps none awake.
    """

    path: str
    model: Model
    body: bytes
    caller: Caller
    prompt: bytes | None = None
    stream: bool = False
    form: Form | None = None
    hides_usage: bool = False
    rides: bool = False

    @property
    def api(self) -> Api:
        """Return whose errors the client expects."""
        return api_of(self.path)


def methods_for(path: str) -> tuple[str, ...]:
    """Return the methods a path takes. Raises ``ApiError`` 404 for every path that is not listed."""
    if path in ROUTES or path in (LOAD, UNLOAD):
        return ("POST", "OPTIONS")
    if path in (LIVE, READY, MODELS) or (path.startswith(MODELS + "/") and path != MODELS + "/"):
        return ("GET", "HEAD", "OPTIONS")
    if is_of_a_stored_response(path):
        return ("POST", "OPTIONS") if path.endswith("/cancel") else ("GET", "HEAD", "OPTIONS")
    if path.startswith(_OF_BATCHES):
        message = "files and batches are kept in a database, and this stack has none (database in the stack file)"
        raise ApiError(404, "database_needed", message)
    known = ", ".join((*ROUTES, MODELS))
    raise ApiError(404, "unknown_path", f"there is no {path[:100]!r} here; paths: {known}")


def is_of_a_stored_response(path: str) -> bool:
    """Return True for the retrieval of a response and for its cancellation."""
    inner = path.removeprefix(_STORED).removesuffix("/cancel")
    return path.startswith(_STORED) and bool(inner) and "/" not in inner


def not_stored() -> ApiError:
    """Return the 404 for every stored response. The engine's store is off: it is never emptied, and each replica has
    its own, which ends with it.
    """
    message = "responses are not stored here: what was answered is known to the client alone"
    return ApiError(404, "responses_not_stored", message)


def check_method(method: str, path: str, allowed: Sequence[str]) -> None:
    """Raise ``ApiError`` 405 with ``Allow`` for a method that a path does not take."""
    if method not in allowed:
        names = " and ".join(name for name in allowed if name != "OPTIONS")
        raise ApiError(405, "method_not_allowed", f"{path} takes {names} only", headers={"allow": ", ".join(allowed)})


def presented_key(headers: Mapping[str, str]) -> bytes:
    """Return the key of a request: a bearer token, else in one of the headers that clients of Anthropic's API and of
    OpenAI's hosted kin use. Raises ``ApiError`` 401 when there is none.
    """
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        key = headers.get("x-api-key") or headers.get("api-key") or ""
    if key.strip():
        return key.strip().encode("utf-8", "surrogateescape")
    message = "send your key as 'Authorization: Bearer KEY', or in the header x-api-key or api-key"
    raise ApiError(401, "missing_api_key", message, headers={"www-authenticate": _CHALLENGE})


def unknown_key() -> ApiError:
    """Return the 401 for a key that nobody has."""
    headers = {"www-authenticate": f'{_CHALLENGE}, error="invalid_token"'}
    return ApiError(401, "invalid_api_key", "this key is not known here", headers=headers)


def usable(models: Mapping[str, Model], caller: Caller) -> list[Model]:
    """Return the models and adapters this caller may use, each once, by name."""
    distinct = {model.public_name: model for model in models.values() if model.asked_as is None}
    return [model for name, model in sorted(distinct.items()) if caller.may_use(name)]


def choose(models: Mapping[str, Model], caller: Caller, name: str) -> Model:
    """Return the model with this name or alias, or with this adapter. Raises ``ApiError`` 404 (with the names the
    caller may use) or 403."""
    model = models.get(name)
    if model is None or model.asked_as is not None:
        names = ", ".join(each.public_name for each in usable(models, caller)) or "none"
        message = f"there is no model {name[:100]!r}; models you may use: {names}"
        raise ApiError(404, "model_not_found", message)
    if not caller.may_use(model.public_name):
        message = f"your key's group {caller.group!r} may not use model {model.public_name!r}"
        raise ApiError(403, "model_not_allowed", message)
    return model


def parse(path: str, raw: bytes, models: Mapping[str, Model], caller: Caller, *, counted: bool = False) -> Generation:
    """Check a body and put the model's own name into it. Raises ``ApiError`` 400, 403 or 404. ``counted``: a stream is
    asked for how many tokens it took.

    The body sent upstream is written anew from what was read here: a name given twice in the client's text is there
    once.
    """
    if sum(raw.count(sign) for sign in (b",", b"[", b"{")) > _MOST_VALUES:
        raise ApiError(400, "invalid_json", f"the request body has more than {_MOST_VALUES} values")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as problem:
        where = f" at character {problem.pos}" if isinstance(problem, json.JSONDecodeError) else ""
        raise ApiError(400, "invalid_json", f"the request body is not JSON{where}") from None
    if not isinstance(document, dict):
        raise ApiError(400, "invalid_json", "the request body must be a JSON object")
    hides = counted and _ask_for_usage(path, document)
    model, body = _checked(path, document, models, caller)
    prompt = beginning(document) if model.by_prefix else None
    return Generation(path, model, body, caller, prompt, document.get("stream") is True, hides_usage=hides)


def _ask_for_usage(path: str, document: dict[str, Any]) -> bool:
    """Have a stream end with an event of its counts. Return True if the client had not asked for that itself."""
    options = document.get("stream_options") or {}
    if path not in _COUNTED_ON_REQUEST or document.get("stream") is not True or not isinstance(options, dict):
        return False
    if options.get("include_usage"):
        return False
    document["stream_options"] = {**options, "include_usage": True}
    return True


def parse_form(path: str, form: Form, models: Mapping[str, Model], caller: Caller) -> Generation:
    """Check a form and put the model's own name into it. Raises ``ApiError`` 400, 403 or 404."""
    model, body = _checked(path, form.document(), models, caller)
    return Generation(path, model, body, caller, form=form.for_model(model.engine_name))


def _checked(path: str, document: dict[str, Any], models: Mapping[str, Model], caller: Caller) -> tuple[Model, bytes]:
    """Return the model that serves a document, and the document with that model's own name, as JSON."""
    name = document.get("model")
    if not isinstance(name, str) or not name:
        raise ApiError(400, "missing_model", "the body needs 'model': a model's name or alias")
    model = choose(models, caller, name)
    if names := refused(document):
        raise ApiError(400, "unsupported_parameter", f"not accepted here: {', '.join(names)}")
    try:
        model = shortest(path, document, model, models)
        check(path, document, model)
        document["model"] = model.engine_name
        return model, json.dumps(document, separators=(",", ":")).encode()
    except RecursionError:
        raise ApiError(400, "invalid_json", "the request body is nested too deeply") from None


def described(model: Model, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return one entry of the models list; an adapter's with ``root`` and ``parent``, as vLLM shows them.

    ``state`` is this project's own part of it.
    """
    entry: dict[str, Any] = {"id": model.public_name, "object": "model", "created": 0, "owned_by": "ebbtide"}
    if model.adapter is not None:
        return entry | {"aliases": [], "root": model.adapter.root, "parent": model.name, "ebbtide": dict(state)}
    return entry | {"aliases": list(model.aliases), "ebbtide": dict(state)}


class BodyMemory:
    """Bytes of bodies that this process holds: those of held requests stay for as long as their model takes to wake."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Yield the share of one request's body, and give it back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            share.resize(0)

    def take(self, more: int) -> None:
        """Take more bytes, or give some back. Raises ``ApiError`` 503 when there are no more."""
        if more > 0 and self._held + more > self._most:
            message = f"the requests that are being answered hold all of the {self._most} bytes that they may take"
            raise ApiError(503, "too_many_bodies", message, retry_after=_RETRY_AFTER_SECONDS)
        self._held += more


class Share:
    """Part of a ``BodyMemory`` held by one request."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._size = 0

    def resize(self, size: int) -> None:
        """Set the share to ``size`` bytes. Raises ``ApiError`` 503 when there are not that many more."""
        self._memory.take(size - self._size)
        self._size = size


async def read_body(request: web.BaseRequest, connection: Connection, limits: Limits, share: Share) -> bytes:
    """Return the whole body. Raises ``ApiError`` 413 as soon as it is known to be too large, 408 when nothing more of
    it comes, 415 when it is compressed: its unpacked size would need a bound as well, and engines take no compressed
    body.
    """
    most = limits.max_body_bytes
    too_large = ApiError(413, "body_too_large", f"the request body may have at most {most} bytes")
    await _expect(request, most, too_large)
    body = bytearray()
    with connection.reading(request.content):
        while piece := await _within(limits.silent_body_seconds, request.content.readany()):
            body += piece
            if len(body) > most:
                raise too_large
            share.resize(len(body))
    return bytes(body)


async def read_form_body(
    request: web.BaseRequest,
    connection: Connection,
    limits: Limits,
    share: Share,
    file: IO[bytes],
    most: int = MOST_FILE_BYTES,
) -> Form:
    """Return the form, its file of at most ``most`` bytes written into ``file``. Raises ``ApiError`` as ``read_body``
    does, and as ``read_form`` does.
    """
    await _expect(request, form_bytes(most), file_too_large(most))
    with connection.reading(request.content):
        return await read_form(
            request.headers,
            request.content,
            lambda coming: _within(limits.silent_body_seconds, coming),
            file,
            share.resize,
            most,
        )


async def _expect(request: web.BaseRequest, most: int, too_large: ApiError) -> None:
    """Let a body come. Raises ``ApiError`` for one that is compressed, or is known to be too large."""
    if (coding := request.headers.get("content-encoding", "identity").strip().lower()) != "identity":
        message = f"the body is sent with content-encoding {coding[:40]!r}; send it as it is"
        raise ApiError(415, "unsupported_encoding", message, headers={"accept-encoding": "identity"})
    if request.content_length is not None and request.content_length > most:
        raise too_large
    if request.headers.get("expect", "").lower() == "100-continue" and request.version >= (1, 1):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def _within(seconds: float, coming: Awaitable[T]) -> T:
    """Return what comes next of a body."""
    try:
        async with asyncio.timeout(seconds):
            return await coming
    except TimeoutError:
        raise ApiError(408, "request_timeout", f"nothing more of the body came for {seconds:g} s") from None
    except Leaving:
        raise ApiError(503, "stopping", "this gateway is being replaced", retry_after=1) from None
    except (RequestPayloadError, HttpProcessingError) as problem:
        raise ApiError(400, "malformed_request", f"the body is no HTTP ({type(problem).__name__})") from None
