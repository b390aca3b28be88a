"""Lines of a batch's input: each is one request, and all that is wrong with it is said."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_LINES = 50_000
MOST_LINE_BYTES = 16 * 1024 * 1024
MOST_FINDINGS = 100
_MOST_ID = 512


class LineTooLong(Exception):
    """Line that is no request any more."""


@dataclass(frozen=True)
class Finding:
    """What is wrong with a line (from 1; None: with the whole file), as OpenAI's clients read it."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None

    def document(self) -> dict[str, Any]:
        """Return it for the batch's ``errors``."""
        return {"code": self.code, "message": self.message, "line": self.line, "param": self.param}


@dataclass
class Reader:
    """Reader of the lines of one file. ``models``: names that may be asked, with who serves them; ``others``: names
    that exist besides.
    """

    endpoint: str
    models: Mapping[str, str]
    others: Collection[str]
    findings: list[Finding] = field(default_factory=list)
    count: int = 0
    _ids: dict[str, int] = field(default_factory=dict)

    def read(self, line: bytes) -> tuple[int, str, str, bytes] | None:
        """Return number, id, model and body of a line; None for one that is wrong, whose findings are kept."""
        self.count += 1
        number, before = self.count, len(self.findings)
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            self._wrong("invalid_json_line", "the line is no JSON object", None)
            return None
        custom_id, body = document.get("custom_id"), document.get("body")
        if not isinstance(custom_id, str) or not 0 < len(custom_id) <= _MOST_ID:
            self._wrong("missing_required_parameter", f"needs a text of 1 to {_MOST_ID} letters", "custom_id")
        elif (first := self._ids.setdefault(custom_id, number)) != number:
            self._wrong("duplicate_custom_id", f"line {first} has the same", "custom_id")
        if document.get("method", "POST") != "POST":
            self._wrong("invalid_method", "allowed: POST", "method")
        if document.get("url") != self.endpoint:
            self._wrong("mismatched_endpoint", f"has to be the batch's endpoint, {self.endpoint}", "url")
        if not isinstance(body, dict):
            self._wrong("missing_required_parameter", "needs the request as an object", "body")
            return None
        model = self._model(body.get("model"))
        if body.get("stream") is True:
            self._wrong("invalid_request", "a batch has no streams; leave it out", "body.stream")
        if len(self.findings) > before or model is None or not isinstance(custom_id, str):
            return None
        return number, custom_id, model, json.dumps(body, separators=(",", ":")).encode()

    def _model(self, name: Any) -> str | None:
        if not isinstance(name, str) or not name:
            self._wrong("missing_required_parameter", "needs a model's name", "body.model")
            return None
        if name not in self.models:
            known = name in self.others
            why = "your key's group may not use it" if known else "there is no such model"
            allowed = ", ".join(sorted(self.models)) or "none"
            message = f"{name[:100]!r}: {why}; models you may use: {allowed}"
            self._wrong("model_not_allowed" if known else "model_not_found", message, "body.model")
        return self.models.get(name)

    def _wrong(self, code: str, message: str, param: str | None) -> None:
        self.findings.append(Finding(code, message, self.count, param))


async def lines_of(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the lines of a file that comes in pieces; blank ones are left out. Raises ``LineTooLong``."""
    rest = bytearray()
    async for piece in pieces:
        rest += piece
        *whole, last = rest.split(b"\n")
        if len(last) > MOST_LINE_BYTES or any(len(line) > MOST_LINE_BYTES for line in whole):
            raise LineTooLong
        for line in whole:
            if line.strip():
                yield bytes(line)
        rest = bytearray(last)
    if rest.strip():
        yield bytes(rest)
