"""A rule of the product, and its findings: where, the value, what is allowed, how to fix it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic_core import PydanticCustomError

Severity = Literal["error", "warning", "mandatory"]
Path = tuple[str | int, ...]
# Marks a finding without a value to show: a key that is missing, or a value that must not be repeated.
ABSENT: Any = object()


@dataclass(frozen=True, kw_only=True)
class Words:
    """The texts for a value that is not of its kind."""

    says: str
    allowed: str
    fix: str


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing that can be wrong. ``code`` (``EBB007``) never changes its meaning; the texts are those of
    docs/findings.md, with keys of the stack file in backticks.

    ``severities`` are those its findings can have, the usual one first. ``policy`` is the policy (docs/policies.md)
    that checks the same in what is sent; ``policy_below`` is a path and the policy that replaces it below that path.
    ``values`` are the texts for each kind of text that a field checks by a pattern, by the name of the field's type.
    ``owner``: its findings stop nothing by themselves, and a code owner has to agree to them
    (``infra/stackfile/findings/owner_needed.py``).
    """

    code: str
    title: str
    allowed: str
    fix: str
    severities: tuple[Severity, ...] = ("error",)
    policy: str | None = None
    policy_below: tuple[Path, str] | None = None
    values: Mapping[str, Words] = field(default_factory=dict, hash=False)
    owner: bool = False

    @property
    def severity(self) -> Severity:
        """Return the severity of a finding that does not choose one."""
        return self.severities[0]

    @property
    def policies(self) -> tuple[str, ...]:
        """Return the ids of every policy that may report its findings."""
        below = (self.policy_below[1],) if self.policy_below is not None else ()
        return (*((self.policy,) if self.policy is not None else ()), *below)

    def policy_at(self, path: Path) -> str | None:
        """Return the id of the policy for a finding at this path."""
        if self.policy_below is not None:
            below, policy = self.policy_below
            if path[: len(below)] == below:
                return policy
        return self.policy

    def at(
        self,
        path: Path,
        message: str,
        *,
        allowed: str | None = None,
        fix: str | None = None,
        value: Any = ABSENT,
        severity: Severity | None = None,
    ) -> Problem:
        """Return a finding of this rule at ``path``; ``message`` follows the value: ``is not …``."""
        return Problem(
            rule=self,
            path=path,
            message=message,
            allowed=_plain(self.allowed) if allowed is None else allowed,
            fix=_plain(self.fix) if fix is None else fix,
            value=None if value is ABSENT else value,
            has_value=value is not ABSENT,
            severity=severity or self.severity,
        )

    def refusal(
        self,
        message: str,
        *,
        allowed: str | None = None,
        fix: str | None = None,
        has_value: bool = True,
        severity: Severity | None = None,
    ) -> PydanticCustomError:
        """Return the error for a field's validator; its context has what a ``Problem`` needs beside the path."""
        context = {
            "rule": self,
            "message": message,
            "allowed": _plain(self.allowed) if allowed is None else allowed,
            "fix": _plain(self.fix) if fix is None else fix,
            "has_value": has_value,
            "severity": severity or self.severity,
        }
        return PydanticCustomError(self.code, "{message}", context)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A finding before its file is known: ``path`` in parts, ``value`` as it was read."""

    rule: Rule
    path: Path
    message: str
    allowed: str
    fix: str
    value: Any
    has_value: bool
    severity: Severity

    @property
    def code(self) -> str:
        """Return the rule's code, like ``EBB007``."""
        return self.rule.code


def _plain(text: str) -> str:
    return text.replace("`", "")
