"""The rules as policies of a Pulumi policy pack."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyResource,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)

from infra.config.waiver import Waiver
from infra.config.waivers import WAIVERS_FILE, load_waivers
from infra.policies.engine_config import StackKnown
from infra.policies.engine_values import NotEvaluatedYet, plain
from infra.policies.evaluate import outcomes
from infra.policies.model import Graph, NotEvaluated, Outcome, Resource, Rule, Violation
from infra.policies.rules import rule_ids, rules
from infra.policies.seen import SeenMap
from infra.policies.settings import settings_for

_LEVELS = {
    "mandatory": EnforcementLevel.MANDATORY,
    "advisory": EnforcementLevel.ADVISORY,
    "disabled": EnforcementLevel.DISABLED,
}
Report = Callable[..., None]


def policies(known: StackKnown, today: date | None = None) -> list[Policy]:
    """One policy a rule. Rules that compare with a base are the gate's alone: an engine only shows what will be."""
    day = today or date.today()
    known_waivers = load_waivers(WAIVERS_FILE, day, rule_ids()).waivers
    waivers = tuple(waiver for waiver in known_waivers if waiver.in_force(day))
    return [
        _collector(known),
        _configured(known),
        *(policy(rule, known, waivers) for rule in rules() if rule.scope != "change"),
    ]


def level(known: StackKnown, asked: Policy) -> EnforcementLevel:
    """The level of a policy in the environment of the stack."""
    found = next((rule for rule in rules() if rule.id == asked.name), None)
    return _LEVELS[found.level(known.environment)] if found is not None else EnforcementLevel.MANDATORY


def policy(rule: Rule, known: StackKnown, waivers: tuple[Waiver, ...] = ()) -> Policy:
    """One rule as a policy."""

    def resource(args: ResourceValidationArgs, report: Report) -> None:
        found = from_engine(args)
        if rule.wants(found):
            _tell(rule, outcomes(rule, found, settings_for(known.environment)), waivers, report)

    def whole(args: StackValidationArgs, report: Report) -> None:
        found = (from_engine(entry) for entry in args.resources)
        sent = tuple(replace(resource, inputs=known.inputs.get(resource.urn, resource.inputs)) for resource in found)
        graph = Graph(sent, known.values or {})
        _tell(rule, outcomes(rule, graph, settings_for(known.environment)), waivers, report)

    about: dict[str, Any] = {
        "name": rule.id,
        "description": f"{rule.title}: {rule.reason}",
        "enforcement_level": _LEVELS[rule.level("prod")],
        "remediation_steps": rule.fix,
    }
    if rule.scope == "resource":
        return ResourceValidationPolicy(validate=resource, **about)
    return StackValidationPolicy(validate=whole, **about)


def _collector(known: StackKnown) -> Policy:
    """Keeps what is sent, for the rules over the whole stack; it comes first, and says nothing."""

    def resource(args: ResourceValidationArgs, report: Report) -> None:
        known.inputs[args.urn] = from_engine(args).inputs

    about = "The inputs of every resource are kept for the rules over the whole stack"
    return ResourceValidationPolicy("inputs-seen", about, resource, EnforcementLevel.MANDATORY)


def _configured(known: StackKnown) -> Policy:
    """Rules over the stack file would find nothing wrong with one that nobody has shown them."""

    def whole(args: StackValidationArgs, report: Report) -> None:
        if known.values is None:
            report("this engine tells a policy pack nothing of the stack file; use Pulumi 3.259 or later", None)

    about = "The stack file is known to the rules"
    return StackValidationPolicy("stack-file-known", about, whole, EnforcementLevel.MANDATORY)


def from_engine(entry: ResourceValidationArgs | PolicyResource) -> Resource:
    """A resource as the SDK shows it. Of outputs that an engine does not know yet, only the names are there."""
    parent = entry.opts.parent or ""
    if isinstance(entry, PolicyResource) and entry.parent is not None:
        parent = entry.parent.urn
    return Resource(
        urn=entry.urn,
        type=entry.resource_type,
        name=entry.name,
        inputs=SeenMap(plain(entry.props)),
        parent=parent,
        protect=bool(entry.opts.protect),
        ignore_changes=tuple(entry.opts.ignore_changes),
        depends_on=tuple(_dependencies(entry)),
    )


def _dependencies(entry: ResourceValidationArgs | PolicyResource) -> Iterable[str]:
    if isinstance(entry, PolicyResource):
        yield from (dependency.urn for dependency in entry.dependencies)
        for several in entry.property_dependencies.values():
            yield from (dependency.urn for dependency in several)


def _tell(rule: Rule, found: Iterable[Outcome], waivers: tuple[Waiver, ...], report: Report) -> None:
    unknown: list[NotEvaluated] = []
    for outcome in found:
        if isinstance(outcome, NotEvaluated) and not outcome.broken:
            unknown.append(outcome)
        elif not any(waiver.covers(rule.id, outcome.at) for waiver in waivers):
            _report(rule, outcome, report)
    if unknown:
        where = "; ".join(f"{_where(item)} {item.why}" for item in unknown[:5])
        more = f"; and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise NotEvaluatedYet(f"not evaluated: {where}{more}")


def _report(rule: Rule, outcome: Outcome, report: Report) -> None:
    said = outcome.message if isinstance(outcome, Violation) else outcome.why
    key = outcome.key if isinstance(outcome, Violation) and outcome.key else rule.key
    message = f"{_where(outcome)} {said}. Fix: {rule.fix} ({key})"
    report(message, None if outcome.at.startswith("stack:") else outcome.at)


def _where(outcome: Outcome) -> str:
    name = outcome.at.removeprefix("stack:") if outcome.at.startswith("stack:") else outcome.at.rpartition("::")[2]
    return f"{name}: {outcome.path}" if outcome.path else name
