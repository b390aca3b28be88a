"""Judging process: it runs the base's code; from the head it reads data, and has its program run in the sandbox."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from components.catalog.machines import machines
from components.platforms.kinds import KINDS
from components.typed.refusal import Problem
from components.typed.rules.stack import POOL_RENAMED
from infra.gate import owner
from infra.gate.changed_files import ChangedFiles, compare
from infra.gate.checkout import overlay, take_data
from infra.gate.deployments import DEPLOYMENTS, STACK_NAME, WrongDeployments, listed, misnamed
from infra.gate.record_process import AS_DEPLOYED
from infra.gate.replacement.tables import read_all as read_replacements
from infra.gate.report import document, overview
from infra.gate.sandbox import UNCONFINED, Recorded, record, why_not_confined
from infra.gate.secret_scan import new_secrets
from infra.gate.stack_file_diff import diff_values
from infra.gate.verdict import Report, Side, judge
from infra.planner.facts import presets
from infra.planner.judgement import Judgement, judge_with_records
from infra.policies.clouds import clouds
from infra.policies.rules import rule_ids, rules
from infra.policies.settings import settings_for
from infra.policies.shapes import Shapes, shapes
from infra.stackfile.findings.finding import Finding
from infra.stackfile.findings.waivers import Waivers, load_waivers
from infra.stackfile.limits import limits
from infra.stackfile.load import finding_in, read_file
from infra.stackfile.schema.pool import PoolConfig


@dataclass(frozen=True)
class Request:
    """What the command has prepared: folders, and what was asked for. ``refused``: the head's links and submodules."""

    trusted: Path
    base: Path
    head: Path
    commits: tuple[str, str]
    refused: tuple[str, ...]
    stacks: tuple[str, ...]
    budget: float | None
    today: date
    unconfined: bool
    out: Path
    notes: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Request:
        read = json.loads(text)
        return cls(
            trusted=Path(read["trusted"]), base=Path(read["base"]), head=Path(read["head"]),
            commits=(read["baseCommit"], read["headCommit"]), refused=tuple(read["refused"]),
            stacks=tuple(read["stacks"]), budget=read["budget"], today=date.fromisoformat(read["today"]),
            unconfined=read["unconfined"], out=Path(read["out"]), notes=tuple(read["notes"]),
        )  # fmt: skip


def main() -> None:
    """Judge a change. The argument is a ``Request`` as JSON; the reports go to its folder (``NAME.FORMAT`` for each
    stack, ``gate.FORMAT`` for the whole), and the verdict is the exit status."""
    request = Request.parse(sys.argv[1])
    waivers = _look_first(request)
    try:
        files = compare(request.base, request.head, request.refused)
    except WrongDeployments as problem:
        sys.exit(_conclude(request, (), (str(problem),), ()))
    stacks = request.stacks or files.judged
    whole = whole_change(request, files, stacks, waivers)
    reports = []
    if stacks:
        with tempfile.TemporaryDirectory(prefix="ebbtide-runs-", ignore_cleanup_errors=True) as folder:
            programs = Programs(request, bool(files.programs), Path(folder))
            reports = [_report(request, whole, waivers, programs, stack) for stack in stacks if is_stack_name(stack)]
    sys.exit(_conclude(request, reports, whole.blocked, whole.owner_for))


