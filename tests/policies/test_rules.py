"""Each rule against a stack that keeps it and stacks that break it and nothing else."""

from __future__ import annotations

from datetime import date

import pytest

from infra.gate.report.document import render
from infra.gate.sandbox import Recorded
from infra.gate.verdict import Report, Side, judge
from infra.policies.evaluate import judge_all
from infra.policies.model import ENVIRONMENTS, graph_of
from infra.policies.rules import rules
from infra.policies.settings import settings_for
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.findings.waivers import Waivers
from tests.policies.mutations import MUTATIONS, Mutation
from tests.policies.stack import Stack, urn

TODAY = date(2026, 11, 21)


def gate(base: Stack, head: Stack, waivers: Waivers | None = None, **more: object) -> Report:
    known = waivers or Waivers()
    sides = [
        Side(name, s.judged(known.waivers, TODAY), Recorded(s.resources))
        for name, s in (("base", base), ("head", head))
    ]
    return judge("test", *sides, known, today=TODAY, **more)  # type: ignore[arg-type]


def mutated(mutation: Mutation) -> tuple[Stack, Stack]:
    base = Stack(mutation.environment)
    head = base.copy()
    mutation.apply(head)
    return base, head


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_stack_that_keeps_the_rules_passes_all_of_them_in_every_environment(environment: str) -> None:
    stack = Stack(environment)
    verdicts = judge_all(rules(), graph_of(stack.resources, stack.judged()), settings_for(environment))
    assert {v.rule.id: v.violations + v.not_evaluated for v in verdicts if v.state not in ("passed", "disabled")} == {}
    assert gate(stack, stack.copy()).blocked_by == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.rule}: {m.what}")
def test_the_gate_blocks_a_change_that_breaks_one_rule_by_that_rule_alone(mutation: Mutation) -> None:
    report = gate(*mutated(mutation))
    assert report.blocked_by == [f"rule {mutation.rule}"]


def test_every_mandatory_rule_has_a_stack_that_keeps_it_and_one_that_breaks_it() -> None:
    mandatory = {rule.id for rule in rules() if "mandatory" in rule.levels.values()}
    assert {mutation.rule for mutation in MUTATIONS} == mandatory
    assert len(mandatory) >= 35
    assert len(MUTATIONS) >= 53


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.id)
def test_a_rule_says_why_it_is_there_which_key_to_change_and_how(rule: object) -> None:
    for part in ("title", "reason", "key", "fix"):
        assert len(getattr(rule, part)) > 2
    assert set(rule.levels) == set(ENVIRONMENTS)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("rule", "kind", "path", "value"),
    [
        ("image-digest", "Deployment", "spec.template.spec.containers.0.image", "ref"),
        ("no-remote-code", "Deployment", "spec.template.spec.containers.0.args.0", "arg"),
        ("gpu-taint", "NodeGroup", "taints", "taints"),
        ("placement", "NodeGroup", "labels", "labels"),
        ("private-api", "cluster:Cluster", "vpcConfig.endpointPublicAccess", "public"),
        ("bucket-private", "BucketPublicAccessBlock", "blockPublicAcls", "block"),
        ("cooldown", "ScaledObject", "spec.cooldownPeriod", "cooldown"),
        ("operator-floor", "Release", "version", "version"),
        ("quota-present", "ResourceQuota", "spec.hard", "hard"),
        ("max-present", "ScaledObject", "spec.maxReplicaCount", "max"),
        ("one-writer", "Deployment", "spec.replicas", "replicas"),
        ("pod-security", "Namespace", "metadata.labels", "labels"),
        ("public-listener", "Ingress", "metadata.annotations", "annotations"),
        ("probes-and-grace", "Deployment", "spec.template.spec.terminationGracePeriodSeconds", "grace"),
    ],
)
def test_what_is_only_known_after_up_is_not_evaluated_and_never_passed(
    rule: str, kind: str, path: str, value: str
) -> None:
    stack = Stack()
    here: object = stack.inputs(kind)
    *way, last = path.split(".")
    for step in way:
        here = here[int(step)] if isinstance(here, list) else here[step]  # type: ignore[index]
    late = f"${{{urn('docker-build:index:Image', 'vllm-cuda')}#{value}}}"
    if rule == "one-writer":
        stack.find(kind)["ignoreChanges"] = []
    here[int(last) if isinstance(here, list) else last] = late  # type: ignore[index]
    verdicts = judge_all(rules(), graph_of(stack.resources, stack.judged()), settings_for("prod"))
    assert next(v for v in verdicts if v.rule.id == rule).state == "not evaluated"


