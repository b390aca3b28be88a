"""Reading of a stack's values that accepts what waivers allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import ValidationError

from components.typed.fields import MOST_AT_ONCE, Accepted
from components.typed.refusal import Path, Problem
from components.typed.rules.stack import MAX_MISSING
from infra.stackfile.findings.pydantic_errors import problems_of
from infra.stackfile.findings.waiver import Waiver, lifted, still_standing, waiver_of
from infra.stackfile.partial import draft
from infra.stackfile.rules.stack import judge
from infra.stackfile.schema.stack import StackConfig

Waived = tuple[Problem, Waiver | None]


@dataclass(frozen=True)
class _Read:
    """One reading. ``fields`` are the problems of single values, with which ``config`` is None; ``rules`` are those
    between values."""

    config: StackConfig | None
    fields: tuple[Problem, ...]
    rules: tuple[Problem, ...]


def judged(
    named: Mapping[str, Any],
    closed: Iterable[Path],
    own: Iterable[Problem],
    secrets: Iterable[Path],
    waivers: Sequence[Waiver],
    today: date,
) -> tuple[StackConfig | None, list[Waived]]:
    """Return the stack, and its problems as they are under the waivers, each lifted one with its waiver.

    ``own`` are problems found before, ``secrets`` the paths of secrets among them; nothing below a path in ``closed``
    is judged.
    """
    closed, secrets = tuple(closed), frozenset(secrets)
    first = last = _read(named, closed, secrets, today)
    leave = [problem for problem in first.fields if _in_force(problem, waivers, today)]
    if leave:
        # a refused value is not in the typed stack: read again, this time accepting the waived values
        last = _read(
            _with_max(named, leave), closed, secrets, today, frozenset((p.code, p.value) for p in leave if _is_text(p))
        )
    unusable = {(problem.code, problem.path) for problem in last.fields}
    problems = [*own, *first.fields, *last.rules]
    return last.config, [under(problem, waivers, today, unusable if problem in leave else ()) for problem in problems]


def _read(
    named: Mapping[str, Any],
    closed: tuple[Path, ...],
    secrets: frozenset[Path],
    today: date,
    accepted: Accepted = frozenset(),
) -> _Read:
    config: StackConfig | None = None
    fields: Iterable[Problem] = ()
    try:
        config = StackConfig.model_validate(named, context=accepted)
    except ValidationError as error:
        fields = problems_of(error, StackConfig)
    opened = tuple(p for p in fields if not within(p.path, closed))
    return _Read(config, opened, tuple(p for p in judge(draft(named, secrets, today)) if not within(p.path, closed)))


def within(path: Path, closed: Iterable[Path]) -> bool:
    return any(path[: len(outer)] == outer for outer in closed)


def under(
    problem: Problem, waivers: Sequence[Waiver], today: date, unusable: Iterable[tuple[str, Path]] = ()
) -> Waived:
    """Apply the waivers to a problem; those of ``unusable`` stay although a waiver covers them."""
    waiver = waiver_of(problem, waivers, today)
    if waiver is None:
        return problem, None
    if not waiver.in_force(today) or (problem.code, problem.path) in unusable:
        return still_standing(problem, waiver, today), None
    return lifted(problem, waiver), waiver


def _in_force(problem: Problem, waivers: Sequence[Waiver], today: date) -> bool:
    waiver = waiver_of(problem, waivers, today)
    return waiver is not None and waiver.in_force(today)


def _is_text(problem: Problem) -> bool:
    return isinstance(problem.value, str)


def _with_max(named: Mapping[str, Any], leave: Iterable[Problem]) -> Mapping[str, Any]:
    """Set a missing, waived ``max`` to the largest there is, for the rules over costs and the place's limits."""
    whole = dict(named)
    for section, name in (problem.path[:2] for problem in leave if problem.rule == MAX_MISSING):
        entries = whole[str(section)]
        whole[str(section)] = {**entries, name: {**entries[name], "max": MOST_AT_ONCE}}
    return whole
