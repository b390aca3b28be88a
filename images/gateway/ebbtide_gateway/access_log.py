"""Access log: one JSON line per request on stdout with caller, model and outcome. Never a body, never a key."""

from __future__ import annotations

import json
import re
import secrets
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .usage import Use

NOT_ANSWERED = 499
_GOOD_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


@dataclass
class Record:
    """Record of one request, filled in as it goes on; ``status`` 499: the client left before an answer had begun.
    ``use``: what of it goes to the database, where there is one.
    """

    method: str
    path: str
    request_id: str = ""
    key: str | None = None
    group: str | None = None
    model: str | None = None
    status: int = NOT_ANSWERED
    code: str | int | None = None
    wait_seconds: float = 0.0
    attempts: int = 0
    complete: bool = True
    started: float = field(default_factory=time.monotonic)
    use: Use | None = None

    def line(self) -> str:
        """Return the line, without its newline."""
        return json.dumps(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "method": self.method,
                "path": self.path,
                "request_id": self.request_id,
                "key": self.key,
                "group": self.group,
                "model": self.model,
                "status": self.status,
                "code": self.code,
                "ms": round((time.monotonic() - self.started) * 1000),
                "wait_s": round(self.wait_seconds, 3),
                "attempts": self.attempts,
                "complete": self.complete,
            }
        )

    def write(self) -> None:
        """Write the line at once: a buffered line is of no use while a request hangs."""
        print(self.line(), file=sys.stdout, flush=True)


def request_id(sent_id: str | None) -> str:
    """Return the id that a client or proxy gave its request if it is fit for a header and a log, else a new one."""
    return sent_id if sent_id is not None and _GOOD_ID.fullmatch(sent_id) else secrets.token_hex(16)