@dataclass(frozen=True)
class WholeChange:
    """Everything that does not depend on the stack. ``blocked`` says why the change cannot pass whatever the stack."""

    blocked: tuple[str, ...]
    owner_for: tuple[str, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    programs: tuple[str, ...]
    clouds: Mapping[str, str]

    def wrong_cloud(self, stack: str, judgement: Judgement | None) -> list[str]:
        """Return what is wrong with the cloud that the list of deployments has for a stack."""
        kind = judgement.plan.stack.platform.kind if judgement is not None and judgement.plan is not None else None
        listed = self.clouds.get(stack, kind)
        if kind is None or listed == kind:
            return []
        return [f"{DEPLOYMENTS}: has {listed} for {stack}, whose platform is {kind}; fix: write {kind}"]


def is_stack_name(name: str) -> bool:
    return bool(STACK_NAME.fullmatch(name)) and name != overview.NAME


def whole_change(request: Request, files: ChangedFiles, stacks: tuple[str, ...], waivers: Waivers) -> WholeChange:
    own = load_waivers(request.head / "waivers.yaml", request.today, rule_ids())
    blocked = [str(each) for each in (*own.findings, *own.unreadable) if each.stops and each not in waivers.findings]
    blocked += [f"{path} is a link or a submodule; fix: put the files in its place" for path in request.refused]
    there = [path for path in files.paths if (request.head / path).is_file()]
    blocked += misnamed(there, (f"stacks/{path.name}" for path in (request.head / "stacks").glob("*")))
    for stack in files.touched:
        if stack == overview.NAME:
            blocked.append(
                f"stacks/Pulumi.{stack}.yaml has a name that no stack can have: a report has it; fix: rename it"
            )
        elif stack not in stacks:
            blocked.append(
                f"stacks/Pulumi.{stack}.yaml changes and is not judged; fix: name it too, or leave --stack out"
            )
    in_force = [waiver for waiver in waivers.waivers if waiver.in_force(request.today)]
    for secret in new_secrets(request.base, request.head, files.paths):
        if not any(waiver.covers("clear-text-secret", f"file:{secret.path}") for waiver in in_force):
            blocked.append(str(secret))
    notes = [*request.notes]
    facts = [path for path in files.paths if path.startswith(("stacks/models/", "stacks/adapters/"))]
    if facts:
        notes.append(
            f"this change edits recorded facts of models or adapters, by which they are judged: {owner.some(facts)}"
        )
    return WholeChange(
        tuple(blocked),
        tuple(owner.of_change(files, waivers.waivers, own.waivers)),
        own.findings,
        tuple(notes),
        files.programs,
        {each["stack"]: each["cloud"] for each in listed(request.head)},
    )


def _report(request: Request, whole: WholeChange, waivers: Waivers, programs: Programs, stack: str) -> Report:
    """Judge one stack and write its reports."""
    folders = (request.base, request.head)
    before, after = (_judged(folder, stack, waivers, request.today) for folder in folders)
    if whole.programs:
        after = _without_unknown_keys(after)
    recorded = programs.record(stack, before is not None, after is not None)
    values = diff_values(*(side.reading if side is not None else None for side in (before, after)))
    report = judge(
        stack,
        Side(request.commits[0], before, recorded.before),
        Side(request.commits[1], after, recorded.after),
        waivers,
        today=request.today,
        expected=recorded.expected if whole.programs else None,
        own_shapes=_own_shapes(request.head) if whole.programs else None,
        budget=request.budget,
        findings=[*whole.findings, *renamed_pools(before, after)],
        values=values,
        owner_for=[*whole.owner_for, *owner.of_stack(before, after, whole.programs), *owner.of_values(values)],
        unjudged=[*whole.blocked, *whole.wrong_cloud(stack, after)],
        notes=whole.notes,
    )
    hidden = [text for side in (before, after) if side is not None for text in side.reading.secrets.texts]
    for form in document.FORMATS:
        (request.out / f"{stack}.{form}").write_text(document.render(report, form, hidden), encoding="utf-8")
    return report


def _conclude(request: Request, reports: Sequence[Report], blocked: Sequence[str], owner_for: Sequence[str]) -> int:
    """Write the verdict on the whole change; return the exit status."""
    verdicts = {report.verdict for report in reports}
    verdicts |= ({"block"} if blocked else set()) | ({"owner"} if owner_for else set())
    verdict = next((each for each in ("block", "owner") if each in verdicts), "pass")
    reasons = dict.fromkeys([*owner_for, *(reason for report in reports for reason in report.owner_for)])
    content = overview.overview(verdict, {report.stack: report.verdict for report in reports}, blocked, list(reasons))
    for form in overview.FORMATS:
        (request.out / f"{overview.NAME}.{form}").write_text(overview.render(content, form), encoding="utf-8")
    return overview.STATUS[verdict]


@dataclass(frozen=True)
class _Recordings:
    """Graphs of one stack: of the base, of what the base's program makes of the head's data, and of the head."""

    before: Recorded
    expected: Recorded
    after: Recorded


class Programs:
    """The programs of both sides, each in a folder of its own. The base's says what the head's data asks for; the
    head's runs only where it is another one, and only shut in."""

    def __init__(self, request: Request, edited: bool, folder: Path) -> None:
        self._base, self._expected = request.base, folder / "expected"
        self._head = folder / "head" if edited else self._expected
        if request.trusted != request.base:
            self._base = overlay(request.trusted, request.base, folder / "base")
        take_data(request.head, overlay(request.trusted, request.base, self._expected))
        if edited:
            overlay(request.trusted, request.head, self._head)
        why = why_not_confined()
        self._confined = not why
        self._refusal = ""
        if edited and request.refused:
            self._refusal = "it has links or submodules, so what it would run is not all here"
        elif edited and not (self._confined or request.unconfined):
            self._refusal = UNCONFINED.format(why=why)

    def record(self, stack: str, was_there: bool, is_there: bool) -> _Recordings:
        """Record the stack on all sides; a side without it has an empty graph."""

        def run(tree: Path, there: bool, *more: str) -> Recorded:
            return record(tree, stack, *more, confined=self._confined) if there else Recorded([])

        with ThreadPoolExecutor(2) as both:
            before = both.submit(run, self._base, was_there, AS_DEPLOYED)
            expected = both.submit(run, self._expected, is_there)
            after = expected
            if self._refusal:
                after = both.submit(Recorded, None, self._refusal)
            elif self._head != self._expected:
                after = both.submit(run, self._head, is_there)
            return _Recordings(before.result(), expected.result(), after.result())


def _look_first(request: Request) -> Waivers:
    """Read everything that a verdict rests on before any program has run; return the waivers."""
    for read_it in (rules, clouds, presets.names, limits, read_replacements, lambda: settings_for("prod")):
        read_it()
    for place in KINDS:
        machines(place)
    return load_waivers(request.trusted / "waivers.yaml", request.today, rule_ids())


def _judged(folder: Path, stack: str, waivers: Waivers, day: date) -> Judgement | None:
    """Judge the checkout's stack file with this code, under the base's waivers; return None if there is none. Facts of
    models outside the catalogue come from the checkout."""
    file = folder / "stacks" / f"Pulumi.{stack}.yaml"
    if not file.exists():
        return None
    return judge_with_records(read_file(file, waivers.waivers, day), file.parent)


def _own_shapes(head: Path) -> Shapes | None:
    """Return the list of known shapes of a change that edits the program; None if it cannot be read."""
    try:
        return shapes(head / "infra" / "policies" / "shapes.yaml")
    except Exception:  # the author's text: it may be anything
        return None


def _without_unknown_keys(judgement: Judgement | None) -> Judgement | None:
    """Return the judgement with keys that the base's schema lacks as warnings: a code owner has to agree to the program
    that brings them in any case, and its own loader reads them."""
    if judgement is None:
        return None
    unknown = owner.unknown_keys(judgement)
    findings = (replace(each, severity="warning") if each in unknown else each for each in judgement.findings)
    return replace(judgement, findings=tuple(findings))


# Renamed pools: another name means another pool; its nodes are taken away, with what they serve, and new ones made.
#
# A stack file alone cannot show that; the gate has both the base's and the head's.


def renamed_pools(before: Judgement | None, after: Judgement | None) -> list[Finding]:
    """Return a finding in the head's stack file for each pool of the base that it has under another name."""
    old, new = (side.reading if side is not None else None for side in (before, after))
    if old is None or new is None or old.partial is None or new.partial is None:
        return []
    return [finding_in(new, problem) for problem in judge_renames(old.partial.pools, new.partial.pools)]


def judge_renames(before: Mapping[str, PoolConfig], after: Mapping[str, PoolConfig]) -> Iterator[Problem]:
    """Yield a problem for each new pool with the same machine, GPU, capacity, reservation, nodes and node labels as one
    that is gone."""
    gone = {name: _likeness(pool) for name, pool in before.items() if name not in after}
    for name, pool in after.items():
        old = next((o for o, likeness in gone.items() if likeness == _likeness(pool)), None)
        if name in before or old is None:
            continue
        del gone[old]
        yield POOL_RENAMED.at(
            ("pools", name),
            f"is pool {old} under another name: its nodes are taken away, with what they serve, and others made",
            allowed=f"{old}, or an approval of the replacement",
            fix=f"keep the name {old}; or add {name} first, move the models, and take {old} out in a later change",
        )


def _likeness(pool: PoolConfig) -> tuple[object, ...]:
    return pool.machine, pool.gpu, pool.capacity, pool.reservation, pool.nodes, tuple(sorted(pool.node_labels.items()))
