"""Evaluation of the rules over a graph: what each one finds, and what could not be evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from infra.policies.model import (
    UNREADABLE,
    Graph,
    Level,
    NotEvaluated,
    Outcome,
    Resource,
    Rule,
    Violation,
    unjudged,
)
from infra.policies.settings import Settings
from infra.stackfile.findings.finding import Finding
from infra.stackfile.findings.waiver import Waiver


@dataclass(frozen=True)
class Verdict:
    """Verdict of one rule on one graph. It passed only if nothing is violated *and* nothing was left unevaluated."""

    rule: Rule
    level: Level
    violations: tuple[Violation, ...] = ()
    not_evaluated: tuple[NotEvaluated, ...] = ()

    @property
    def state(self) -> str:
        """Return ``disabled``, ``violated``, ``not evaluated`` or ``passed``."""
        if self.level == "disabled":
            return "disabled"
        if self.violations:
            return "violated"
        return "not evaluated" if self.not_evaluated else "passed"


def from_stack_file(rule: Rule, findings: Iterable[Finding]) -> Iterator[Violation]:
    """Yield the findings under this rule's id from the one judgement of the stack file. A waived finding is a warning
    by then, and left out."""
    for finding in findings:
        if finding.stops and finding.policy == rule.id:
            value = f"{finding.value} " if finding.value is not None else ""
            message = f"{value}{finding.message}; allowed: {finding.allowed} [{finding.code}]"
            yield Violation(
                f"stack:{finding.path}", "", message, finding.path, waivable=finding.severity == "mandatory"
            )


def outcomes(rule: Rule, thing: Resource | Graph, settings: Settings) -> Iterator[Outcome]:
    """Yield what ``rule`` finds in one thing. An unknown value ends it as not evaluated; so does an error in the rule
    itself, because a rule that stopped half way has not passed anything."""
    at = thing.urn if isinstance(thing, Resource) else "stack:"
    try:
        yield from rule.judge(thing, settings)
    except UNREADABLE as error:
        yield unjudged(error, at)


def waiver_for(rule: Rule, outcome: Outcome, waivers: Iterable[Waiver]) -> Waiver | None:
    """Return the first of ``waivers``, all in force, that covers an outcome: its resource or place, or the path in it.
    What a rule could not judge, and what could never be built, no waiver covers."""
    if isinstance(outcome, NotEvaluated) or not outcome.waivable:
        return None
    places = (outcome.at, f"{outcome.at}.{outcome.path}")
    return next((each for each in waivers if any(each.covers(rule.id, place) for place in places)), None)


def judge(rule: Rule, graph: Graph, settings: Settings) -> Verdict:
    """Judge the whole graph by one rule."""
    level = rule.level(settings.environment)
    if level == "disabled":
        return Verdict(rule, level)
    things: Iterable[Resource | Graph] = (graph,)
    if rule.scope == "resource":
        things = (resource for resource in graph.resources if rule.wants(resource))
    all_outcomes: list[Outcome] = list(from_stack_file(rule, graph.findings))
    all_outcomes += [outcome for thing in things for outcome in outcomes(rule, thing, settings)]
    return Verdict(
        rule,
        level,
        tuple(dict.fromkeys(item for item in all_outcomes if isinstance(item, Violation))),
        tuple(dict.fromkeys(item for item in all_outcomes if isinstance(item, NotEvaluated))),
    )


def judge_all(rules: Iterable[Rule], graph: Graph, settings: Settings) -> list[Verdict]:
    """Judge the graph by all rules, in their order."""
    return [judge(rule, graph, settings) for rule in rules]
