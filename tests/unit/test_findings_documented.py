"""Every rule is used by the product and explained in docs/findings.md, and no finding is made beside the rules."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from infra.stackfile.findings.registry import modules, rules, waivable
from scripts.findings_page import findings_page
from scripts.stack_file_page import schema_words
from tests.unit.findings_in_sources import (
    PROJECT,
    SEVERITIES,
    Use,
    called,
    mentions,
    names,
    severities,
    sources,
    texts,
    uses,
)

PAGE = (PROJECT / "docs" / "findings.md").read_text()
CODES = {rule.code for rule in rules()}
# Words in backticks, or before a colon in a fix, that are neither keys nor choices of the schema.
NOT_KEYS = {"auto_map", "config", "daily", "fit", "kubelogin", "llm", "mon", "more", "sun", "v", "waivers", "weekdays"}
NOT_KEYS |= {"up", "weekends", "westeurope"}


def test_the_page_is_what_the_program_would_write() -> None:
    assert findings_page() == PAGE, "write it anew: make docs"


def test_each_code_belongs_to_one_rule() -> None:
    assert not [code for code, count in Counter(rule.code for rule in rules()).items() if count > 1]
    assert all(re.fullmatch(r"EBB\d{3}", rule.code) for rule in rules())


def test_every_rule_is_used_by_the_product() -> None:
    assert {rule.code for rule in rules()} == {use.rule.code for use in uses()}


def test_what_makes_a_finding_is_called_by_the_product() -> None:
    """A rule whose only function has no caller is promised and never told."""
    used = mentions()
    reached = {use.rule.code for use in uses() if not use.scope or used[use.scope]}
    assert reached == CODES


def test_findings_have_the_severities_that_their_rule_states() -> None:
    stated_severities = severities()
    assert {rule.code: set(rule.severities) for rule in rules()} == stated_severities


def test_every_rule_says_what_is_wrong_what_is_allowed_and_how_to_mend_it() -> None:
    assert not [rule.code for rule in rules() if not (rule.title and rule.allowed and rule.fix)]


def test_no_finding_is_made_by_a_number_or_without_a_rule() -> None:
    """``Problem(37, …)`` would have neither a place on the page nor a policy."""
    strange = [
        f"{file}:{call.lineno}"
        for file, tree in sources()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        if (called(call) in ("Problem", "refuse") and isinstance(call.func, ast.Name) and call.args)
        or (called(call) in ("text", "whole") and call.args and _is_whole_number(call.args[0]))
    ]
    assert not strange


def _is_whole_number(argument: ast.expr) -> bool:
    return isinstance(argument, ast.Constant) and isinstance(argument.value, int)


def test_only_the_rules_own_files_define_rules() -> None:
    """A rule that stands elsewhere would be missing on the page."""
    calls = [node for _, tree in sources() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    defined = [call for call in calls if called(call) == "Rule" and any(word.arg == "code" for word in call.keywords)]
    assert not defined
    files = [PROJECT / f"{module.__name__.replace('.', '/')}.yaml" for module in modules()]
    assert {*files} == {*(PROJECT / "components").rglob("rules/*.yaml"), *(PROJECT / "components").rglob("rules.yaml")}
    stated = [code for file in files for code in re.findall(r"^    code: (EBB\d{3})$", file.read_text(), re.M)]
    assert len(stated) == len(names()) == len(rules())


def test_every_rule_that_the_sources_import_is_in_its_file() -> None:
    """The type checker takes any name for one of a rule; at run time a late import would fail on a user's machine."""
    imported = {
        (node.module, alias.name)
        for _, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in {module.__name__ for module in modules()}
        for alias in node.names
    }
    assert imported
    assert imported <= set(names())


def test_no_finding_is_made_with_an_empty_text() -> None:
    """A text left empty reads ``fix: [EBB132 error]``."""
    empty = [
        f"{use.file}:{use.call.lineno}"
        for use in uses()
        for argument in (*use.call.args, *(keyword.value for keyword in use.call.keywords))
        if isinstance(argument, ast.Constant) and argument.value == ""
    ]
    assert not empty
    words = [(rule.code, each) for rule in rules() for each in rule.values.values()]
    assert words
    assert not [code for code, each in words if not (each.says and each.allowed and each.fix)]


