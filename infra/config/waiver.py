"""One waiver, and what it does to a problem of a stack file that is mandatory: no error is ever lifted."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta

from components.typed.refusal import Path, Problem, code
from infra.config.findings import show_path

SOON = timedelta(days=14)
# The policy (docs/policies.md) that says the same of what is sent as the finding says of the stack file.
POLICIES = {
    8: "max-present", 9: "cost-ceiling", 10: "zero-outside-production", 14: "cost-ceiling", 15: "spot-only-production",
    19: "licence-acknowledged", 20: "pinned-revision", 22: "safetensors", 23: "no-remote-code", 38: "public-listener",
    39: "public-listener", 41: "image-digest", 48: "clear-text-secret", 52: "no-remote-code", 53: "engine-floor",
}  # fmt: skip
CODES = tuple(code(number) for number in POLICIES)


@dataclass(frozen=True)
class Waiver:
    """``rule`` is a policy's id, or a finding's code. ``resource`` is a glob over a URN, a resource's name, or a place
    of the stack file (``stack:models.*``). It holds to the end of the day of ``expiry``."""

    rule: str
    resource: str
    owner: str
    reason: str
    expiry: date

    def covers(self, rule: str, at: str) -> bool:
        """Whether a violation of ``rule`` at ``at`` is waived, while the waiver is in force."""
        names = (at, at.rpartition("::")[2], at.removeprefix("stack:"))
        # a place may hold brackets, which a glob would read as a choice of letters
        return self.rule == rule and any(
            name == self.resource or fnmatch.fnmatchcase(name, self.resource) for name in names
        )

    def in_force(self, today: date) -> bool:
        return today <= self.expiry

    def expires_soon(self, today: date) -> bool:
        return self.in_force(today) and self.expiry - today <= SOON


def policy_of(number: int, path: Path) -> str | None:
    """The policy's id for a finding with this number at this place."""
    if number == 8 and path[:1] == ("guard",):
        return "quota-present"
    if number == 39 and "cluster" in path:
        return "private-api"
    return POLICIES.get(number)


def waiver_of(problem: Problem, waivers: Iterable[Waiver], today: date) -> Waiver | None:
    """The waiver for a mandatory problem: one in force where there is one, else one that has ended."""
    if problem.severity != "mandatory":
        return None
    names = (code(problem.number), policy_of(problem.number, problem.path))
    # as for a policy's violation: the very place, or the pool, model or section it lies in
    places = [f"stack:{show_path(path)}" for path in (problem.path, problem.path[:-1]) if path]
    found = [w for w in waivers if any(name and w.covers(name, at) for name in names for at in places)]
    return next((w for w in found if w.in_force(today)), found[0] if found else None)


def lifted(problem: Problem, waiver: Waiver) -> Problem:
    """The problem under a waiver in force: a warning that names who answers for it, and until when."""
    said = f"{problem.message} (waived by {waiver.owner} until {waiver.expiry})"
    return replace(problem, severity="warning", message=said)


def still_standing(problem: Problem, waiver: Waiver, today: date) -> Problem:
    """The problem that a waiver is meant for and does not lift, with why."""
    why = "no waiver lifts this, because nothing could be built with it"
    if not waiver.in_force(today):
        why = f"the waiver of {waiver.owner} ended on {waiver.expiry}"
    return replace(problem, message=f"{problem.message} ({why})")
