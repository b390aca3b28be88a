"""What one command refuses every command refuses, with the same codes: plan, gate, graph and the program itself."""

from __future__ import annotations

import ast
import copy
import functools
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from components.typed.refusal import Rule
from components.typed.rules import planner
from infra import workspace
from infra.commands import plan as command_plan
from infra.commands.options import PlanOptions
from infra.gate import judge_process
from infra.gate.sandbox import Recorded
from infra.gate.verdict import Side, judge
from infra.planner.judgement import judge_with_records
from infra.program import build
from infra.recorder.run import record
from infra.recorder.stack_source import read_stack
from infra.stackfile.findings.finding import ConfigError
from infra.stackfile.findings.registry import rules
from infra.stackfile.findings.waivers import Waivers
from infra.stackfile.load import read_file
from infra.workspace import PROJECT
from tests.program.bad_inputs import CASES, BadInput
from tests.unit.findings_in_sources import names
from tests.unit.plan_kit import write

STACK = "test"
ROOM = PROJECT / "infra" / "planner"
Door = Callable[[Path], tuple[set[str], bool]]
_SET = re.compile(r"\bset (\w+): ([\w.]+)")
_CODE = re.compile(r"\[(EBB\d{3}) (?:error|mandatory|warning)\]")


def plan(file: Path) -> tuple[set[str], bool]:
    page = command_plan.planned(PlanOptions(stack=STACK, config_file=str(file), graph=False))
    return {finding["code"] for finding in page["findings"]}, page["verdict"] == "errors"


def gate(file: Path) -> tuple[set[str], bool]:
    judged = judge_process._judged(file.parents[1], STACK, Waivers(), date.today())
    assert judged is not None
    base = Side("base", None, Recorded([]))
    report = judge(STACK, base, Side("head", judged, Recorded([])), Waivers(), today=date.today())
    codes = {finding.code for finding in report.findings}
    for each in report.judged:
        codes |= {code for v in each.standing for code in re.findall(r"\[(EBB\d{3})\]", v.message)}
    return codes, bool(report.blocked_by)


def graph(file: Path) -> tuple[set[str], bool]:
    try:
        return {finding.code for finding in read_stack(file).warnings}, False
    except ConfigError as refused:
        return {finding.code for finding in refused.findings}, True


def program(file: Path) -> tuple[set[str], bool]:
    """The program as `pulumi up` starts it; it ends before it asks for anything."""
    values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in _values(file).items()}
    created: list[str] = []

    def run() -> None:
        import runpy
        from unittest import mock

        from infra.program import platform

        def create(*_: object) -> None:
            created.append("the place")
            raise KeyboardInterrupt

        # what this machine has (a kubeconfig, a program) is no matter of the stack file
        with mock.patch.object(platform, "create", create), mock.patch.object(platform, "inspect_machine"):
            runpy.run_module("infra", run_name="__main__")

    logged: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pulumi.log, "warn", lambda text, *_, **__: logged.append(text))
        try:
            record(STACK, values, [], run)
        except pulumi.RunError as refused:
            assert not created
            return {*_CODE.findall(str(refused))}, True
        except KeyboardInterrupt:
            assert created
    return {code for text in logged for code in _CODE.findall(text)}, False


