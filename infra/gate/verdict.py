"""The verdict on a change: a pure function of two recordings, two stack files, and the base's rules and waivers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date

from infra.gate.diff import Changed, all_differences, diff
from infra.gate.owner import some
from infra.gate.sandbox import Recorded
from infra.gate.stack_file_diff import ChangedValue
from infra.planner.cost import Cost, month
from infra.planner.judgement import Judgement
from infra.policies.evaluate import Verdict, judge_all, waiver_for
from infra.policies.evaluate import judge as judge_rule
from infra.policies.model import ENVIRONMENTS, Change, Graph, NotEvaluated, Violation, graph_of
from infra.policies.rules import rules
from infra.policies.settings import Settings, settings_for
from infra.policies.shapes import Shapes
from infra.stackfile.findings.finding import Finding
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.findings.waivers import Waivers, unused
from infra.stackfile.schema.stack import StackConfig


@dataclass(frozen=True)
class Side:
    """Base or head: its stack file as the base's code judges it (None: there is no such stack), and the graph of its
    program."""

    commit: str
    judgement: Judgement | None
    recorded: Recorded

    @property
    def cost(self) -> Cost | None:
        """Return the cost; None if it is unknown. A stack that is not there costs nothing."""
        if self.judgement is None:
            return Cost()
        return self.judgement.plan.cost if self.judgement.plan is not None else None

    @property
    def stack(self) -> StackConfig | None:
        """Return the part of the stack file that could be read."""
        return self.judgement.reading.partial if self.judgement is not None else None

    @property
    def environment(self) -> str | None:
        """Return the environment in the stack file; None if it names no known one."""
        value = self.judgement.reading.environment if self.judgement is not None else None
        return value if value in ENVIRONMENTS else None


@dataclass(frozen=True)
class Judged:
    """One rule after the waivers: the violations that stand, and those that are waived, each with its waiver."""

    verdict: Verdict
    standing: tuple[Violation, ...]
    waived: tuple[tuple[Violation, Waiver], ...]

    @property
    def blocks(self) -> bool:
        """Return True for a mandatory rule with a standing violation, or one that could not read its input; a value
        that is not known yet does not block."""
        broken = any(item.broken for item in self.verdict.not_evaluated)
        return self.verdict.level == "mandatory" and (bool(self.standing) or broken)


@dataclass(frozen=True)
class Report:
    """Everything the gate reports on one stack. ``values`` are the differences of its file; ``owner_for`` says why a
    code owner has to agree; ``beyond`` is what the program itself changes, besides what the stack file asks for (None:
    there is nothing to compare with); ``unjudged`` is what nobody could judge."""

    stack: str
    environment: str
    base: Side
    head: Side
    changes: tuple[Changed, ...]
    judged: tuple[Judged, ...]
    waivers: Waivers
    today: date
    costs: tuple[Cost | None, Cost | None]
    budget: float | None
    cold: tuple[tuple[str, float | None, float | None], ...]
    findings: tuple[Finding, ...]
    values: tuple[ChangedValue, ...] = ()
    owner_for: tuple[str, ...] = ()
    beyond: tuple[Changed, ...] | None = ()
    beyond_problem: str = ""
    unjudged: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> str:
        """Return ``block``, ``owner`` (nothing blocks, and a code owner has to agree) or ``pass``."""
        return "block" if self.blocked_by else "owner" if self.owner_for else "pass"

    @property
    def blocked_by(self) -> list[str]:
        reasons = [f"rule {judged.verdict.rule.id}" for judged in self.judged if judged.blocks]
        if self.head.recorded.graph is None:
            reasons.insert(0, "the program of this change, which gives no graph")
        if any(finding.stops for finding in self.findings):
            reasons.append("findings in files of this change")
        reasons += self.unjudged
        # GPU nodes only, like every cap: docs/decisions/0017-the-floor-counts-the-cluster-caps-count-gpu-nodes.md
        most = month(self.costs[1].gpu_nodes.ceiling) if self.costs[1] is not None else None
        if self.budget is not None and most is not None and most > self.budget:
            reasons.append(f"the budget of {self.budget:,.0f} $/month")
        return reasons

    def used(self, waiver: Waiver) -> bool:
        return any(waiver == by for judged in self.judged for _, by in judged.waived) or any(
            waiver == finding.waiver for finding in self.findings
        )


def judge(
    stack: str,
    base: Side,
    head: Side,
    waivers: Waivers,
    *,
    today: date,
    expected: Recorded | None = None,
    own_shapes: Shapes | None = None,
    budget: float | None = None,
    findings: Iterable[Finding] = (),
    values: Iterable[ChangedValue] = (),
    owner_for: Iterable[str] = (),
    unjudged: Iterable[str] = (),
    notes: Iterable[str] = (),
) -> Report:
    """Compare both sides, evaluate every rule, apply the waivers. ``waivers`` must be the base's. ``expected`` is what
    the base's program makes of the head's stack file, where the head's program is another; ``own_shapes`` is then the
    head's list of known shapes: what it alone has is for an owner to judge, with the list."""
    environment = _stricter(base.environment, head.environment)
    all_notes = list(notes)
    stack_findings = head.judgement.findings if head.judgement is not None else ()
    before, after = base.recorded.graph or [], head.recorded.graph or []
    comparable = head.recorded.graph is not None and base.recorded.graph is not None
    changes = diff(before, after) if comparable else []
    graph = graph_of(after, head.judgement, [_change(changed) for changed in changes])
    settings, reasons = settings_for(environment), list(owner_for)
    verdicts = judge_all(rules(), graph, settings) if head.recorded.graph is not None else []
    if own_shapes is not None:
        verdicts, new = _without_new_shapes(verdicts, graph, replace(settings, shapes=own_shapes))
        reasons += [f"only its own list of known shapes has what it asks for: {some(new)}"] if new else []
    if head.recorded.graph is None:
        verdicts = _from_stack_file_alone(graph, environment)
    if not comparable:
        unknown = _deletions_unknown(stack) if head.recorded.graph is not None else ()
        verdicts = [_without_both(verdict, unknown) for verdict in verdicts]
    judged = tuple(_waive(verdict, waivers.waivers, today) for verdict in verdicts)
    if base.environment not in (None, head.environment):
        all_notes.append(
            f"this change turns the environment of the stack; it is judged as {environment}, the stricter one"
        )
    report = Report(
        stack=stack,
        environment=environment,
        base=base,
        head=head,
        changes=tuple(changes),
        judged=judged,
        waivers=waivers,
        today=today,
        costs=(base.cost, head.cost),
        budget=budget,
        cold=_cold(base.stack, head.stack),
        findings=tuple(_beside_rules([*stack_findings, *findings], judged)),
        values=tuple(values),
        owner_for=tuple(reasons),
        beyond=_beyond(expected, head.recorded),
        beyond_problem=expected.problem if expected is not None else "",
        unjudged=tuple(unjudged),
        notes=tuple(all_notes),
    )
    idle = [unused(w) for w in waivers.waivers if w.in_force(today) and not report.used(w) and _is_for_stack(w, report)]
    return replace(report, findings=(*report.findings, *idle))


