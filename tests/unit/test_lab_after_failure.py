"""What is said when `pulumi up` ends badly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import after_failure

ENGINE = """#!/bin/sh
case "$1" in
stack) printf '[{"name": "dev", "current": true, "resourceCount": 7}, {"name": "prod", "resourceCount": 41}]' ;;
up) echo "error: quota"; exit ${UP_STATUS:-255} ;;
esac
"""


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    program = tmp_path / "pulumi"
    program.write_text(ENGINE)
    program.chmod(0o755)
    return program


def ran(engine: Path, *arguments: str, status: int = 255) -> tuple[int, str]:
    code = (
        "import sys; from pathlib import Path; from lab import after_failure; "
        "import os; sys.exit(after_failure.run(Path(sys.argv[1]), sys.argv[2:], os.environ))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(engine), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "UP_STATUS": str(status)},
    )
    return done.returncode, done.stderr


def test_a_failed_up_says_what_exists_and_how_to_go_on(engine: Path) -> None:
    assert ran(engine, "up", "--yes", "--stack", "prod") == (
        255,
        "up of prod did not finish; its state has 41 resources now, and nothing of it is lost.\n"
        "  what there is:  pulumi stack --stack prod\n"
        "  to go on:       pulumi up --stack prod\n"
        "  to take it all away again:  pulumi destroy --stack prod\n",
    )


def test_without_a_name_it_is_the_selected_stack(engine: Path) -> None:
    assert "up of dev did not finish; its state has 7 resources now" in ran(engine, "up")[1]


def test_an_up_that_went_well_and_a_stack_that_is_not_there_get_no_advice(engine: Path) -> None:
    assert ran(engine, "up", "-s", "prod", status=0) == (0, "")
    assert ran(engine, "up", "-s", "absent")[1] == ""


@pytest.mark.parametrize("line", ["preview", "stack ls", "up --help", "", "refresh"])
def test_what_changes_nothing_is_handed_over_as_it_is(line: str) -> None:
    assert not after_failure.changes(line.split())
