"""A mandatory finding under a waiver of the project: a warning that names who answers for it, or still a refusal."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from infra.policies.rules import rule_ids
from infra.program import serving
from infra.stackfile import ConfigError, Loaded, load, load_file
from infra.stackfile.findings.registry import rules, waivable
from infra.stackfile.findings.waiver import Waiver
from tests.unit.findings_in_sources import PROJECT
from tests.unit.test_stackfile_messages import COMMIT, FILE, GOOD, MODEL, NO_CEILING, REMOVED, stack

TODAY = date(2026, 11, 25)
END = date(2026, 12, 24)
BY = f"(waived by platform team until {END})"
AT = "models.llama-8b.revision"
POOL = ("pools", "gpu-8xa100")
BRANCH = stack(((*MODEL, "revision"), "main"))


def waiver(rule: str, resource: str, expiry: date = END) -> Waiver:
    return Waiver(
        rule=rule,
        resource=resource,
        owner="platform team",
        reason="the vendor tags its commits from December on",
        expiry=expiry,
    )


def loaded(raw: dict[str, Any], *waivers: Waiver) -> Loaded:
    return load(raw, FILE, waivers, TODAY)


def refused(raw: dict[str, Any], *waivers: Waiver) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(raw, *waivers)
    return str(caught.value).splitlines()


def under(text: str, note: str, severity: str) -> str:
    """A finding's text with a note after its message."""
    message, semicolon, rest = text.partition("; allowed")
    return f"{message} {note}{semicolon}{rest.rpartition(' ')[0]} {severity}]"


@pytest.mark.parametrize("rule", ["EBB020", "pinned-revision"])
@pytest.mark.parametrize("resource", [f"stack:{AT}", AT, "stack:models.llama-8b", "stack:models.*", "*llama*"])
def test_a_waiver_in_force_turns_the_finding_into_a_warning_that_names_owner_and_expiry(
    rule: str, resource: str
) -> None:
    got = loaded(BRANCH, waiver(rule, resource))
    assert [str(warning) for warning in got.warnings] == [under(f"{FILE}: {AT}: 'main' {COMMIT}", BY, "warning")]
    assert got.warnings[0].waiver == waiver(rule, resource)
    model = got.config.models["llama-8b"]
    assert (model.revision, model.is_pinned) == ("main", False)


def test_a_waiver_ends_with_the_day_of_its_expiry_and_the_finding_says_so() -> None:
    assert loaded(BRANCH, waiver("EBB020", AT, TODAY)).config
    ended = waiver("EBB020", AT, date(2026, 11, 24))
    note = "(the waiver of platform team ended on 2026-11-24)"
    assert refused(BRANCH, ended) == [under(f"{FILE}: {AT}: 'main' {COMMIT}", note, "mandatory")]
    assert loaded(BRANCH, ended, waiver("EBB020", AT)).warnings[0].waiver == waiver("EBB020", AT)


@pytest.mark.parametrize(
    ("rule", "resource"),
    [("EBB020", "stack:models.other*"), ("EBB041", AT), ("licence-acknowledged", AT), ("EBB020", "models")],
)
def test_a_waiver_for_another_rule_or_place_lifts_nothing(rule: str, resource: str) -> None:
    assert refused(BRANCH, waiver(rule, resource)) == [f"{FILE}: {AT}: 'main' {COMMIT}"]


def test_an_error_is_never_lifted_and_hides_nothing_of_what_is() -> None:
    both = stack(((*MODEL, "revision"), "main"), ((*MODEL, "gpus"), 0), ((*MODEL, "idleTtl"), "1m"))
    leave = [waiver(rule, "*llama*") for rule in ("EBB001", "EBB012", "EBB020")]
    lines = refused(both, *leave)
    assert lines[0] == under(f"{FILE}: {AT}: 'main' {COMMIT}", BY, "warning")
    assert lines[1:] == refused(stack(((*MODEL, "gpus"), 0), ((*MODEL, "idleTtl"), "1m")))
    assert [text.rpartition("[")[2] for text in lines[1:]] == ["EBB001 error]", "EBB012 error]"]


@pytest.mark.parametrize("revision", ["refs/pr/1", "../other", "", "-main", "x" * 64])
def test_a_value_that_could_not_be_built_with_stands_in_spite_of_a_waiver(revision: str) -> None:
    note = "(no waiver lifts this, because nothing could be built with it)"
    (only,) = refused(stack(((*MODEL, "revision"), revision)), waiver("EBB020", AT))
    assert only == under(f"{FILE}: {AT}: {revision!r} {COMMIT}", note, "mandatory")


def test_a_value_that_is_waived_in_one_place_is_refused_in_another() -> None:
    raw = stack(((*MODEL, "revision"), "main"))
    raw["models"]["second"] = dict(raw["models"]["llama-8b"], aliases=[])
    messages = refused(raw, waiver("EBB020", AT))
    assert [message.rpartition("[")[2] for message in messages] == ["EBB020 warning]", "EBB020 mandatory]"]


