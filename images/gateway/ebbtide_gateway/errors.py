"""Refusals in the error shape of the API that was called: every client library raises its own exception for them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from .routes import Api

NO_IDLE_REPLICA = "no_idle_replica"
"""Code of the refusal of a request that may only ride on a replica which is awake anyway."""

_TYPE_BY_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
# Anthropic's types, from its page of errors (read 2026-11-29); any other 4xx is an invalid request
_ANTHROPIC_BY_STATUS = _TYPE_BY_STATUS | {
    408: "timeout_error",
    413: "request_too_large",
    503: "overloaded_error",
    504: "timeout_error",
}


class ApiError(Exception):
    """Error answer of the gateway itself. ``retry_after`` is in seconds and becomes a header; ``headers`` are added to
    it; ``param`` names the wrong parameter.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after: float | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.param = param
        self._headers = dict(headers or {})

    def body(self, api: Api = "openai") -> bytes:
        """Return the JSON body as that API's clients expect it."""
        return error_body(api, self.status, self.message, self.code, param=self.param)

    def headers(self) -> dict[str, str]:
        """Return the response headers that go with the body."""
        return error_headers(self.retry_after) | self._headers


def error_type(status: int) -> str:
    """Return OpenAI's ``type`` for a status; any other 4xx is an invalid request, everything else a server error."""
    return _TYPE_BY_STATUS.get(status, "invalid_request_error" if 400 <= status < 500 else "server_error")


def error_body(
    api: Api,
    status: int,
    message: str,
    code: str | int | None,
    *,
    kind: str | None = None,
    param: str | None = None,
) -> bytes:
    """Return one error as the API's JSON. ``kind``: OpenAI's ``type``, None if it follows from the status. ``code`` and
    ``param`` stand in every shape: clients read past what they do not know.
    """
    if api == "cohere":
        document: dict[str, Any] = {"message": message, "code": code, "param": param}
    elif api == "anthropic":
        usual = "invalid_request_error" if status < 500 else "api_error"
        kind = _ANTHROPIC_BY_STATUS.get(status, usual)
        document = {"type": "error", "error": {"type": kind, "message": message, "code": code, "param": param}}
    else:
        error = {"message": message, "type": kind or error_type(status), "param": param, "code": code}
        document = {"error": error}
    return json.dumps(document).encode()


def error_event(api: Api, status: int, message: str, code: str) -> bytes:
    """Return the event by which a stream of the API says that it failed."""
    return as_event(api, status, error_body(api, status, message, code))


def as_event(api: Api, status: int, body: bytes) -> bytes:
    """Return a whole answer as one event of a stream of the API; an error has the name that its clients look for."""
    name = b""
    if status >= 400 and api in ("anthropic", "responses"):
        name = b"event: error\n"
        if api == "responses":
            body = _responses_error(body)
    return name + b"data: " + body.strip().replace(b"\n", b"\ndata: ") + b"\n\n"


def _responses_error(body: bytes) -> bytes:
    """Return an error with what the API's own event has and what libraries look for, both."""
    try:
        document = json.loads(body)
        error = document["error"]
        own = {"type": "error", "message": error["message"], "code": error.get("code"), "param": None}
    except (ValueError, KeyError, TypeError, AttributeError):
        return body  # an engine's own words, whatever they are
    return json.dumps({**own, **document}).encode()


def error_headers(retry_after: float | None) -> dict[str, str]:
    """Return an error's headers; ``Retry-After`` is whole seconds, rounded up, never 0 (a client would spin)."""
    headers = {"content-type": "application/json"}
    if retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(retry_after)))
    return headers


_ENGINE_DEAD = "EngineCore encountered an issue"
"""Start of vLLM 0.32's message, sent with 500, to all requests in an engine that died (v1/engine/exceptions.py)."""


def engine_died(error: Mapping[str, Any], status: int = 500) -> bool:
    """Return True if an engine's error says that the engine itself is gone, whatever the request was. ``status``: for
    an error without a code of its own, as Anthropic's are.
    """
    return error.get("code", status) == 500 and str(error["message"]).startswith(_ENGINE_DEAD)


def upstream_error(status: int, body: bytes) -> dict[str, Any] | None:
    """Return the ``error`` object of an engine's answer, or None when the body is not an engine's.

    vLLM answers ``{"error": {"message", "type", "param", "code"}}``, the interceptor plain text. This distinguishes a
    full engine (503 with an object: final) from a hop that has no pod yet (503 without: worth a retry).
    """
    try:
        document = json.loads(body)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    error = document.get("error", document if document.get("object") == "error" else None)
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return error
    return None