def test_the_words_for_a_kind_of_value_are_used() -> None:
    """They stand in the rule's file by the name of the kind."""
    stated = {(rule.code, kind) for rule in rules() for kind in rule.values}
    words = [(use.rule.code, use.call.args[1]) for use in uses() if called(use.call) == "pattern"]
    assert stated == {(code, kind.value) for code, kind in words if isinstance(kind, ast.Constant)}


def test_a_text_of_a_rule_names_only_keys_that_a_stack_file_can_have() -> None:
    """Keys and their values stand in backticks there: ``min``, ``device: cpu``, ``guard.waitLimit``."""
    known = schema_words() | NOT_KEYS
    unknown = {
        (rule.code, word)
        for rule in rules()
        for text in (rule.title, rule.allowed, rule.fix)
        for quoted in re.findall(r"`([A-Za-z.]+)(?:: [^`]*)?`", text)
        if "/" not in quoted
        for word in quoted.split(".")
        if word and word not in known and not _is_data(word)
    }
    assert not unknown


def test_a_fix_tells_to_set_only_keys_that_a_stack_file_can_have() -> None:
    """A fix is ``set maxTokens: 4096``, and following it must not end in "is not a known key"."""
    known = schema_words() | NOT_KEYS
    unknown = {
        (use.file, word)
        for use, fix in _fixes()
        for path in re.findall(r"\b(?:set|add|write|or|and|with|leave) ([A-Za-z][A-Za-z.]*):(?: |$)", fix)
        for word in path.split(".")
        if word not in known
    }
    assert not unknown


def _fixes() -> list[tuple[Use, str]]:
    trees = dict(sources())
    fixes = []
    for use in uses():
        scopes = [
            node
            for node in ast.walk(trees[use.file])
            if isinstance(node, ast.FunctionDef) and node.lineno <= use.call.lineno <= (node.end_lineno or 0)
        ]
        values = [keyword.value for keyword in use.call.keywords if keyword.arg == "fix"] + use.call.args[3:]
        for value in values:
            for text in texts(value, scopes[-1] if scopes else trees[use.file]):
                fixes.append((use, text))
        fixes += [(use, words.fix) for words in use.rule.values.values()]
    return fixes


@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_page_explains_each_severity(severity: str) -> None:
    assert f"**{severity}**" in PAGE


def test_every_code_other_pages_and_sources_speak_of_is_one_that_is_given() -> None:
    files: list[Path] = [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md"), *(PROJECT / "infra").rglob("*.py")]
    assert {code for file in files for code in re.findall(r"EBB\d{3}", file.read_text())} <= CODES


def test_the_page_of_policies_has_the_policy_of_every_finding_that_can_be_waived() -> None:
    page = (PROJECT / "docs" / "policies.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if re.match(r"\| EBB\d{3}", line)]
    # `a` alone, or `a` (`key.path`: `b`): below that path it is b
    read = r"`([a-z-]+)`(?: \(`([A-Za-z.]+)`: `([a-z-]+)`\))?"
    matches = {
        code: re.fullmatch(read, cell.strip()) for codes, cell in rows for code in re.findall(r"EBB\d{3}", codes)
    }
    assert set(matches) == set(waivable())
    held = {rule.code: rule for rule in rules() if rule.code in matches and rule.policy is not None}
    assert {code: row[1] for code, row in matches.items() if row} == {code: rule.policy for code, rule in held.items()}
    for code, rule in held.items():
        row = matches[code]
        assert row is not None
        if rule.policy_below is not None:
            below, policy = rule.policy_below
            assert (row[2] or "").split(".")[: len(below)] == list(below), code
            assert row[3] == policy, code


def _is_data(word: str) -> bool:
    """A value in capitals or a file's name (``README.md``) rather than a key."""
    return word[:1].isupper() or word in ("md", "yaml", "json", "example", "com")
