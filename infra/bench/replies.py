"""One request as its client saw it. Times are seconds on the client's own monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reply:
    """``sent`` is when the request was due: a client that is late itself must not make the server look quicker.
    ``fault`` is None for a whole answer; else a status like ``503``, or what broke off."""

    number: int
    sent: float
    ended: float
    status: int | None = None
    first: float | None = None  # the first token; None without a stream
    last: float | None = None  # the last token
    tokens: int | None = None  # of the answer: as the server counts them, else pieces of the stream
    prompt_tokens: int | None = None
    gaps: tuple[float, ...] = ()  # between pieces of the stream that follow each other
    fault: str | None = None
    said: str = ""  # the server's words for a fault, shortened
    retry_after: str | None = None
    ids: tuple[str, ...] = ()  # of the answer: more than one is more than one answer
    endings: int = 0  # how often the answer said that it was whole
    late: float = 0.0  # seconds after ``sent`` at which the client really sent it

    @property
    def whole(self) -> bool:
        return self.fault is None

    @property
    def to_first(self) -> float | None:
        return None if self.first is None else self.first - self.sent

    @property
    def latency(self) -> float:
        return self.ended - self.sent

    @property
    def per_token(self) -> float | None:
        """Seconds a token after the first one; None for an answer of one token."""
        if self.first is None or self.last is None or (self.tokens or 0) < 2:
            return None
        return (self.last - self.first) / ((self.tokens or 0) - 1)
