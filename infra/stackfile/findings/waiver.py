"""One waiver, and its effect on a mandatory problem of a stack file. An error is never lifted."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta

from components.typed.refusal import Problem
from infra.stackfile.findings.formatting import show_path

SOON = timedelta(days=14)


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """One waiver. ``rule`` is a policy's id, or a finding's code. ``resource`` is a glob over a URN, a resource's name,
    or a path of the stack file (``stack:models.*``). It holds to the end of the day of ``expiry``."""

    rule: str
    resource: str
    owner: str
    reason: str
    expiry: date

    def covers(self, rule: str, at: str) -> bool:
        """Return True if a violation of ``rule`` at ``at`` is waived; ``expiry`` is not checked."""
        names = (at, at.rpartition("::")[2], at.removeprefix("stack:"))
        # a path may contain brackets, which a glob would read as a choice of letters
        return self.rule == rule and any(
            name == self.resource or fnmatch.fnmatchcase(name, self.resource) for name in names
        )

    def in_force(self, today: date) -> bool:
        return today <= self.expiry

    def expires_soon(self, today: date) -> bool:
        return self.in_force(today) and self.expiry - today <= SOON


def waiver_of(problem: Problem, waivers: Iterable[Waiver], today: date) -> Waiver | None:
    """Return the waiver for a mandatory problem: one in force if there is one, else an expired one."""
    if problem.severity != "mandatory":
        return None
    names = (problem.code, problem.rule.policy_at(problem.path))
    # as for a policy's violation: the exact path, or the pool, model or section around it
    places = [f"stack:{show_path(path)}" for path in (problem.path, problem.path[:-1]) if path]
    covering = [w for w in waivers if any(name and w.covers(name, at) for name in names for at in places)]
    return next((w for w in covering if w.in_force(today)), covering[0] if covering else None)


def lifted(problem: Problem, waiver: Waiver) -> Problem:
    """Return the problem under a waiver in force: a warning that names the waiver's owner and expiry."""
    message = f"{problem.message} (waived by {waiver.owner} until {waiver.expiry})"
    return replace(problem, severity="warning", message=message)


def still_standing(problem: Problem, waiver: Waiver, today: date) -> Problem:
    """Return the problem that a waiver names but does not lift, with the reason."""
    why = "no waiver lifts this, because nothing could be built with it"
    if not waiver.in_force(today):
        why = f"the waiver of {waiver.owner} ended on {waiver.expiry}"
    return replace(problem, message=f"{problem.message} ({why})")