def _values(file: Path) -> dict[str, object]:
    return dict(yaml.safe_load(file.read_text())["config"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_command_finds_the_same_and_stops_alike(
    case: BadInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = case.write(tmp_path)
    monkeypatch.setattr(workspace, "PROJECT", tmp_path)
    monkeypatch.setattr(build, "PROJECT", tmp_path)
    results = {door.__name__: door(file) for door in (plan, gate, graph, program)}
    assert results == dict.fromkeys(results, ({*case.codes, *case.warnings}, bool(case.codes)))


def test_what_is_recorded_beside_the_stack_file_is_judged_in_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra.commands import catalog_add
    from tests.unit.plan_kit import CONFIG

    own = tmp_path / "own"
    own.mkdir()
    (own / "config.json").write_text(json.dumps(dict(CONFIG)))
    folder = tmp_path / "stacks"
    folder.mkdir()
    options = catalog_add.Options(model="test/eight", folder=str(own), revision="0" * 40, stacks=folder)
    assert catalog_add.run(options) == 0
    case = BadInput(name="", changes={"models.eight.id": "test/eight", "models.eight.maxTokens": 131072})
    file = write(folder, case.sections)
    monkeypatch.setattr(workspace, "PROJECT", tmp_path)
    monkeypatch.setattr(build, "PROJECT", tmp_path)
    for door in (plan, gate, graph, program):
        codes, stops = door(file)
        assert ("EBB026" in codes, "EBB250" in codes, stops) == (True, False, True), door.__name__


def test_a_reason_to_skip_the_planner_turns_its_errors_into_warnings_that_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EBBTIDE_SKIP_PLANNER", "the engine's log says that it fits")
    case = next(case for case in CASES if case.name.startswith("26 "))
    (tmp_path / "stacks").mkdir()
    loaded = read_stack(write(tmp_path / "stacks", case.sections)).loaded
    (warning,) = [finding for finding in loaded.warnings if finding.code == "EBB026"]
    assert warning.severity == "warning"
    assert "the engine's log says that it fits" in warning.message


def test_the_key_that_a_fix_says_to_set_lifts_its_finding(tmp_path: Path) -> None:
    """Who follows the text must not meet the finding again, nor another one in its place."""
    followed: set[str] = set()
    in_vain = []
    for case in CASES:
        problems = findings(case, tmp_path)
        for at, fix in problems.items():
            code, path = at
            match = _SET.search(fix)
            if match is None:
                continue
            mended = replace(
                case, changes={**case.changes, **followed_fix(case, path, match[1], yaml.safe_load(match[2]))}
            )
            followed.add(code)
            if more := {*findings(mended, tmp_path)} - ({*problems} - {at}):
                in_vain.append((case.name, path, fix, more))
    assert not in_vain
    assert {"EBB022", "EBB026", "EBB028", "EBB030", "EBB033"} <= followed, followed


def followed_fix(case: BadInput, path: str, key: str, value: Any) -> dict[str, Any]:
    """The change that sets ``key`` beside ``path``, which may lead into a list of the case."""
    place = path.rpartition(".")[0]
    inside = re.fullmatch(r"(.+)\[(\d+)\]", place)
    if inside is None:
        return {f"{place}.{key}": value}
    names = inside[1].split(".")
    changed: Any = case.changes
    for n in range(len(names), 0, -1):  # a case may change a whole section at once
        if (start := ".".join(names[:n])) in case.changes:
            changed = functools.reduce(lambda part, name: part[name], names[n:], case.changes[start])
            break
    whole = copy.deepcopy(changed)
    whole[int(inside[2])][key] = value
    return {inside[1]: whole}


def findings(case: BadInput, folder: Path) -> dict[tuple[str, str], str]:
    """The fix of every finding by its code and place."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        file = case.write(Path(place))
        judged = judge_with_records(read_file(file), file.parent)
    return {(finding.code, finding.path): finding.fix for finding in judged.findings}


ELSEWHERE = (
    # what a person can write wrong besides one value of a stack file, by its number, and the test that holds it
    (34, "a name given twice: Pulumi hands the program one of the two",
     "tests/unit/test_stackfile_file.py::test_a_name_given_twice_is_found_though_yaml_would_keep_the_last"),
    (44, "the program sets it, and no key does",
     "tests/unit/test_model_service.py::test_the_kubelet_waits_longer_than_pre_stop_and_drain"),
    (54, "the kubeconfig of the machine that deploys",
     "tests/unit/test_stackfile_adopted.py::test_54_nothing_is_created_when_the_context_leads_elsewhere"),
    (55, "a change of a stack file, seen between two of them",
     "tests/policies/test_red_team.py::test_a_pool_under_another_name_is_seen_as_what_it_is_and_blocks"),
)  # fmt: skip
FIT_ALONE = {
    # `ebbtide fit` reads no stack file
    "EBB259": "tests/unit/test_planner_fit.py::test_an_unknown_price_is_a_finding_and_no_number",
    "EBB260": "tests/unit/test_planner_fit.py::test_concurrency_means_that_many_whole_sequences",
    "EBB261": "tests/unit/test_planner_fit.py::test_gpus_that_would_idle_are_told",
}
NUMBERS = range(1, 57)


def numbered(case: BadInput) -> int | None:
    """The number of bad inputs that a case is of; None for those that have a finding's code, or nothing wrong."""
    begins = re.match(r"\d\d ", case.name)
    return int(begins[0]) if begins else None


def test_every_number_of_bad_inputs_has_a_case_or_a_test_elsewhere() -> None:
    assert {numbered(case) for case in CASES} - {None} | {number for number, _, _ in ELSEWHERE} == {*NUMBERS}


def test_a_number_of_bad_inputs_is_the_number_of_its_finding() -> None:
    """44 and 56 have no finding: one cannot be written, the other is valid."""
    codes = {rule.code for rule in rules()}
    for number in {numbered(case) for case in CASES} - {None, 56}:
        code = f"EBB{number:03}"
        assert code in codes
        cases = [case for case in CASES if numbered(case) == number]
        assert any(code in (*case.codes, *case.warnings) for case in cases), code


def test_every_rule_of_the_planner_has_a_case() -> None:
    """A rule that no stack file can break is promised in vain; one without a case may differ between the commands."""
    read = {
        names()[(node.module or "", alias.name)]
        for file in sorted(ROOM.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if (node.module or "", alias.name) in names()
    }
    planners = {rule.code for rule in read | {rule for rule in vars(planner).values() if isinstance(rule, Rule)}}
    assert len(planners) > 35
    had = {code for case in CASES for code in (*case.codes, *case.warnings)}
    assert planners - {*FIT_ALONE} <= had, planners - had
    assert {*FIT_ALONE} <= planners - had, "a stack file has it after all"


@pytest.mark.parametrize("test", [*(test for _, _, test in ELSEWHERE), *FIT_ALONE.values()])
def test_a_test_that_holds_what_no_case_does_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    tree = ast.parse((Path(__file__).parents[2] / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_no_two_cases_have_one_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