@pytest.mark.parametrize("base", ["vllm/vllm-openai@sha256:" + "a" * 64, "r.example.com/ours/engine:7"])
def test_an_engine_whose_base_names_no_version_has_not_passed_the_floor(base: str) -> None:
    stack = Stack()
    stack.inputs("Image")["buildArgs"] = {"BASE": base}
    (verdict,) = [j.verdict for j in gate(Stack(), stack).judged if j.verdict.rule.id == "engine-floor"]
    assert verdict.state == "not evaluated"
    stack.inputs("Image")["buildArgs"] = {"BASE": "vllm/vllm-openai:v0.32.0@sha256:" + "a" * 64}
    (verdict,) = [j.verdict for j in gate(Stack(), stack).judged if j.verdict.rule.id == "engine-floor"]
    assert verdict.state == "passed"


def test_a_text_that_only_looks_like_a_reference_does_not_hide_what_it_is() -> None:
    stack = Stack()
    stack.container["image"] = "${urn:pulumi:test::ebbtide::x::none#ref}"
    report = gate(Stack(), stack)
    assert report.blocked_by == ["rule image-digest"]


def test_a_value_of_a_shape_that_no_rule_can_read_blocks_instead_of_passing() -> None:
    stack = Stack()
    stack.inputs("ScaledObject")["spec"]["cooldownPeriod"] = "soon"
    assert "rule cooldown" in gate(Stack(), stack).blocked_by


def test_turning_production_into_dev_is_judged_by_productions_rules() -> None:
    head = Stack("dev")
    head.find("bucket:Bucket")["protect"] = False
    report = gate(Stack("prod"), head)
    assert report.environment == "prod"
    assert "rule protected" in report.blocked_by


def test_a_change_whose_program_gives_no_graph_is_blocked_and_still_told_what_its_file_violates() -> None:
    head = Stack()
    head.model["revision"] = "main"
    base = Side("base", Stack().judged(), Recorded(Stack().resources))
    report = judge("test", base, Side("head", head.judged(), Recorded(None, "it stopped")), Waivers(), today=TODAY)
    assert report.blocked_by == ["the program of this change, which gives no graph", "rule pinned-revision"]
    assert all(judged.verdict.state != "passed" for judged in report.judged)


def without_base(*waivers: Waiver) -> Report:
    head = Side("head", Stack().judged(), Recorded(Stack().resources))
    base = Side("base", Stack().judged(), Recorded(None, "it stopped"))
    return judge("test", base, head, Waivers(waivers), today=TODAY)


def test_a_base_without_a_graph_blocks_because_nobody_can_say_what_is_deleted_and_the_text_says_how_to_go_on() -> None:
    report = without_base()
    assert report.blocked_by == ["rule deletion-approved"]
    (standing,) = next(judged.standing for judged in report.judged if judged.blocks)
    assert (standing.at, standing.message) == (
        "stack:test",
        "cannot be judged: the base gives no graph, so nobody can say what this change deletes or replaces. To go on: "
        "mend the base in a change of its own; or judge against the last commit that gives a graph (--base COMMIT); or "
        "have a waiver for stack:test merged before this change",
    )
    assert standing.message in render(report, "text")
    leave = Waiver(
        rule="deletion-approved",
        resource="stack:test",
        owner="platform team",
        reason="the base was broken by a new rule",
        expiry=TODAY,
    )
    assert without_base(leave).blocked_by == []


def test_a_stack_that_the_base_does_not_have_deletes_nothing() -> None:
    head = Side("head", Stack().judged(), Recorded(Stack().resources))
    report = judge("test", Side("base", None, Recorded([])), head, Waivers(), today=TODAY)
    assert report.blocked_by == []


def test_a_ceiling_above_the_budget_blocks() -> None:
    stack = Stack()
    assert gate(stack, stack.copy(), budget=3000).blocked_by == ["the budget of 3,000 $/month"]
    assert gate(stack, stack.copy(), budget=4000).blocked_by == []


def test_the_kept_table_of_mutations_is_what_the_gate_says_now() -> None:
    from benchmarks import mutations

    page, missed = mutations.table()
    assert missed == 0
    assert mutations.RESULTS.read_text(encoding="utf-8") == page, "run: python -m benchmarks.mutations"


def test_a_reason_for_one_pool_is_none_for_another_whose_name_begins_alike() -> None:
    stack = Stack("dev")
    reason = {"min": 1, "minReason": "the workshop needs it until 2026-12-31"}
    stack.config["pools"]["gpu"] = {**stack.pool, **reason}
    stack.config["guard"]["maxGpus"] = 4
    head = stack.copy()
    head.inputs("NodeGroup")["scalingConfig"]["minSize"] = 1
    assert gate(stack, head).blocked_by == ["rule zero-outside-production"]
    head.pool.update(reason)
    assert "rule zero-outside-production" not in gate(stack, head).blocked_by
