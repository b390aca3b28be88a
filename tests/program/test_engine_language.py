"""The stand-in language host under the real engine."""

from __future__ import annotations

from tests.program.conftest import Project


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
