"""The rules as policies of a Pulumi policy pack."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, cast

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyResource,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
    proxy,
)
from pulumi_policy import policy as sdk_policy
from pulumi_policy.proxy import UnknownValueError

from infra.planner.judgement import Judgement, judge_with_records
from infra.policies.evaluate import from_stack_file, outcomes, waiver_for
from infra.policies.inputs import InputsMap, Unknown
from infra.policies.model import Graph, NotEvaluated, Outcome, Resource, Rule, Violation, place
from infra.policies.rules import rule_ids, rules
from infra.policies.settings import settings_for
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.findings.waivers import WAIVERS_FILE, load_waivers
from infra.stackfile.load import read_values

_LEVELS = {
    "mandatory": EnforcementLevel.MANDATORY,
    "advisory": EnforcementLevel.ADVISORY,
    "disabled": EnforcementLevel.DISABLED,
}
Report = Callable[..., None]


def policies(known: StackKnown, today: date | None = None) -> list[Policy]:
    """Return one policy per rule, after the collector and the check for the stack file. Rules that compare with a base
    are the gate's alone: an engine only shows what will be."""
    day = today or date.today()
    known_waivers = load_waivers(WAIVERS_FILE, day, rule_ids()).waivers
    waivers = tuple(waiver for waiver in known_waivers if waiver.in_force(day))
    return [
        _collector(known),
        _configured(known),
        *(policy(rule, known, waivers) for rule in rules() if rule.scope != "change"),
    ]


def level(known: StackKnown, policy_: Policy) -> EnforcementLevel:
    """Return the level of a policy in the stack's environment."""
    policy_rule = next((rule for rule in rules() if rule.id == policy_.name), None)
    return _LEVELS[policy_rule.level(known.environment)] if policy_rule is not None else EnforcementLevel.MANDATORY


def policy(rule: Rule, known: StackKnown, waivers: tuple[Waiver, ...] = ()) -> Policy:
    """Return one rule as a policy."""

    def resource(args: ResourceValidationArgs, report: Report) -> None:
        engine_resource = from_engine(args)
        if rule.wants(engine_resource):
            _tell(rule, outcomes(rule, engine_resource, settings_for(known.environment)), waivers, report)

    def whole(args: StackValidationArgs, report: Report) -> None:
        resources = (from_engine(entry) for entry in args.resources)
        sent = tuple(
            replace(resource, inputs=known.inputs.get(resource.urn, resource.inputs)) for resource in resources
        )
        judgement = known.judgement
        stack, findings = (judgement.reading.partial, judgement.findings) if judgement is not None else (None, ())
        graph = Graph(sent, stack, findings)
        outcomes_in_file = from_stack_file(rule, graph.findings)
        outcomes_in_graph = outcomes(rule, graph, settings_for(known.environment))
        _tell(rule, [*outcomes_in_file, *outcomes_in_graph], waivers, report)

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
    """Return the policy that keeps all inputs for rules over the whole stack; it comes first and reports nothing."""

    def resource(args: ResourceValidationArgs, report: Report) -> None:
        known.inputs[args.urn] = from_engine(args).inputs

    about = "The inputs of every resource are kept for the rules over the whole stack"
    return ResourceValidationPolicy("inputs-seen", about, resource, EnforcementLevel.MANDATORY)


def _configured(known: StackKnown) -> Policy:
    """Return the policy that reports an unknown stack file: rules over it would find nothing wrong with it."""

    def whole(args: StackValidationArgs, report: Report) -> None:
        if known.values is None:
            report("this engine tells a policy pack nothing of the stack file; use Pulumi 3.259 or later", None)

    about = "The stack file is known to the rules"
    return StackValidationPolicy("stack-file-known", about, whole, EnforcementLevel.MANDATORY)


def from_engine(entry: ResourceValidationArgs | PolicyResource) -> Resource:
    """Build a resource from the SDK's. Outputs that the engine does not know yet have only their names."""
    parent = entry.opts.parent or ""
    if isinstance(entry, PolicyResource) and entry.parent is not None:
        parent = entry.parent.urn
    return Resource(
        urn=entry.urn,
        type=entry.resource_type,
        name=entry.name,
        inputs=InputsMap(plain(entry.props)),
        parent=parent,
        protect=bool(entry.opts.protect),
        ignore_changes=tuple(entry.opts.ignore_changes),
        depends_on=tuple(_dependencies(entry)),
        completed=True,
    )


