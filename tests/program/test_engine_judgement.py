"""The real engine's preview of the program finds what `plan` finds, and stops before anything is asked for."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.program.bad_inputs import CASES, BadInput
from tests.program.conftest import Project

pytestmark = pytest.mark.engine
# one of the file's own rules, one of a policy, and the planner's: memory, split, purpose, licence, ceilings
TRIED = ("01 no", "19 ", "22 ", "25 ", "26 ", "28 ", "33 an", "59 ")
REFUSED = [case for case in CASES if case.name.startswith(TRIED) and case.codes and case.recorded is None]
PROGRAM = """
import runpy
runpy.run_module("infra", run_name="__main__")
"""


@pytest.fixture(scope="module")
def whole_program(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("judged"), None)
    project.program(PROGRAM)
    return project


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_preview_ends_with_the_findings_and_asks_for_nothing(whole_program: Project, case: BadInput) -> None:
    file = whole_program.root / "Pulumi.test.yaml"
    settings = yaml.safe_load(file.read_text()) if file.exists() else {}
    settings["config"] = {f"ebbtide:{key}": value for key, value in case.sections.items()}
    file.write_text(yaml.safe_dump(settings))
    output = whole_program.preview(fails=True).output
    codes = set(re.findall(r"\[(EBB\d{3}) (?:error|mandatory)\]", output))
    assert codes == set(case.codes), output
    assert "Traceback" not in output
    assert "+ 1 to create" in output, "only the stack itself"
