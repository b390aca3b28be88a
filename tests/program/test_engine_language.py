"""The stand-in language host under the real engine."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.program.conftest import Project

pytestmark = pytest.mark.engine


def test_a_run_error_is_shown_as_plain_text_without_a_traceback(lone_project: Project) -> None:
    lone_project.program('raise pulumi.RunError("stacks/x.yaml: models.a.gpus: 0 is not allowed; use 1")')
    output = lone_project.preview(fails=True).output
    assert output.count("stacks/x.yaml: models.a.gpus: 0 is not allowed; use 1") == 1
    assert "Traceback" not in output
    assert "File " not in output


def test_an_unexpected_error_shows_the_programs_own_lines_only(lone_project: Project) -> None:
    lone_project.program("def broken():\n    return {}['key']\nbroken()")
    output = lone_project.preview(fails=True).output
    assert "KeyError: 'key'" in output
    assert "program/__main__.py" in output
    assert "runpy" not in output
    assert "language_python" not in output


def test_what_a_program_prints_appears_beside_the_stack(lone_project: Project) -> None:
    lone_project.program("import sys\nprint('to stdout')\nprint('to stderr', file=sys.stderr)")
    output = lone_project.up().output
    assert "to stdout" in output
    assert "to stderr" in output


def test_config_and_secrets_reach_the_program_and_outputs_stay_secret(lone_project: Project) -> None:
    lone_project.run("config", "set", "colour", "blue", "--stack=test")
    lone_project.run("config", "set", "--secret", "word", "sesame-open", "--stack=test")
    lone_project.program("""
        config = pulumi.Config()
        pulumi.export("colour", config.require("colour"))
        pulumi.export("word", config.require_secret("word"))
        pulumi.export("dry", pulumi.runtime.is_dry_run())
    """)
    output = lone_project.up().output
    assert "blue" in output
    assert "sesame-open" not in output
    assert "sesame-open" not in lone_project.state()


def test_an_interrupt_while_the_program_computes_ends_it_and_leaves_no_process(lone_project: Project) -> None:
    lone_project.program("import os, time\nprint('pid', os.getpid())\ntime.sleep(300)")
    process = lone_project.start("up", "--yes", "--skip-preview", "--stack=test")
    assert process.stdout is not None
    line = next(line for line in process.stdout if "pid " in line)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert "Traceback" not in output
    assert not Path(f"/proc/{line.split()[-1]}").exists()


def test_a_virtual_environment_that_is_not_the_hosts_own_is_refused_with_the_way_out(lone_project: Project) -> None:
    other = lone_project.root / "other" / "bin"
    other.mkdir(parents=True)
    (other / "python").symlink_to(sys.executable)
    settings = "name: probe\nruntime:\n  name: python\n  options: {virtualenv: other}\nmain: program\n"
    (lone_project.root / "Pulumi.yaml").write_text(settings)
    lone_project.program("print('ran')")
    output = lone_project.preview(fails=True).output
    assert f"the project's environment is {lone_project.root}/other" in output
    assert "make setup" in output
