"""How a value of the stack file is refused: the number of the rule, what is allowed, how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import PydanticCustomError

Severity = Literal["error", "warning", "mandatory"]
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """A finding before it is known in which file it lies: ``path`` in parts, ``value`` as it was read."""

    number: int
    path: Path
    message: str
    allowed: str
    fix: str
    value: Any = None
    has_value: bool = True
    severity: Severity = "error"


def code(number: int) -> str:
    """``7`` → ``EBB007``."""
    return f"EBB{number:03d}"


def refuse(number: int, message: str, *, allowed: str, fix: str, severity: Severity = "error") -> PydanticCustomError:
    """The error a field's validator raises; ``message`` follows the value: ``is not …``."""
    context = {"message": message, "allowed": allowed, "fix": fix, "severity": severity}
    return PydanticCustomError(code(number), "{message}", context)
