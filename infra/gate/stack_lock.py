"""Holders of a stack's lock, and since when, from the output of ``pulumi``: ``python -m infra.gate.stack_lock LOG``.

Source of the messages: pulumi 3.259, the object-store backend's lock and ``pulumi stack`` of Pulumi Cloud.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

_HELD = re.compile(r"created by (?P<owner>[^\n]*?) \(pid (?P<pid>\d+)\) at (?P<since>\S+)")
_CLOUD = re.compile(r"in progress:\s+Started: (?P<age>[^\n]+)\s+Requested By: (?P<owner>[^\n]+)")


def holders(log: str, now: datetime) -> Iterator[str]:
    """Yield one line for each lock; nothing if the log mentions none."""
    for held in _HELD.finditer(log):
        since = datetime.fromisoformat(held["since"])
        age = _age((now - since).total_seconds())
        yield f"locked by {held['owner']} (process {held['pid']}) since {held['since']}, {age}"
    for update in _CLOUD.finditer(log):
        yield f"locked by {update['owner'].strip()}, started {update['age'].strip()}"


def _age(seconds: float) -> str:
    minutes = max(0, round(seconds / 60))
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def main() -> None:
    log = Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace")
    for line in holders(log, datetime.now(UTC)):
        print(f"🔒 {line}. If nobody works on it any more: `pulumi cancel`.")


if __name__ == "__main__":
    main()
