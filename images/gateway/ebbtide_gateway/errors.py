"""Refusals in OpenAI's error shape, so that every client library raises its own exception type for them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_TYPE_BY_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
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

    def body(self) -> bytes:
        """Return the JSON body."""
        return error_body(self.message, error_type(self.status), self.code, self.param)

    def headers(self) -> dict[str, str]:
        """Return the response headers that go with the body."""
        return error_headers(self.retry_after) | self._headers


def error_type(status: int) -> str:
    """Return OpenAI's ``type`` for a status; any other 4xx is an invalid request, everything else a server error."""
    return _TYPE_BY_STATUS.get(status, "invalid_request_error" if 400 <= status < 500 else "server_error")


def error_body(message: str, kind: str, code: str | int | None, param: str | None = None) -> bytes:
    """Return one error as OpenAI's JSON."""
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


def error_headers(retry_after: float | None) -> dict[str, str]:
    """Return an error's headers; ``Retry-After`` is whole seconds, rounded up, never 0 (a client would spin)."""
    headers = {"content-type": "application/json"}
    if retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(retry_after)))
    return headers


_ENGINE_DEAD = "EngineCore encountered an issue"
"""Start of vLLM 0.32's message, sent with 500, to all requests in an engine that died (v1/engine/exceptions.py)."""


def engine_died(error: Mapping[str, Any]) -> bool:
    """Return True if an engine's error says that the engine itself is gone, whatever the request was."""
    return error.get("code") == 500 and str(error["message"]).startswith(_ENGINE_DEAD)


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
