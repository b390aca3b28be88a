"""Judgement of a stack file, the same in every command: ``plan``, ``graph``, ``gate`` and ``pulumi up``.

The file's own rules (``infra/stackfile``) say what its values may be; the planner (``infra/planner``) says whether the
models can be served with them. Where only a network or a cluster could tell, a warning says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from components.typed.refusal import Problem
from infra.planner.facts import adapters, recorded_models
from infra.planner.plan import AdapterOf, FactsOf, Measured, Plan, plan_stack
from infra.planner.sizing import measured_starts
from infra.planner.sizing.measured_starts import MeasuredStarts
from infra.stackfile import chat_templates
from infra.stackfile.findings.finding import ConfigError, Finding
from infra.stackfile.load import finding_in
from infra.stackfile.reading import Loaded, Reading

SKIP = "EBBTIDE_SKIP_PLANNER"
"""Environment variable for emergencies: its text is the reason why the planner's findings stop nothing."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Judgement of one stack file. ``plan`` is None where the place or the environment could not be read; for a refused
    file it has the sound part. ``findings`` are the file's own and the planner's, each once."""

    reading: Reading
    plan: Plan | None
    findings: tuple[Finding, ...]

    @property
    def stops(self) -> bool:
        """Return True if nothing may be created."""
        return self.reading.config is None or any(finding.stops for finding in self.findings)

    def loaded(self) -> Loaded:
        """Return the stack to build. Raises ``ConfigError`` with all findings if any of them stops it."""
        if self.reading.config is None or self.stops:
            raise ConfigError(self.findings)
        return Loaded(self.reading.config, self.findings)

    def to_build(self) -> Plan:
        """Return the plan of the stack to build. Raises ``ConfigError`` with all findings if any of them stops it."""
        if self.plan is None or self.stops:
            raise ConfigError(self.findings)
        return self.plan


def judge(
    reading: Reading,
    facts_of: FactsOf,
    *,
    files: Iterable[Problem] = (),
    more: Iterable[Problem] = (),
    measured: Mapping[str, Measured] | None = None,
    starts: MeasuredStarts = measured_starts.NONE,
    adapter_of: AdapterOf = adapters.NONE.find,
    skip_planner: str = "",
) -> Judgement:
    """Judge what was read. ``facts_of`` returns the facts for a model id, None where nothing is known, ``adapter_of``
    those for an adapter's; ``files`` are problems with files of the stack's own, ``more`` those found on the way to
    these facts; ``measured`` and ``starts`` are what was measured (``plan_stack``); ``skip_planner`` is the reason to
    make the planner's findings warnings."""
    plan = plan_stack(reading.partial, facts_of, measured, starts, adapter_of) if reading.partial is not None else None
    problems = [*more, *starts.problems, *(plan.problems if plan is not None else ())]
    if skip_planner:
        problems = [_lifted(problem, skip_planner) for problem in problems]
    located = [finding_in(reading, problem) for problem in (*files, *problems)]
    return Judgement(reading=reading, plan=plan, findings=merged(reading.findings, located))


def judge_with_records(reading: Reading, stacks: Path, *, skip_planner: str = "") -> Judgement:
    """Judge by the catalogue, and by the models, adapters and starts recorded beside the stack files in ``stacks``."""
    recorded, starts, beside = recorded_models.read(stacks), measured_starts.read(stacks), adapters.read(stacks)
    files = chat_templates.judge(reading.partial, stacks)
    return judge(
        reading,
        recorded.find,
        files=files,
        more=(*recorded.problems, *beside.problems),
        starts=starts,
        adapter_of=beside.find,
        skip_planner=skip_planner,
    )


def merged(first: Iterable[Finding], then: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return one finding per rule and place: the file's own rules may have reported it already."""
    by_place = {(each.code, each.path, each.message): each for each in first}
    reported = {(code, path) for code, path, _ in by_place}
    return (*by_place.values(), *(each for each in then if (each.code, each.path) not in reported))


def reason_to_skip(environ: Mapping[str, str] = os.environ) -> str:
    """Return the reason why the planner's findings stop nothing in this run; empty where they do."""
    return environ.get(SKIP, "").strip()


def _lifted(problem: Problem, reason: str) -> Problem:
    if problem.severity == "warning":
        return problem
    return replace(problem, severity="warning", message=f"{problem.message} ({SKIP}: {reason})")
