"""Harmless changes of data pass, and each is told value by value: random ones of every shipped stack."""

from __future__ import annotations

import copy
import os
import random
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.gate.sandbox import Recorded
from infra.gate.stack_file_diff import diff_values
from infra.gate.verdict import Report, Side, judge
from infra.planner.judgement import judge_with_records
from infra.recorder.command import STACKS, recording_of
from infra.recorder.recorder import graph
from infra.recorder.stack_source import read_stack
from infra.stackfile.findings.waivers import Waivers
from infra.stackfile.load import read_file
from tests.program.graph_reading import ALL_STACKS, resources

TODAY = date(2026, 11, 21)
# each records a stack; 200 on request
RUNS = int(os.environ.get("EBBTIDE_EDITS", "2"))
Values = dict[str, Any]


def shorter_queue(values: Values, chance: random.Random) -> str:
    name, model = chance.choice(sorted(values["ebbtide:models"].items()))
    model["maxSequences"] = chance.randrange(1, model.get("maxSequences", 16) + 1)
    return f"models.{name}.maxSequences"


def another_limit(values: Values, chance: random.Random) -> str:
    name = chance.choice(sorted(values["ebbtide:gateway"]["groups"]))
    values["ebbtide:gateway"]["groups"][name]["requestsPerMinute"] = chance.randrange(10, 600)
    return f"gateway.groups.{name}.requestsPerMinute"


def another_key(values: Values, chance: random.Random) -> str:
    name, group = f"key-{chance.randrange(10**6)}", chance.choice(sorted(values["ebbtide:gateway"]["groups"]))
    values["ebbtide:gateway"]["keys"][name] = {"group": group}
    return f"gateway.keys.{name}.group"


def another_way_when_full(values: Values, chance: random.Random) -> str:
    guard = values.setdefault("ebbtide:guard", {})
    guard["whenFull"] = "wait" if guard.get("whenFull") == "refuse" else "refuse"
    return "guard.whenFull"


def longer_idle(values: Values, chance: random.Random) -> str:
    name, model = chance.choice(sorted(values["ebbtide:models"].items()))
    if values["ebbtide:environment"] == "local":
        return another_limit(values, chance)
    model["idleTtl"] = f"{chance.randrange(21, 29)}m"
    return f"models.{name}.idleTtl"


EDITS: tuple[Callable[[Values, random.Random], str], ...] = (
    shorter_queue,
    another_limit,
    another_key,
    another_way_when_full,
    longer_idle,
)


def judged(stack: str, changed: Path) -> Report:
    before = judge_with_records(read_file(STACKS / f"Pulumi.{stack}.yaml"), STACKS)
    after = judge_with_records(read_file(changed), STACKS)
    head = Recorded(list(graph(recording_of(read_stack(changed), stack).records)))
    return judge(
        stack,
        Side("base", before, Recorded(list(resources(stack)))),
        Side("head", after, head),
        Waivers(),
        today=TODAY,
        values=diff_values(before.reading, after.reading),
    )


@pytest.mark.parametrize("run", range(RUNS))
@pytest.mark.parametrize("stack", ALL_STACKS)
def test_a_harmless_change_of_data_passes_and_is_told(
    stack: str, run: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as the graph that it is compared with: no local machine is up
    monkeypatch.setenv("EBBTIDE_STATE", str(tmp_path / "nothing"))
    chance = random.Random(f"{stack} {run}")
    whole = yaml.safe_load((STACKS / f"Pulumi.{stack}.yaml").read_text())
    before = copy.deepcopy(whole)
    edited = {edit(whole["config"], chance) for edit in chance.sample(EDITS, 3)}
    file = tmp_path / "stacks" / f"Pulumi.{stack}.yaml"
    file.parent.mkdir()
    if (STACKS / "models").is_dir():
        shutil.copytree(STACKS / "models", file.parent / "models")
    file.write_text(yaml.safe_dump(whole, sort_keys=False))
    report = judged(stack, file)
    assert (report.verdict, report.blocked_by) == ("pass", []), edited
    paths = {value.path for value in report.values}
    assert paths <= edited, "nothing is told that was not edited"
    assert bool(paths) == (whole != before)
