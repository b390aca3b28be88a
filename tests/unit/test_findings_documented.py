"""docs/findings.md has every code the product can give, with its severities, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.unit.findings_in_sources import PROJECT, ROOMS, SEVERITIES, numbers

PAGE = (PROJECT / "docs" / "findings.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| EBB")]
GIVEN, STRANGE = numbers()


def test_every_code_a_user_can_be_given_is_explained_once_and_no_other() -> None:
    assert [row[0] for row in ROWS] == [f"EBB{number:03d}" for number in sorted(GIVEN)]


def test_a_code_is_explained_with_the_severities_it_is_given_with() -> None:
    wrong = {
        row[0]: (row[1], GIVEN[int(row[0][3:])]) for row in ROWS if set(row[1].split(" or ")) != GIVEN[int(row[0][3:])]
    }
    assert not wrong


def test_every_entry_says_what_is_wrong_what_is_allowed_and_how_to_mend_it() -> None:
    assert [row for row in ROWS if len(row) != 5 or not all(row)] == []


def test_no_finding_is_made_with_a_number_that_the_reading_of_the_sources_misses() -> None:
    """A number in a variable would slip past the page."""
    assert not STRANGE


def test_the_reading_of_the_sources_finds_the_numbers_a_plain_search_finds() -> None:
    """The tree of every file is walked by hand above; a lost branch would lose codes without a word."""
    made = re.compile(r"\bProblem\(\s*(\d+),|\brefuse\(\s*(\d+),")
    searched = {
        int(match[1] or match[2])
        for room in ("infra/config", "infra/preflight", "infra/gate", "components")
        for file in (PROJECT / room).rglob("*.py")
        for match in made.finditer(file.read_text())
    }
    assert len(searched) > 100
    assert searched <= set(GIVEN)


def test_no_finding_is_made_without_saying_what_is_wrong_what_is_allowed_and_how_to_mend_it() -> None:
    """A text left empty reads ``fix: [EBB132 error]``."""
    empty = [
        f"{file.relative_to(PROJECT)}:{call.lineno}"
        for room in ROOMS
        for file in sorted((PROJECT / room).rglob("*.py"))
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("Problem", "refuse")
        for argument in (*call.args, *(keyword.value for keyword in call.keywords))
        if isinstance(argument, ast.Constant) and argument.value == ""
    ]
    assert not empty


@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_page_explains_each_severity(severity: str) -> None:
    assert f"**{severity}**" in PAGE


def test_every_code_other_pages_and_sources_speak_of_is_one_that_is_given() -> None:
    files: list[Path] = [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md"), *(PROJECT / "infra").rglob("*.py")]
    said = {int(code) for file in files for code in re.findall(r"EBB(\d{3})", file.read_text())}
    assert said <= set(GIVEN)
