"""Waivers: named, reasoned, and over some day."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml

from infra.gate.verdict import _waive
from infra.policies.evaluate import Verdict, waiver_for
from infra.policies.model import NotEvaluated, Violation
from infra.policies.pack import _tell
from infra.policies.rules import rule_ids, rules
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.findings.waivers import Waivers, load_waivers
from tests.policies.mutations import Mutation, _by_tag, _large_quota
from tests.policies.stack import Stack
from tests.policies.test_rules import TODAY, gate, mutated

TAG = Mutation("image-digest", "an image by tag", _by_tag)
GOOD = {
    "rule": "image-digest", "resource": "llama-*", "owner": "platform team", "expiry": date(2026, 12, 1),
    "reason": "the registry of the vendor gives no digest until December",
}  # fmt: skip


def waiver(**more: object) -> Waiver:
    return Waiver(**{**GOOD, **more})  # type: ignore[arg-type]


def written(folder: Path, *entries: dict[str, object]) -> Path:
    file = folder / "waivers.yaml"
    file.write_text(yaml.safe_dump({"waivers": list(entries)}))
    return file


def test_a_waiver_in_force_lets_what_it_names_pass_and_is_shown() -> None:
    report = gate(*mutated(TAG), Waivers((waiver(),)))
    assert report.blocked_by == []
    assert report.used(report.waivers.waivers[0])


def test_a_waiver_covers_its_own_rule_and_resource_only() -> None:
    base, head = mutated(TAG)
    for other in (waiver(resource="gateway*"), waiver(rule="engine-floor")):
        assert gate(base, head, Waivers((other,))).blocked_by == ["rule image-digest"]


def test_an_expired_waiver_waives_nothing_from_the_day_after_on() -> None:
    base, head = mutated(TAG)
    assert gate(base, head, Waivers((waiver(expiry=TODAY),))).blocked_by == []
    expired = Waivers((waiver(expiry=TODAY - timedelta(days=1)),))
    assert gate(base, head, expired).blocked_by == ["rule image-digest"]


def test_an_unused_waiver_of_this_stack_warns_and_does_not_block() -> None:
    stack = Stack()
    report = gate(stack, stack.copy(), Waivers((waiver(),)))
    assert [finding.code for finding in report.findings] == ["EBB279"]
    assert report.blocked_by == []


def test_a_waiver_for_a_place_of_the_stack_file_covers_it() -> None:
    quota = Mutation("quota-present", "", _large_quota)
    report = gate(*mutated(quota), Waivers((waiver(rule="quota-present", resource="*llama-deployment"),)))
    assert report.blocked_by == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"why": "x"}, "EBB271"),
        ({"owner": ""}, "EBB272"),
        ({"rule": "image-digests"}, "EBB273"),
        ({"rule": "EBB012"}, "EBB273"),
        ({"rule": "EBB999"}, "EBB273"),
        ({"rule": ["EBB020"]}, "EBB273"),
        ({"resource": "*"}, "EBB274"),
        ({"resource": "**:*"}, "EBB274"),
        ({"reason": "because"}, "EBB275"),
        ({"expiry": "soon"}, "EBB276"),
        ({"expiry": TODAY + timedelta(days=500)}, "EBB277"),
    ],
)
def test_a_waiver_with_anything_wrong_waives_nothing_and_says_what(
    tmp_path: Path, change: dict[str, object], code: str
) -> None:
    reading = load_waivers(written(tmp_path, {**GOOD, **change}), TODAY, rule_ids())
    assert reading.waivers == ()
    assert [finding.code for finding in reading.findings] == [code]
    assert reading.findings[0].stops


def test_a_past_expiry_is_told_with_the_place_in_the_file(tmp_path: Path) -> None:
    reading = load_waivers(written(tmp_path, GOOD, {**GOOD, "expiry": date(2026, 1, 1)}), TODAY)
    assert [(f.code, f.path, f.severity) for f in reading.findings] == [("EBB278", "waivers[1].expiry", "warning")]


def test_a_file_that_is_no_list_waives_nothing(tmp_path: Path) -> None:
    file = tmp_path / "waivers.yaml"
    for text in ("waivers: {a: b}", "- a", "waivers: [1]", "a: ]["):
        file.write_text(text)
        assert load_waivers(file, TODAY).waivers == ()
        assert [f.code for f in load_waivers(file, TODAY).findings] == ["EBB270"]
    file.write_text("waivers: []")
    assert load_waivers(file, TODAY) == Waivers()


def test_the_projects_own_waivers_are_sound() -> None:
    file = Path(__file__).resolve().parents[2] / "waivers.yaml"
    assert [f for f in load_waivers(file, policies=rule_ids()).findings if f.stops] == []


IMAGE = "urn:pulumi:test::ebbtide::kubernetes:apps/v1:Deployment::llama-8b"


@pytest.mark.parametrize(
    ("outcome", "resource", "is_waived"),
    [
        (Violation(IMAGE, "spec.image", "x"), "llama-*", True),
        (Violation(IMAGE, "spec.image", "x"), "llama-8b.spec.image", True),
        (Violation("stack:models.a", "revision", "x"), "stack:models.a.revision", True),
        (Violation(IMAGE, "spec.image", "x"), "llama-8b.spec.args", False),
        (Violation(IMAGE, "spec.image", "x", waivable=False), "llama-*", False),
        (NotEvaluated(IMAGE, "spec.image", "x", broken=True), "llama-*", False),
    ],
)
def test_the_gate_the_engine_and_the_state_take_a_waiver_alike(
    outcome: Violation | NotEvaluated, resource: str, is_waived: bool
) -> None:
    waiver_tried, rule = waiver(resource=resource), next(rule for rule in rules() if rule.id == "image-digest")
    messages: list[str] = []
    _tell(rule, [outcome], (waiver_tried,), lambda message, urn: messages.append(message))
    assert (messages == []) is is_waived
    assert (waiver_for(rule, outcome, [waiver_tried]) == waiver_tried) is is_waived
    if isinstance(outcome, Violation):
        judged = _waive(Verdict(rule, "mandatory", (outcome,)), [waiver_tried], TODAY)
        assert (judged.standing == ()) is is_waived