def _dependencies(entry: ResourceValidationArgs | PolicyResource) -> Iterable[str]:
    if isinstance(entry, PolicyResource):
        yield from (dependency.urn for dependency in entry.dependencies)
        for several in entry.property_dependencies.values():
            yield from (dependency.urn for dependency in several)


def _tell(rule: Rule, all_outcomes: Iterable[Outcome], waivers: tuple[Waiver, ...], report: Report) -> None:
    unknown: list[NotEvaluated] = []
    for outcome in all_outcomes:
        if isinstance(outcome, NotEvaluated) and not outcome.broken:
            unknown.append(outcome)
        elif waiver_for(rule, outcome, waivers) is None:
            _report(rule, outcome, report)
    if unknown:
        where = "; ".join(f"{place(item.at, item.path)} {item.why}" for item in unknown[:5])
        more = f"; and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise NotEvaluatedYet(f"not evaluated: {where}{more}")


def _report(rule: Rule, outcome: Outcome, report: Report) -> None:
    reason = outcome.message if isinstance(outcome, Violation) else outcome.why
    key = outcome.key if isinstance(outcome, Violation) and outcome.key else rule.key
    message = f"{place(outcome.at, outcome.path)} {reason}. Fix: {rule.fix} ({key})"
    report(message, None if outcome.at.startswith("stack:") else outcome.at)


# The policy SDK's values made plain, with unknowns marked: the one place that knows the SDK's internals.


class NotEvaluatedYet(UnknownValueError):
    """Error raised from a policy: the SDK reports to the engine, as an advisory, that the policy could not run."""

    def __init__(self, message: str) -> None:
        super().__init__(proxy.UNKNOWN_STRING_VALUE, [])
        self.message = message


def plain(value: Any) -> Any:
    """Return ``value`` without the SDK's proxies, which raise on unknown values; those become ``Unknown``. Whole
    numbers become ``int`` again: the protocol only has one kind of number."""
    if isinstance(value, (proxy._DictProxy, proxy._ListProxy)):
        value = cast(Any, value)["__target"]
    if isinstance(value, str):
        return Unknown() if proxy._is_unknown(value) else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    return value


# The stack's configuration, which the engine sends to a policy pack after starting it, and the SDK throws away.

PREFIX = "ebbtide:"
STACKS = WAIVERS_FILE.parent / "stacks"


class StackKnown:
    """The stack as the engine describes it. ``values`` are the stack file's sections without namespace; None until the
    engine has sent them. Values that Pulumi encrypted are left out: no rule needs a secret. ``judgement`` is the one
    that every command makes from them. ``inputs`` are those of every resource so far, by URN: at the end an engine only
    shows outputs, which a preview may not know, and which a provider that is not configured yet may leave out."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self.values = values
        self.judgement: Judgement | None = None
        self.inputs: dict[str, InputsMap] = {}

    @property
    def environment(self) -> str:
        """Return the environment; ``prod``, with its rules, until the engine names another."""
        return str((self.values or {}).get("environment", "prod"))

    def configure(self, config: Mapping[str, str], secret: list[str]) -> None:
        own_config = {key: value for key, value in config.items() if key.startswith(PREFIX) and key not in secret}
        self.values = {key.removeprefix(PREFIX): _value(value) for key, value in own_config.items()}
        reading = read_values(self.values, "the stack's configuration", load_waivers(WAIVERS_FILE).waivers)
        self.judgement = judge_with_records(reading, STACKS)


def listen(known: StackKnown, level: Callable[[Policy], EnforcementLevel]) -> None:
    """Make packs created after this receive the configuration, and take each policy's level from ``level`` when it is
    asked for: the environment decides it, and is not known when the pack starts."""

    class Listening(sdk_policy._PolicyAnalyzerServicer):
        def ConfigureStack(self, request: Any, context: Any) -> Any:  # noqa: N802  the protocol's name
            known.configure(dict(request.config), list(request.config_secret_keys))
            return super().ConfigureStack(request, context)

        def _get_enforcement_level(self, requested: Policy) -> EnforcementLevel:
            return level(requested)

    sdk_policy._PolicyAnalyzerServicer = Listening  # type: ignore[misc]


def _value(text: str) -> Any:
    if text[:1] in ("{", "["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return {"true": True, "false": False}.get(text, int(text) if text.isdigit() else text)
