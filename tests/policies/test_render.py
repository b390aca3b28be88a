"""What the gate says, in each format: everything a reviewer needs, no secret, and nobody's markup."""

from __future__ import annotations

import json
from datetime import date

import pytest

from infra.gate.command import FORMATS
from infra.gate.report import overview
from infra.gate.report.document import render
from infra.gate.report.wording import without, worth_hiding
from infra.gate.sandbox import Recorded
from infra.gate.verdict import Side, judge
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.findings.waivers import Waivers
from tests.policies.mutations import MUTATIONS, _machine
from tests.policies.stack import Stack
from tests.policies.test_rules import TODAY, gate, mutated

SECRETS = ("hf_" + "x" * 34, "glpat-" + "y" * 24, "correct-horse-battery")


@pytest.mark.parametrize("form", FORMATS)
def test_no_format_shows_a_secret_whatever_is_in_the_stack(form: str) -> None:
    for mutation in (m for m in MUTATIONS if m.rule == "clear-text-secret"):
        text = render(gate(*mutated(mutation)), form)
        assert not any(secret in text for secret in SECRETS)
        assert "clear-text-secret" in text


@pytest.mark.parametrize("form", FORMATS)
def test_a_secret_in_the_name_of_a_resource_is_hidden_too(form: str) -> None:
    head = Stack()
    head.find("ResourceQuota")["name"] = SECRETS[0]
    head.find("ResourceQuota")["urn"] += SECRETS[0]
    assert SECRETS[0] not in render(gate(Stack(), head), form)


def test_values_of_the_environment_are_hidden_in_every_spelling() -> None:
    import base64

    environ = {"GITHUB_TOKEN": "abcd-1234-efgh", "PATH": "/usr/bin", "LANG": "C.UTF-8"}
    text = " ".join(["abcd-1234-efgh", base64.b64encode(b"abcd-1234-efgh").decode(), b"abcd-1234-efgh".hex()])
    shown = without(text, worth_hiding(environ))
    assert "abcd" not in shown
    assert b"abcd".hex() not in shown
    assert "/usr/bin" not in worth_hiding(environ)


@pytest.mark.parametrize("name", ["CI_COMMIT_AUTHOR", "GIT_AUTHOR_NAME", "AUTHORS"])
def test_an_author_is_no_secret_of_the_environment(name: str) -> None:
    assert worth_hiding({name: "Anna Example"}) == set()
    hidden = ("AUTHORIZATION", "REGISTRY_AUTH", "NPM_AUTH_TOKEN", "AUTHOR_TOKEN", "DB_PASSWD", "DEPLOY_KEY", "CI_PAT")
    assert all(worth_hiding({each: "Anna Example"}) for each in hidden)


def test_names_from_the_change_cannot_become_markup_or_mention_anybody() -> None:
    head = Stack()
    for item in (head.find("ResourceQuota"),):
        item["name"] = "x`|</details><img src=x>@everyone [a](https://evil.example.com)\n# hi\x1b[2J"
        item["urn"] = item["urn"].rpartition("::")[0] + "::" + item["name"]
    text = render(gate(Stack(), head), "md")
    assert "<img" not in text
    assert "\x1b" not in text
    assert "\n# hi" not in text
    assert text.count("</details>") == text.count("<details>")
    assert "\x1b" not in render(gate(Stack(), head), "text")


def test_the_comment_shows_verdict_fix_changes_cost_and_the_mark_it_is_found_by() -> None:
    head = Stack()
    _machine(head)
    text = render(gate(Stack(), head), "md")
    assert text.startswith("<!-- ebbtide-gate -->\n## ⛔ test: blocked by rule deletion-approved")
    for part in ("**Fix:** keep its name", "± replaced 🔒", "instanceTypes", "ceiling a month", "rules passed"):
        assert part in text


def test_a_comment_never_outgrows_what_a_forge_takes() -> None:
    head = Stack()
    for number in range(3000):
        copy = json.loads(json.dumps(head.find("ResourceQuota")))
        copy["urn"], copy["name"] = f"{copy['urn']}{number}", f"quota-{number}" * 9
        head.resources.append(copy)
    assert len(render(gate(Stack(), head), "md")) < 65_536