def _without_new_shapes(verdicts: list[Verdict], graph: Graph, settings: Settings) -> tuple[list[Verdict], list[str]]:
    """Return the verdicts without what the shapes of ``settings`` allow, and what that is."""
    remaining, new = [], []
    for verdict in verdicts:
        if verdict.rule.id == "known-shape":
            still = set(judge_rule(verdict.rule, graph, settings).violations)
            new = [
                f"{each.at.rpartition('::')[2]} {each.path}".strip() for each in verdict.violations if each not in still
            ]
            verdict = replace(verdict, violations=tuple(each for each in verdict.violations if each in still))
        remaining.append(verdict)
    return remaining, new


def _beyond(expected: Recorded | None, recorded: Recorded) -> tuple[Changed, ...] | None:
    if expected is None:
        return ()
    if expected.graph is None or recorded.graph is None:
        return None
    return tuple(all_differences(expected.graph, recorded.graph))


def _is_for_stack(waiver: Waiver, report: Report) -> bool:
    """Return True if a waiver is meant for this stack: one for another stack is not unused for having no use here."""
    urns = [str(entry.get("urn")) for entry in (report.base.recorded.graph or []) + (report.head.recorded.graph or [])]
    return waiver.resource.startswith("stack:") or any(waiver.covers(waiver.rule, urn) for urn in urns)


def _from_stack_file_alone(graph: Graph, environment: str) -> list[Verdict]:
    """Return the verdicts without a graph: violations of the stack file itself are still reported."""
    verdicts = judge_all(rules(), graph, settings_for(environment))
    gap = NotEvaluated("stack:", "", "needs the graph, which this change does not give")
    return [v if v.violations or v.level == "disabled" else Verdict(v.rule, v.level, (), (gap,)) for v in verdicts]


def _without_both(verdict: Verdict, unknown: tuple[Violation, ...]) -> Verdict:
    """Return ``unknown`` as violations of a rule that compares graphs; if empty, the change is blocked already."""
    if verdict.rule.scope != "change" or verdict.level == "disabled":
        return verdict
    gaps = () if unknown else (NotEvaluated("stack:", "", "needs both graphs"),)
    return Verdict(verdict.rule, verdict.level, unknown, gaps)


def _deletions_unknown(stack: str) -> tuple[Violation, ...]:
    """Return the violation for a base without a graph, which must not be a way to delete resources unseen."""
    message = (
        "cannot be judged: the base gives no graph, so nobody can say what this change deletes or replaces. To go on: "
        "mend the base in a change of its own; or judge against the last commit that gives a graph (--base COMMIT); or "
        f"have a waiver for stack:{stack} merged before this change"
    )
    return (Violation(f"stack:{stack}", "", message, "--base"),)


def _waive(verdict: Verdict, waivers: Iterable[Waiver], today: date) -> Judged:
    in_force = [waiver for waiver in waivers if waiver.in_force(today)]
    standing: list[Violation] = []
    waived: list[tuple[Violation, Waiver]] = []
    for violation in verdict.violations:
        by = waiver_for(verdict.rule, violation, in_force)
        if by is None:
            standing.append(violation)
        else:
            waived.append((violation, by))
    return Judged(verdict, tuple(standing), tuple(waived))


def _change(changed: Changed) -> Change:
    return Change(
        action=changed.action,
        urn=changed.was or changed.urn,
        type=changed.type,
        protected=changed.protected,
        why=changed.why,
    )


def _stricter(*environments: str | None) -> str:
    known = [name for name in environments if name is not None]
    return max(known, key=ENVIRONMENTS.index) if known else "prod"


def _beside_rules(findings: Iterable[Finding], judged: Iterable[Judged]) -> Iterator[Finding]:
    """Return the findings that no mandatory rule reports already."""
    reported = {each.verdict.rule.id for each in judged if each.verdict.level == "mandatory"}
    return (finding for finding in findings if not (finding.stops and finding.policy in reported))


def _cold(base: StackConfig | None, head: StackConfig | None) -> tuple[tuple[str, float | None, float | None], ...]:
    """Return each model with the seconds its longest start may take before and after; None where it is not there."""
    before, after = (
        {name: model.cold_start.seconds for name, model in (side.models if side is not None else {}).items()}
        for side in (base, head)
    )
    return tuple((name, before.get(name), after.get(name)) for name in dict.fromkeys([*after, *before]))
