"""The findings to which a code owner has to agree before a change is merged. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from infra.stackfile.findings.finding import Finding

AGREE = "a code owner has to agree"
"""Said by each of these findings, so that a reader knows what the warning waits for."""


def needs_owner(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings of a judgement that nobody can judge by rule: what they are about is neither known to be
    harmless nor known to be wrong. They are warnings, so ``plan`` shows them and ``up`` with a merged file goes on; a
    gate holds a change that has one whose ``owner`` mark no finding of its base has, until an owner agrees."""
    return [finding for finding in findings if finding.owner]