def test_json_and_sarif_carry_the_verdict_and_one_result_a_violation() -> None:
    report = gate(*mutated(next(m for m in MUTATIONS if m.rule == "image-digest")))
    document = json.loads(render(report, "json"))
    assert (document["verdict"], document["blockedBy"]) == ("block", ["rule image-digest"])
    run = json.loads(render(report, "sarif"))["runs"][0]
    assert [result["ruleId"] for result in run["results"] if result["level"] == "error"] == ["image-digest"]
    assert run["tool"]["driver"]["rules"][run["results"][0]["ruleIndex"]]["id"] == run["results"][0]["ruleId"]


def _said(head: Stack, form: str = "md", **more: object) -> str:
    return render(gate(Stack(), head, **more), form)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["md", "text"])
def test_what_is_waived_is_told_one_by_one_with_whose_leave(form: str) -> None:
    waiver = Waiver(
        rule="image-digest",
        resource="llama-*",
        owner="platform team",
        reason="the vendor gives no digest yet",
        expiry=date(2026, 12, 1),
    )
    _, head = mutated(next(m for m in MUTATIONS if m.rule == "image-digest"))
    text = _said(head, form, waivers=Waivers((waiver,)))
    assert "waived by platform team" in text
    assert text.count("is not named by digest") == 1
    assert "the vendor gives no digest yet" in text


@pytest.mark.parametrize("form", ["md", "text"])
def test_a_rule_that_could_not_read_a_value_is_told_as_what_blocks_with_its_fix(form: str) -> None:
    head = Stack()
    head.inputs("ScaledObject")["spec"]["cooldownPeriod"] = "soon"
    text = _said(head, form)
    assert "cannot read" in text
    assert "set idleTtl to coldStart or more" in text
    assert "only known after" not in text


@pytest.mark.parametrize("form", ["md", "text"])
def test_what_up_will_not_judge_either_is_not_promised_to_be_judged_by_it(form: str) -> None:
    head = Stack()
    head.model["id"] = "somebody/their-own-model"
    text = _said(head, form)
    assert "`up` will not judge" in text
    assert "which judges them" not in text


@pytest.mark.parametrize("form", ["md", "text"])
def test_without_a_graph_nobody_is_told_that_nothing_is_deleted(form: str) -> None:
    sides = [
        Side("base", Stack().judged(), Recorded(Stack().resources)),
        Side("head", Stack().judged(), Recorded(None, "x")),
    ]
    text = render(judge("test", *sides, Waivers(), today=TODAY), form)
    assert "0 deleted" not in text
    assert "not known without both graphs" in text
    assert "0 rules passed" not in text or form == "text"


def test_a_blocked_author_is_told_where_a_waiver_goes_and_that_it_goes_first() -> None:
    _, head = mutated(next(m for m in MUTATIONS if m.rule == "image-digest"))
    assert "`waivers.yaml` (rule, resource, owner, reason, expiry) that is merged *before* this change" in _said(head)
    assert "waivers.yaml" not in _said(Stack())


def test_a_list_that_is_cut_says_how_much_is_left_out() -> None:
    head = Stack()
    for number in range(100):
        copy = json.loads(json.dumps(head.find("ResourceQuota")))
        copy["urn"], copy["name"] = f"{copy['urn']}{number}", f"quota-{number}"
        head.resources.append(copy)
    assert "And 40 more; `--format json` has all of them." in _said(head)
    assert " more; " not in _said(Stack())


def test_sarif_has_a_result_for_what_blocks_and_is_no_rules() -> None:
    run = json.loads(_said(Stack(), "sarif", budget=1))["runs"][0]
    (result,) = [result for result in run["results"] if result["level"] == "error"]
    assert result["message"]["text"] == "blocked by the budget of 1 $/month"
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


@pytest.mark.parametrize(
    ("verdict", "words"), [("pass", "may pass"), ("owner", "needs a code owner"), ("block", "is blocked")]
)
@pytest.mark.parametrize("form", ["md", "text"])
def test_the_page_over_all_stacks_says_the_verdict_as_a_sentence(form: str, verdict: str, words: str) -> None:
    page = overview.overview(verdict, {"test": verdict}, (), ())
    assert f"his change {words}\n" in overview.render(page, form)
