"""Usage of each request on its way to the database: counted beside the answer, kept here until it is written."""

from __future__ import annotations

import json
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .access_log import Record
from .keys import Caller
from .upstream import BrokenOff

if TYPE_CHECKING:
    from ebbtide_accounts.usage import Row

# some 500 bytes each in memory: ten minutes of 80 requests a second
_MOST_ROWS = 50_000
_MOST_EVENT_BYTES = 1024 * 1024
_USAGE = b'"usage":'
_END = b"\n\n"


class Use:
    """Usage of one request while it goes on. ``hides``: the client did not ask for the event with the counts, so it is
    taken out of the stream. ``served_by``: the model whose engines work on it, if that has another name.
    """

    __slots__ = (
        "_began",
        "_tail",
        "at",
        "caller",
        "first_token_seconds",
        "hides",
        "id",
        "is_written",
        "model",
        "served_by",
        "tokens",
        "woke",
    )

    def __init__(self, caller: Caller, model: str, hides: bool, served_by: str | None = None) -> None:
        self.id = uuid.uuid4()
        self.at, self._began = datetime.now(UTC), time.monotonic()
        self.caller, self.model, self.hides = caller, model, hides
        self.served_by = model if served_by is None else served_by
        self.tokens: tuple[int | None, int | None, int | None] = (None, None, None)
        self.first_token_seconds: float | None = None
        self.woke = False
        self.is_written = False
        self._tail = b""

    @property
    def total_tokens(self) -> int:
        """Return the tokens in and out, as far as the engine has said them."""
        return (self.tokens[0] or 0) + (self.tokens[1] or 0)

    def whole(self, body: bytes) -> None:
        """Count an answer that is all here."""
        if _USAGE in body:
            self._count(_json(body))

    async def passing(self, first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield a stream as it comes, counted; without the event that its client did not ask for."""
        if passed := self.passed(first):
            yield passed
        try:
            async for chunk in rest:
                if passed := self.passed(chunk):
                    yield passed
        except BrokenOff:
            if self.hides and self._tail:
                yield self._tail
            raise
        if self.hides and self._tail:
            yield self._tail

    def passed(self, chunk: bytes) -> bytes:
        """Return what of a chunk the client gets now. Engines send whole events: the usual chunk is looked through once
        for one word, and is returned as it is.
        """
        if not self._tail and _USAGE not in chunk and chunk.endswith(_END):
            return chunk
        whole, end, rest = (self._tail + chunk).rpartition(_END)
        self._tail = rest if len(rest) <= _MOST_EVENT_BYTES else b""
        if _USAGE not in whole:
            kept = whole + end
        else:
            kept = b"".join(event + _END for event in whole.split(_END) if not self._is_for_us(event))
        if self.hides:
            return kept + (rest if not self._tail else b"")
        return chunk

    def row(self, record: Record, *, ended: bool) -> Row:
        """Return it as the database keeps it."""
        from ebbtide_accounts.usage import Row  # not imported where tokens are counted for limits alone

        tokens_in, tokens_out, cached = self.tokens
        return Row(
            self.id,
            record.request_id,
            self.at,
            self.caller.group,
            self.caller.id,
            self.caller.name,
            self.model,
            tokens_in,
            tokens_out,
            cached,
            record.wait_seconds,
            self.first_token_seconds,
            record.status if ended else None,
            ended and record.complete,
            self.woke,
            self.at + timedelta(seconds=time.monotonic() - self._began) if ended else None,
            self.served_by,
        )

    def _is_for_us(self, event: bytes) -> bool:
        """Count an event. Return True if it is the one that only says the counts, and its client did not ask for it."""
        if _USAGE not in event:
            return False
        document = _json(b"".join(line[5:] for line in event.split(b"\n") if line.startswith(b"data:")))
        self._count(document)
        return self.hides and isinstance(document, dict) and document.get("choices") == []

    def _count(self, document: Any) -> None:
        """Take the counts out of an answer, or an event of it: OpenAI's, its responses API's or Anthropic's."""
        if not isinstance(document, dict):
            return
        for holder in (document, document.get("response"), document.get("message")):
            usage = holder.get("usage") if isinstance(holder, dict) else None
            if isinstance(usage, dict):
                self.tokens = _latest(self.tokens, usage)


def _latest(
    before: tuple[int | None, int | None, int | None], usage: dict[str, Any]
) -> tuple[int | None, int | None, int | None]:
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    found = (
        usage.get("prompt_tokens", usage.get("input_tokens", usage.get("total_tokens"))),
        usage.get("completion_tokens", usage.get("output_tokens")),
        details.get("cached_tokens") if isinstance(details, dict) else None,
    )
    first, second, third = (new if isinstance(new, int) else old for new, old in zip(found, before, strict=True))
    return first, second, third


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


class UsageLog:
    """Rows that are to be written. ``dropped`` is called for each one that there is no room for."""

    def __init__(self, dropped: Callable[[], None], most: int = _MOST_ROWS) -> None:
        self._dropped, self._most = dropped, most
        self._open: dict[Use, Record] = {}
        self._ended: deque[Row] = deque()

    def __len__(self) -> int:
        return len(self._ended)

    def begin(self, use: Use, record: Record) -> None:
        """Note a request that begins."""
        self._open[use] = record

    def end(self, use: Use, record: Record) -> Row:
        """Note a request that has ended, however it did; return its row, kept or not."""
        self._open.pop(use, None)
        row = use.row(record, ended=True)
        if len(self._ended) >= self._most:
            self._dropped()
        else:
            self._ended.append(row)
        return row

    def batch(self, most: int, older_than: datetime) -> tuple[list[Row], list[Use]]:
        """Return rows to write: of requests that have ended, and of those that began before a moment and go on. No id
        is in it twice.
        """
        ended = [self._ended[index] for index in range(min(most, len(self._ended)))]
        going = [use for use in self._open if not use.is_written and use.at < older_than][: most - len(ended)]
        return [*ended, *(use.row(self._open[use], ended=False) for use in going)], going

    def written(self, rows: list[Row], going: list[Use]) -> None:
        """Forget rows that the database has confirmed; those of requests that go on come again when they end."""
        for _ in range(len(rows) - len(going)):
            self._ended.popleft()
        for use in going:
            use.is_written = True
