"""Errors that a person sees as text and never as a traceback."""

from __future__ import annotations

from pathlib import Path

from infra.redaction import redact


class LocalProblem(Exception):
    """A problem of the local stack, shown as text and never as a traceback."""

    def __init__(self, what: str, fix: str, log: Path | None = None) -> None:
        lines = [what]
        if log is not None and log.exists():
            tail = log.read_text(errors="replace").splitlines()[-12:]
            lines += [f"  last lines of {log}:", *(f"  | {line[:200]}" for line in tail)]
        lines.append(f"  fix: {fix}")
        super().__init__(redact("\n".join(lines)))


class UsageError(Exception):
    """A command that cannot be understood as typed; the text says what is allowed, and shows no secret."""

    def __init__(self, text: str) -> None:
        super().__init__(redact(text))
