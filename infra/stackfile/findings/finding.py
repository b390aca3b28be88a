"""A finding about a stack file, in one shape: where, the value, what is allowed, how to fix it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.typed.refusal import Path, Severity

if TYPE_CHECKING:
    from infra.stackfile.findings.waivers import Waiver

_LONGEST_SHOWN = 80
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_<>-]+(:[A-Za-z0-9_-]+)?")


@dataclass(frozen=True)
class Finding:
    """One thing to fix. ``value`` is already printable and free of secrets; None if there is no value to show.

    ``error`` and ``mandatory`` both stop the stack: an error can never work, a mandatory one breaks a policy.
    ``warning`` only informs; ``waiver`` is the one that turned a mandatory finding into it. ``code`` (``EBB001``) never
    changes its meaning. ``policy`` is the rule of the policy pack that reports it, where one does.
    """

    code: str
    severity: Severity
    file: str
    path: str
    value: str | None
    message: str
    allowed: str
    fix: str
    waiver: Waiver | None = None
    policy: str | None = None

    def __str__(self) -> str:
        where = f"{self.file}: {self.path}" if self.path else self.file
        what = f"{self.value} {self.message}" if self.value is not None else self.message
        return f"{where}: {what}; allowed: {self.allowed}; fix: {self.fix} [{self.code} {self.severity}]"

    @property
    def stops(self) -> bool:
        """Return True if nothing may be created while this stands."""
        return self.severity != "warning"


class ConfigError(Exception):
    """A stack file that cannot be used. ``findings`` has everything found, warnings included."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__(render(self.findings))


def render(findings: Iterable[Finding]) -> str:
    """Return one line per finding."""
    return "\n".join(str(finding) for finding in findings)


def show(value: Any) -> str:
    """Return a value as an error prints it: never the inside of a mapping or list, never a control character."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a very large number"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        # repr escapes what a terminal would obey and what UTF-8 cannot carry
        return repr(value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "…")
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return f"a {type(value).__name__}"


def printable(text: str) -> str:
    """Return ``text`` with everything that a terminal would obey, or UTF-8 cannot carry, escaped."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def show_path(path: Path) -> str:
    """Format like ``models.llama-8b.extraArgs[0]``; bracket and quote keys with other characters, as Pulumi does."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{show(part)}]"
    return text
