"""Who has to approve a change, by CODEOWNERS: everybody's program, nobody's data and documents."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.gate.code_owners import in_force, unowned
from infra.gate.file_kinds import Kind, kind_of
from infra.stackfile import load_file
from infra.workspace import PROJECT
from scripts import code_owners_page

KEPT = [pattern.strip("/") for _, pattern, _ in code_owners_page.OWNED]


def files() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, check=True, capture_output=True, text=True)
    return listed.stdout.splitlines()


@pytest.mark.parametrize(
    ("page", "write"), [("CODEOWNERS", code_owners_page.github), ("CODEOWNERS.gitlab", code_owners_page.gitlab)]
)
def test_the_page_is_what_the_program_would_write(page: str, write: object) -> None:
    assert callable(write)
    assert (PROJECT / "docs" / "examples" / page).read_text() == write(), "write it anew: make docs"


def test_every_program_has_an_owner_and_data_and_documents_have_none_but_those_that_are_kept() -> None:
    known = [*files(), "new_folder/x.py", "stacks/Pulumi.new.yaml", "docs/a/b.md"]
    free = set(unowned(code_owners_page.github(), known))
    for name in known:
        kept = any(name.startswith(each) or Path(name).match(each) for each in KEPT)
        assert (name in free) == (kind_of(name) is not Kind.PROGRAM and not kept), name


def test_every_stack_of_production_has_an_owner() -> None:
    production = [
        name
        for name in files()
        if Path(name).match("stacks/Pulumi.*.yaml") and load_file(PROJECT / name).config.environment == "prod"
    ]
    assert production
    assert unowned(code_owners_page.github(), [*production, "waivers.yaml", "docs/CODEOWNERS"]) == []


@pytest.mark.parametrize(
    ("line", "reaches", "spares"),
    [
        ("*", ["a", "a/b/c.py"], []),
        ("*.js", ["a.js", "a/b.js"], ["a.jsx"]),
        ("/build/logs/", ["build/logs/a/b"], ["x/build/logs/a", "build/logs"]),
        ("docs/*", ["docs/a.md"], ["docs/a/b.md", "x/docs/a.md"]),
        ("apps/", ["apps/a", "x/apps/a/b"], ["apps"]),
        ("/apps/github", ["apps/github", "apps/github/a"], ["apps/githubs"]),
        ("**/logs", ["logs", "build/logs/a"], ["logs2"]),
    ],
)  # the page's own examples
def test_patterns_reach_as_githubs_page_says(line: str, reaches: list[str], spares: list[str]) -> None:
    assert unowned(f"{line} @somebody # and why\n", reaches + spares) == spares
    assert unowned("", reaches) == reaches


def test_the_last_line_that_matches_decides_and_one_without_owners_gives_free() -> None:
    text = "* @a\n/apps/github # nobody\n/apps/github/x @b\n"
    assert unowned(text, ["y", "apps/github/y", "apps/github/x"]) == ["apps/github/y"]


def test_a_folder_with_the_name_of_a_file_that_is_free_is_not_taken_for_owned() -> None:
    assert unowned(code_owners_page.github(), ["LICENSE/x.py", "x.md/y.py"]) == ["LICENSE/x.py", "x.md/y.py"]


def test_the_file_that_github_would_take_is_the_one_that_counts(tmp_path: Path) -> None:
    assert in_force(tmp_path) == ""
    for number, place in enumerate(("docs/CODEOWNERS", "CODEOWNERS", ".github/CODEOWNERS")):
        file = tmp_path / place
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"* @{number}\n")
        assert in_force(tmp_path) == f"* @{number}\n"
