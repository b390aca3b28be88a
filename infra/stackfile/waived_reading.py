"""Reading a stack's values, with leave for what waivers are for."""

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
from infra.stackfile.findings.waivers import Waiver, lifted, still_standing, waiver_of
from infra.stackfile.partial import draft
from infra.stackfile.rules.stack import judge
from infra.stackfile.schema.stack import StackConfig

Waived = tuple[Problem, Waiver | None]


@dataclass(frozen=True)
class _Read:
    """``fields``: what single values are refused for, and then ``config`` is None; ``rules``: what values together
    are refused for."""

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
    """The stack, and its problems as they are under the waivers, each lifted one with its waiver.

    ``own`` are problems that were found before, ``secrets`` the places of secrets among them; nothing below a path of
    ``closed`` is judged.
    """
    closed, secrets = tuple(closed), frozenset(secrets)
    first = last = _read(named, closed, secrets)
    leave = [problem for problem in first.fields if _in_force(problem, waivers, today)]
    if leave:
        # a refused value is not in the typed stack: what may stand for a while has to be read once more
        last = _read(
            _with_max(named, leave), closed, secrets, frozenset((p.code, p.value) for p in leave if _is_text(p))
        )
    unusable = {(problem.code, problem.path) for problem in last.fields}
    found = [*own, *first.fields, *last.rules]
    return last.config, [_under(problem, waivers, today, unusable if problem in leave else ()) for problem in found]


def under(problem: Problem, waivers: Sequence[Waiver], today: date) -> Waived:
    """A problem that was found beside the stack file, as it is under the waivers."""
    return _under(problem, waivers, today, ())


def _read(
    named: Mapping[str, Any], closed: tuple[Path, ...], secrets: frozenset[Path], accepted: Accepted = frozenset()
) -> _Read:
    config: StackConfig | None = None
    fields: Iterable[Problem] = ()
    try:
        config = StackConfig.model_validate(named, context=accepted)
    except ValidationError as error:
        fields = problems_of(error, StackConfig)
    opened = tuple(p for p in fields if not within(p.path, closed))
    return _Read(config, opened, tuple(p for p in judge(draft(named, secrets)) if not within(p.path, closed)))


def within(path: Path, closed: Iterable[Path]) -> bool:
    return any(path[: len(outer)] == outer for outer in closed)


def _under(problem: Problem, waivers: Sequence[Waiver], today: date, unusable: Iterable[tuple[str, Path]]) -> Waived:
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
    """Where the max may be missing it is the largest there is: rules over costs and the place's limits then say what
    that means."""
    whole = dict(named)
    for section, name in (problem.path[:2] for problem in leave if problem.rule == MAX_MISSING):
        entries = whole[str(section)]
        whole[str(section)] = {**entries, name: {**entries[name], "max": MOST_AT_ONCE}}
    return whole
