"""The one error the local stack shows a person: what failed, where to look, what to do."""

from __future__ import annotations

from pathlib import Path


class LocalProblem(Exception):
    """A problem of the local stack, shown as text and never as a traceback."""

    def __init__(self, what: str, fix: str, log: Path | None = None) -> None:
        lines = [what]
        if log is not None and log.exists():
            tail = log.read_text(errors="replace").splitlines()[-12:]
            lines += [f"  last lines of {log}:", *(f"  | {line[:200]}" for line in tail)]
        lines.append(f"  fix: {fix}")
        super().__init__("\n".join(lines))
