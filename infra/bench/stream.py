"""The lines of a streamed chat, as far as a clock and a count need them. Pure: bytes and their time in, facts out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Stream:
    """Fed with what arrived and when. An event may be cut anywhere between two reads."""

    first: float | None = None
    last: float | None = None
    pieces: int = 0
    tokens: int | None = None
    prompt_tokens: int | None = None
    gaps: list[float] = field(default_factory=list)
    ids: dict[str, None] = field(default_factory=dict)
    finishes: int = 0
    closed: int = 0  # how often the closing line came
    error: str | None = None
    _rest: bytes = b""
    _piece_at: float = 0.0

    def feed(self, data: bytes, at: float) -> None:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip(), at)

    def _event(self, data: bytes, at: float) -> None:
        if data == b"[DONE]":
            self.closed += 1
            return
        try:
            event: Any = json.loads(data)
        except ValueError:
            self.error = self.error or "an event that is no JSON"
            return
        if not isinstance(event, dict):
            return
        if event.get("error"):
            self.error = self.error or json.dumps(event["error"])[:200]
        if event.get("id"):
            self.ids[str(event["id"])] = None
        if usage := event.get("usage"):
            self.tokens, self.prompt_tokens = usage.get("completion_tokens"), usage.get("prompt_tokens")
        for choice in event.get("choices") or []:
            self._choice(choice, at)

    def _choice(self, choice: dict[str, Any], at: float) -> None:
        delta = choice.get("delta") or {}
        if delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning") or delta.get("tool_calls"):
            if self.first is None:
                self.first = at
            else:
                self.gaps.append(at - self._piece_at)
            self._piece_at = at
            self.pieces += 1
        # a token without a text of its own (half a character, an end mark that was to be ignored) moves the end alone
        self.last = at
        if choice.get("finish_reason"):
            self.finishes += 1

    @property
    def fault(self) -> str | None:
        """Why this is no whole answer, once nothing more will come."""
        if self.error is not None:
            return "error in the stream"
        return None if self.closed and self.finishes else "cut off"
