"""A finding about a stack file, in one shape: where, the value, what is allowed, how to fix it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from components.typed.refusal import Severity
from infra.stackfile.findings.waiver import Waiver


@dataclass(frozen=True)
class Finding:
    """One thing to fix. ``value`` is already printable and free of secrets; None if there is no value to show.

    ``error`` and ``mandatory`` both stop the stack: an error can never work, a mandatory one breaks a policy.
    ``warning`` only informs; ``waiver`` is the one that turned a mandatory finding into it. ``code`` (``EBB001``) never
    changes its meaning. ``policy`` is the rule of the policy pack that reports it, where one does. ``owner`` is
    empty, or the mark of what a code owner has to agree to: another value, shown in full or not, has another mark.
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
    owner: str = ""

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
