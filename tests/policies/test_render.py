"""What the gate says, in each format: everything a reviewer needs, no secret, and nobody's markup."""

from __future__ import annotations

import json

import pytest

from infra.gate.render import render
from infra.gate.render_clean import without, worth_hiding
from infra.gate.verdict_front import FORMATS
from tests.policies.mutations import MUTATIONS, _machine
from tests.policies.stack import Stack
from tests.policies.test_rules import gate, mutated

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
    told = " ".join(["abcd-1234-efgh", base64.b64encode(b"abcd-1234-efgh").decode(), b"abcd-1234-efgh".hex()])
    shown = without(told, worth_hiding(environ))
    assert "abcd" not in shown
    assert b"abcd".hex() not in shown
    assert "/usr/bin" not in worth_hiding(environ)


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
    told = json.loads(render(report, "json"))
    assert (told["verdict"], told["blockedBy"]) == ("block", ["rule image-digest"])
    run = json.loads(render(report, "sarif"))["runs"][0]
    assert [result["ruleId"] for result in run["results"] if result["level"] == "error"] == ["image-digest"]
    assert run["tool"]["driver"]["rules"][run["results"][0]["ruleIndex"]]["id"] == run["results"][0]["ruleId"]
