"""What the gate can vouch for by itself, and what needs a code owner, on a real repository with real commits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.gate import judge_process
from infra.gate.file_kinds import Kind, kind_of
from tests.policies.test_red_team import STACK, by_digest, clone, edit, git, judged, program, protected

__all__ = ["clone", "protected"]  # fixtures
STACK_FILE = f"stacks/Pulumi.{STACK}.yaml"
WAIVER = {"rule": "idle-ttl", "resource": "stack:models.llama-8b", "owner": "anna", "reason": "a workshop of two days"}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("stacks/Pulumi.aws-prod.yaml", Kind.DATA),
        ("stacks/models/acme.json", Kind.DATA),
        ("waivers.yaml", Kind.DATA),
        ("stacks/deployments.json", Kind.DATA),
        ("docs/gateway.md", Kind.INERT),
        ("tests/unit/test_x.py", Kind.INERT),
        ("README.md", Kind.INERT),
        ("Pulumi.yaml", Kind.PROGRAM),
        ("Pulumi.aws-prod.yaml", Kind.PROGRAM),
        ("stacks/Pulumi.aws-prod.yml", Kind.PROGRAM),
        ("stacks/deeper/Pulumi.aws-prod.yaml", Kind.PROGRAM),
        ("stacks/sitecustomize.py", Kind.PROGRAM),
        ("components/README.md", Kind.PROGRAM),
        ("infra/__pycache__/__main__.cpython-311.pyc", Kind.PROGRAM),
        ("locks/dev.txt", Kind.PROGRAM),
        (".gitattributes", Kind.PROGRAM),
        (".github/workflows/gate.yml", Kind.PROGRAM),
        ("docs.py", Kind.PROGRAM),
        ("sitecustomize.py", Kind.PROGRAM),
        ("readme.md\n", Kind.PROGRAM),
    ],
)
def test_a_file_that_is_not_listed_is_program(path: str, kind: Kind) -> None:
    assert kind_of(path) is kind


def test_data_alone_may_pass_and_is_told_value_by_value(clone: Path, tmp_path: Path) -> None:
    by_digest(clone)
    (clone / "docs").mkdir(exist_ok=True)
    (clone / "docs" / "note.md").write_text("why\n")
    status, text = judged(clone, tmp_path)
    told = json.loads(text)
    assert (status, told["verdict"], told["ownerFor"]) == (0, "pass", [])
    assert {"path": "guard.whenFull", "before": "'wait'", "after": "'refuse'"} in told["stackFile"]


@pytest.mark.parametrize(
    "file",
    [
        "infra/program/serving.py",
        "components/gateway/note.txt",
        "recipes.py",
        "locks/dev.txt",
        "Pulumi.yaml",
        "new.py",
    ],
)
def test_a_program_that_is_edited_needs_an_owner_even_if_its_graph_is_the_same(
    file: str, clone: Path, tmp_path: Path
) -> None:
    path = clone / file
    path.parent.mkdir(exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + "\n# a comment\n")
    status, text = judged(clone, tmp_path)
    told = json.loads(text)
    assert (status, told["verdict"], told["blockedBy"]) == (3, "owner", [])
    assert told["beyondStackFile"] == []
    assert file in told["ownerFor"][0]


def test_what_the_program_changes_is_told_apart_from_what_the_stack_file_asks_for(clone: Path, tmp_path: Path) -> None:
    by_digest(clone)
    program(
        clone,
        "import pulumi\n"
        "pulumi.CustomResource('kubernetes:core/v1:ConfigMap', 'extra', {'metadata': {'name': 'extra'}, 'data': {}})",
    )
    status, text = judged(clone, tmp_path)
    told = json.loads(text)
    assert status == 3
    assert [(each["action"], each["name"]) for each in told["beyondStackFile"]] == [("created", "extra")]
    assert {change["name"] for change in told["changes"]} > {"extra"}
    shown = judged(clone, tmp_path, "md")[1]
    assert "1 resources differ by the program itself" in shown


def link_a_component(clone: Path) -> None:
    shutil.move(clone / "components" / "gateway", clone / "gateway-of-mine")
    (clone / "components" / "gateway").symlink_to("../gateway-of-mine")


def link_the_stack_file(clone: Path) -> None:
    shutil.move(clone / STACK_FILE, clone / "mine.yaml")
    (clone / STACK_FILE).symlink_to("../mine.yaml")


def link_to_the_machine(clone: Path) -> None:
    (clone / "components" / "passwd").symlink_to("/etc/passwd")


def add_a_submodule(clone: Path) -> None:
    git(clone, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},components/vendor")


@pytest.mark.parametrize("harm", [link_a_component, link_the_stack_file, link_to_the_machine])
def test_links_are_refused(harm: Callable[[Path], None], clone: Path, tmp_path: Path) -> None:
    harm(clone)
    status, text = judged(clone, tmp_path)
    assert status == 1
    assert any("is a link or a submodule" in reason for reason in json.loads(text)["blockedBy"])


def test_submodules_are_refused(clone: Path, tmp_path: Path) -> None:
    add_a_submodule(clone)
    git(clone, "commit", "-q", "-m", "a submodule")
    status, text = judged(clone, tmp_path, base="origin/main", commit=True)
    # `git add -A` of the helper would take out what is not there on disk: judge the commit itself
    git(clone, "reset", "-q", "--hard", "HEAD~1")
    status, text = judged(clone, tmp_path)
    assert status == 1
    assert "components/vendor is a link or a submodule" in " ".join(json.loads(text)["blockedBy"])


@pytest.mark.parametrize("gone", ["components/idle_scaling", "components/gateway", "infra/program", "components/typed"])
def test_a_folder_that_is_gone_is_not_taken_from_somewhere_else(gone: str, clone: Path, tmp_path: Path) -> None:
    shutil.rmtree(clone / gone)
    status, text = judged(clone, tmp_path)
    told = json.loads(text)
    assert status == 1
    assert told["blockedBy"][0] == "the program of this change gives no graph"
    assert "ModuleNotFoundError" in told["problem"] or "does not fit" in told["problem"]


def test_a_program_is_not_run_where_it_cannot_be_shut_in(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_process, "can_confine", lambda: False)
    request = judge_process.Request(
        trusted=clone, base=clone, head=clone, commits=("a", "b"), refused=(), stacks=(), budget=None,
        today=date(2026, 11, 21), unconfined=False, out=tmp_path, notes=(),
    )  # fmt: skip
    recorded = judge_process.Programs(request, edited=True, folder=tmp_path / "runs").record(STACK, False, True)
    assert recorded.after.graph is None
    assert "apt-get install bubblewrap" in recorded.after.problem
    assert recorded.expected.graph, "the base's own program is trusted"


def test_a_new_waiver_needs_an_owner_and_one_less_does_not(clone: Path, tmp_path: Path) -> None:
    (clone / "waivers.yaml").write_text(yaml.safe_dump({"waivers": [{**WAIVER, "expiry": date(2026, 12, 1)}]}))
    status, text = judged(clone, tmp_path)
    assert (status, json.loads(text)["blockedBy"]) == (3, [])
    assert "it waives idle-ttl for stack:models.llama-8b until 2026-12-01" in json.loads(text)["ownerFor"][0]
    git(clone, "branch", "waived")
    (clone / "waivers.yaml").write_text("waivers: []\n")
    assert judged(clone, tmp_path, base="waived")[0] == 0


@pytest.mark.parametrize(
    "widened", [{"expiry": date(2027, 6, 1)}, {"resource": "stack:models.*"}, {"rule": "cooldown"}]
)
def test_a_waiver_that_becomes_wider_needs_an_owner(widened: dict[str, Any], clone: Path, tmp_path: Path) -> None:
    waiver = {**WAIVER, "expiry": date(2026, 12, 1)}
    (clone / "waivers.yaml").write_text(yaml.safe_dump({"waivers": [waiver]}))
    git(clone, "commit", "-qam", "waived")
    git(clone, "branch", "waived")
    (clone / "waivers.yaml").write_text(yaml.safe_dump({"waivers": [{**waiver, **widened}]}))
    assert judged(clone, tmp_path, base="waived")[0] == 3


def test_another_environment_needs_an_owner(clone: Path, tmp_path: Path) -> None:
    edit(clone / STACK_FILE, lambda told: told["config"].update({"ebbtide:environment": "dev"}))
    status, text = judged(clone, tmp_path)
    told = json.loads(text)
    assert status in (1, 3)
    assert "it turns the environment from prod to dev" in " ".join(told["ownerFor"])


def widen_a_group(config: Any) -> None:
    config["ebbtide:gateway"]["groups"]["everyone"] = {"models": ["*"], "wake": ["*"]}


def widen_limits(config: Any) -> None:
    for group in config["ebbtide:gateway"]["groups"].values():
        group["requestsPerMinute"] = 99_999


def hand_a_key_to_another_group(config: Any) -> None:
    config["ebbtide:gateway"]["keys"]["mine"] = {"group": next(iter(config["ebbtide:gateway"]["groups"]))}


def raise_the_quota(config: Any) -> None:
    config["ebbtide:guard"]["maxGpus"] = 7


@pytest.mark.parametrize("change", [widen_a_group, widen_limits, hand_a_key_to_another_group, raise_the_quota])
def test_who_may_do_what_is_told_by_name(change: Callable[[Any], None], clone: Path, tmp_path: Path) -> None:
    """In the graph these values are hidden in a Secret; the stack file has their names."""
    edit(clone / STACK_FILE, lambda told: change(told["config"]))
    _, text = judged(clone, tmp_path)
    paths = [value["path"] for value in json.loads(text)["stackFile"]]
    assert paths
    assert all(path.startswith(("gateway.groups.", "gateway.keys.", "guard.maxGpus")) for path in paths)
    assert paths[0] in judged(clone, tmp_path, "md")[1]


def another_stack(clone: Path, name: str) -> None:
    shutil.copyfile(clone / STACK_FILE, clone / "stacks" / f"Pulumi.{name}.yaml")


def test_a_stack_that_is_new_is_judged_without_being_named(clone: Path, tmp_path: Path) -> None:
    another_stack(clone, "second")
    judged(clone, tmp_path, stacks=())
    told = json.loads((tmp_path / "reports" / "gate.json").read_text())
    assert set(told["stacks"]) == {"second"}
    assert (tmp_path / "reports" / "second.md").is_file()


def test_a_touched_stack_that_is_not_among_those_named_blocks(clone: Path, tmp_path: Path) -> None:
    another_stack(clone, "second")
    by_digest(clone)
    status, text = judged(clone, tmp_path)
    assert status == 1
    assert json.loads(text)["blockedBy"] == [
        "stacks/Pulumi.second.yaml changes and is not judged; fix: name it too, or leave --stack out"
    ]


@pytest.mark.parametrize("name", ["with space", "gate", "-x", "ünï"])
def test_a_stack_file_whose_name_no_stack_can_have_blocks(name: str, clone: Path, tmp_path: Path) -> None:
    another_stack(clone, name)
    status, _ = judged(clone, tmp_path, stacks=(STACK,))
    assert status == 1


def test_an_edited_program_is_judged_for_every_stack_that_a_pipeline_deploys(clone: Path, tmp_path: Path) -> None:
    listed = {"stacks": [{"stack": STACK, "cloud": "onprem"}]}
    (clone / "stacks" / "deployments.json").write_text(json.dumps(listed))
    git(clone, "commit", "-qam", "deployed")
    git(clone, "branch", "deployed")
    (clone / "new.py").touch()
    assert judged(clone, tmp_path, base="deployed", stacks=())[0] == 3
    assert set(json.loads((tmp_path / "reports" / "gate.json").read_text())["stacks"]) == {STACK}


@pytest.mark.parametrize("text", ["{", '{"stacks": [{}]}', '{"stacks": [{"stack": "../x"}]}', "[]"])
def test_a_list_of_deployments_that_cannot_be_read_blocks(text: str, clone: Path, tmp_path: Path) -> None:
    (clone / "stacks" / "deployments.json").write_text(text)
    status, _ = judged(clone, tmp_path)
    told = json.loads((tmp_path / "reports" / "gate.json").read_text())
    assert (status, told["verdict"]) == (1, "block")
    assert "stacks/deployments.json: cannot be read; allowed: " in told["blockedBy"][0]


def test_an_honest_change_of_schema_and_stack_file_needs_an_owner_and_says_how_to_be_judged(
    clone: Path, tmp_path: Path
) -> None:
    schema = clone / "infra" / "stackfile" / "schema" / "stack.py"
    text = schema.read_text()
    anchor = "    when_full: Literal"
    assert anchor in text
    schema.write_text(
        text.replace(anchor, f"    colour: str | None = Field(default=None, description='x')\n{anchor}", 1)
    )
    edit(clone / STACK_FILE, lambda told: told["config"]["ebbtide:guard"].update(colour="green"))
    status, text = judged(clone, tmp_path)
    told = json.loads(text)
    assert (told["problem"], told["blockedBy"], status) == ("", [], 3)
    assert "merge the program first and the stack file in a change of its own" in " ".join(told["ownerFor"])
    # without the schema it is a mistake like any other
    git(clone, "checkout", "-q", "origin/main", "--", "infra")
    assert judged(clone, tmp_path)[0] == 1
