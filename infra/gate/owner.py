"""What a change does that no rule can vouch for: a code owner has to agree to it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from components.typed.rules.stack import KEY_UNKNOWN
from components.typed.tables import read_table
from infra.gate.changed_files import ChangedFiles
from infra.gate.stack_file_diff import ChangedValue
from infra.planner.judgement import Judgement
from infra.stackfile.findings.finding import Finding
from infra.stackfile.findings.owner_needed import needs_owner
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.schema.model import TEMPLATES

_SHOWN = 8


def of_change(files: ChangedFiles, before: Sequence[Waiver], after: Sequence[Waiver]) -> Iterator[str]:
    """Yield why an owner has to agree, whatever the stack. ``before`` and ``after`` are the waivers of both sides."""
    if files.programs:
        yield f"it edits what is installed or run, which no rule can vouch for: {some(files.programs)}"
    templates = [path for path in files.paths if path.startswith(f"stacks/{TEMPLATES}/")]
    if templates:
        yield f"it changes what a model reads around every request, which no rule can judge: {some(templates)}"
    old, new = files.deployed_before, files.deployed_after
    gone = [stack for stack in old if stack not in new]
    if gone:
        yield f"no pipeline would deploy, judge or look after any more: {some(gone)}"
    elif [stack for stack in new if stack in old] != list(old):
        yield f"it changes the order in which pipelines deploy, to {', '.join(new)}"
    for waiver in after:
        if waiver not in before:
            yield f"it waives {waiver.rule} for {waiver.resource} until {waiver.expiry.isoformat()}: {waiver.reason}"


def of_stack(before: Judgement | None, after: Judgement | None, programs: Sequence[str]) -> Iterator[str]:
    """Yield why an owner has to agree to what a stack file asks for. None: there is no such file."""
    old, new = (side.reading.environment if side is not None else None for side in (before, after))
    if old is not None and new is not None and old != new:
        yield f"it turns the environment from {old} to {new}, whose rules are others"
    known = {finding.owner for finding in needs_owner(before.findings)} if before is not None else set()
    for finding in needs_owner(after.findings) if after is not None else ():
        if finding.owner not in known:
            yield str(finding)
    keys = sorted({finding.path for finding in unknown_keys(after)}) if programs else []
    if keys:
        yield (
            f"the stack file has keys that only this change's own program knows, and no rule has judged: {some(keys)}; "
            "to have them judged, merge the program first and the stack file in a change of its own"
        )


def of_values(values: Iterable[ChangedValue]) -> Iterator[str]:
    """Yield why an owner has to agree to values that no rule can judge (``owner_values.yaml``)."""
    for row in _rows():
        paths = [each.path for each in values if any(fnmatch.fnmatchcase(each.path, glob) for glob in row["paths"])]
        if paths:
            yield f"{row['why']}: {some(paths)}"


@cache
def _rows() -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = read_table(Path(__file__).with_name("owner_values.yaml"))["values"]
    return rows


def unknown_keys(judgement: Judgement | None) -> tuple[Finding, ...]:
    """Return the findings about keys that the base's schema lacks."""
    findings = judgement.findings if judgement is not None else ()
    return tuple(finding for finding in findings if finding.code == KEY_UNKNOWN.code)


def some(names: Sequence[str]) -> str:
    """Return the first of ``names``, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
