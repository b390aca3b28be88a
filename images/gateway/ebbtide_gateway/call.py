"""What one request knows about itself on its way through LiteLLM to the interceptor and back."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

import httpx

from .settings import Model


@dataclass(frozen=True)
class Failure:
    """A final upstream error: HTTP status, JSON body in OpenAI's shape, seconds for ``Retry-After``."""

    status: int
    body: bytes
    retry_after: float | None = None


@dataclass
class Call:
    """Made by the front after the caller was admitted; read and filled in by the transport below LiteLLM.

    ``path`` is the only upstream path this request may reach. ``held`` says that the model slept or had to be
    asked more than once; ``waited_seconds`` then counts until its first byte. ``failure`` is the final error
    as it came from upstream (or was made at the deadline): LiteLLM rewords errors, the front gives the client
    this one.
    """

    model: Model
    path: str
    held: bool = False
    waited_seconds: float = 0.0
    attempts: int = 0
    failure: Failure | None = None
    response: httpx.Response | None = None

    async def close(self) -> None:
        """Close the upstream connection now, whoever still holds an iterator over it."""
        if self.response is not None:
            await self.response.aclose()
            self.response = None


current: ContextVar[Call | None] = ContextVar("ebbtide_call", default=None)
