"""docs/stack-file.md lists what the program reads, all of it and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.platforms.kinds import KINDS
from scripts.stack_file_page import stack_file_page

PAGE = Path(__file__).parents[2] / "docs/stack-file.md"


def test_the_page_is_what_the_program_would_write() -> None:
    assert PAGE.read_text() == stack_file_page(), "write it anew: make docs"


@pytest.mark.parametrize("kind", KINDS)
def test_every_place_has_a_section(kind: str) -> None:
    assert f"## `platform:` with `kind: {kind}`\n" in stack_file_page()


@pytest.mark.parametrize("key", ["machine", "nodeLabels", "timeSlicing", "maxDollarsPerHour", "apiServer", "sha256"])
def test_keys_stand_in_the_files_own_spelling(key: str) -> None:
    assert f"| `{key}` |" in stack_file_page()


def test_keys_that_the_loader_puts_in_are_not_shown() -> None:
    assert "<place>" not in stack_file_page()