def test_a_waived_max_is_the_largest_there_is_so_that_what_it_may_cost_is_judged() -> None:
    at = f"{FILE}: pools.gpu-8xa100.max:"
    raw = stack(((*POOL, "max"), REMOVED), ((*POOL, "pricePerHour"), 9), (("guard", "maxDollarsPerHour"), 50))
    lines = refused(raw, waiver("max-present", "stack:pools.*"))
    assert lines[0] == under(f"{at} {NO_CEILING}", BY, "warning")
    assert [text.rpartition("[")[2] for text in lines[1:]] == ["EBB009 mandatory]"]
    both = waiver("EBB008", "stack:pools.*"), waiver("cost-ceiling", "stack:guard.maxDollarsPerHour")
    assert loaded(raw, *both).config.pools["gpu-8xa100"].max == 10_000


def test_without_maxgpus_the_quota_is_what_all_models_hold_at_their_max() -> None:
    got = loaded(stack((("guard", "maxGpus"), REMOVED)), waiver("quota-present", "stack:guard.maxGpus"))
    (warning,) = got.warnings
    assert (warning.code, warning.severity) == ("EBB008", "warning")
    assert got.config.gpu_quota == sum(model.gpus * model.max for model in got.config.models.values()) > 0


def test_an_image_by_tag_may_be_waived_and_is_used_as_it_is() -> None:
    tag = "registry.example.com/vllm/vllm-openai:v0.32.0"
    got = loaded(stack((("image", "base"), tag)), waiver("EBB041", "stack:image.base"))
    assert [f"{each.code} {each.severity}" for each in got.warnings] == ["EBB041 warning"]
    assert got.config.image.base == tag


def test_an_index_of_a_list_in_a_waiver_is_that_index_and_no_glob() -> None:
    config = yaml.safe_load((PROJECT / "stacks" / "Pulumi.aws-prod.yaml").read_text())["config"]
    raw = {key.partition(":")[2]: value for key, value in config.items() if key.startswith("ebbtide:")}
    raw["platform"]["cluster"]["apiAllowedNetworks"] = ["0.0.0.0/0"]
    at = "platform.cluster.apiAllowedNetworks[0]"
    warnings = loaded(raw, waiver("private-api", f"stack:{at}")).warnings
    assert [(each.code, each.severity) for each in warnings if each.path == at] == [("EBB039", "warning")]
    assert refused(raw, waiver("public-listener", f"stack:{at}"))


def test_a_waived_secret_is_in_no_text_all_the_same(tmp_path: Path) -> None:
    secret = "hf_" + "x" * 34
    file = tmp_path / "Pulumi.test.yaml"
    file.write_text(GOOD.read_text() + f"  acme:apiToken: {secret}\n")
    (only,) = load_file(file, [waiver("clear-text-secret", "stack:config*")], TODAY).warnings
    assert (only.code, only.severity, only.value) == ("EBB048", "warning", "<redacted>")
    assert BY in str(only)
    assert secret not in str(only)


def test_every_mandatory_finding_of_a_stack_file_has_a_policy_that_can_be_waived_and_no_other_code_can() -> None:
    # a renamed pool shows between two stack files, an adapter's base in its own file, a database's TLS in the gateway's
    # settings: no policy over one graph says the same
    alone = {"EBB055", "EBB282", "EBB293", "EBB294"}
    assert {rule.code for rule in rules() if rule.code in waivable() and rule.policy is None} == alone
    policies = {rule.policy for rule in rules() if rule.policy is not None}
    below = {rule.policy_below[1] for rule in rules() if rule.policy_below is not None}
    assert below == {"quota-present", "private-api"}
    assert policies | below <= set(rule_ids())
    assert set(waivable()).isdisjoint(rule_ids())


def test_a_model_at_a_branch_is_not_copied_into_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = stack(((*MODEL, "revision"), "main"))
    raw["models"]["second"] = dict(raw["models"]["llama-8b"], revision="ab" * 20)
    revisions: list[str] = []
    monkeypatch.setattr(
        serving, "ModelMirror", lambda name, settings, *more: revisions.extend(each.revision for each in settings.each)
    )
    place: Any = SimpleNamespace(
        model_store=SimpleNamespace(upload="anywhere"), provider=None, ready=(), registry=SimpleNamespace()
    )
    monkeypatch.setattr(serving.pulumi, "ResourceOptions", lambda **options: None)
    leave = waiver("EBB020", AT)
    serving.mirror_models(loaded(raw, leave).config, place, ())
    assert revisions == ["ab" * 20]
    del raw["models"]["second"]
    serving.mirror_models(loaded(raw, leave).config, place, ())
    assert revisions == ["ab" * 20]
