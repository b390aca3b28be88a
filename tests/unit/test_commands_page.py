"""docs/commands.md is what the command line says of itself."""

from __future__ import annotations

from infra.gate.report.overview import STATUS
from infra.workspace import PROJECT
from scripts.commands_page import commands_page


def test_the_page_is_what_the_program_would_write() -> None:
    assert (PROJECT / "docs" / "commands.md").read_text() == commands_page(), "write it anew: make docs"


def test_every_command_and_its_options_are_on_it() -> None:
    page = commands_page()
    for command in (
        "local up",
        "local ask PROMPT",
        "graph",
        "plan",
        "fit MODEL",
        "gate",
        "bench",
        "catalog add MODEL",
        "lock",
    ):
        assert f"## `ebbtide {command}" in page
    # from infra/gate/report/overview.py, beside those of every command
    assert f"of `ebbtide gate` also {STATUS['owner']}: " in page
    assert "| `--stack`, `-s` | required |" in page
    assert "| `--max-tokens` | `256` |" in page
