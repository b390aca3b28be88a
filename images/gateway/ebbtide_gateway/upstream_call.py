"""State of one admitted request on its way to the model and back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import aiohttp

from .errors import error_body
from .form import Form
from .routes import Api
from .settings import Model


@dataclass(frozen=True)
class Failure:
    """Final upstream error, for ``errors.error_body``; seconds for ``Retry-After``."""

    status: int
    message: str
    code: str | int
    kind: str | None = None
    param: str | None = None
    retry_after: float | None = None

    def body(self, api: Api) -> bytes:
        """Return the JSON body as that API's clients expect it."""
        return error_body(api, self.status, self.message, self.code, kind=self.kind, param=self.param)


@dataclass(frozen=True)
class Answer:
    """Answer whose first bytes are here. ``rest`` is None when they are all of it."""

    status: int
    content_type: str
    cache_control: str | None
    first: bytes
    rest: AsyncIterator[bytes] | None


@dataclass
class Call:
    """Call made by the front after the caller was admitted, filled in by the transport.

    ``held``: the model slept or had to be asked more than once; ``waited_seconds`` then counts until its first byte.
    ``woken``: this request began the wake; None: not known yet. ``leave`` tells the replica's count that it has ended.
    ``prompt``: its beginning, if that decides which replica gets it. ``fingerprint``: recognizes a request after an
    engine died with it. ``api``: whose errors its client expects. ``form``: what is sent instead of ``body``, which
    only says what is in it. ``rides``: it keeps no model awake.
    """

    model: Model
    path: str
    api: Api = "openai"
    prompt: bytes | None = None
    body: bytes = b""
    form: Form | None = None
    fingerprint: bytes | None = None
    rides: bool = False
    began: float = field(default_factory=time.monotonic)
    held: bool = False
    woken: bool | None = None
    waited_seconds: float = 0.0
    attempts: int = 0
    response: aiohttp.ClientResponse | None = None
    leave: Callable[[], None] | None = None

    def close(self) -> None:
        """Close the upstream connection now, unless its answer was read to the end."""
        if self.response is not None:
            self.response.close()
            self.response = None
        if self.leave is not None:
            self.leave()
            self.leave = None
