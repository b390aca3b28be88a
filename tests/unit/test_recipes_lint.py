"""The pipelines as files: what a stranger's pull request could reach through them, and whether they are well-formed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.version import Version

from infra.workspace import paths
from lab.toolchain import go_programs, pulumi_release

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "recipes" / "github"
WORKFLOWS = [*sorted(RECIPES.glob("*.yml")), ROOT / ".github" / "workflows" / "ci.yml"]
GITLAB = ROOT / "recipes" / "gitlab" / "ebbtide.yml"
ACTIONLINT = go_programs.GoProgram("actionlint", "actionlint", "github.com/rhysd/actionlint/cmd/actionlint")


def read(name: str) -> dict[str, Any]:
    (file,) = [file for file in WORKFLOWS if file.stem == name]
    told = yaml.safe_load(file.read_text())
    # YAML 1.1 takes the key `on` for true
    return {("on" if key is True else key): value for key, value in told.items()}


def steps(told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in told["jobs"].values():
        yield from job.get("steps", [])


@pytest.mark.slow
def test_actionlint_finds_nothing_in_the_workflows(tmp_path: Path) -> None:
    """In a repository that has copied them: they call each other by that path."""
    go_programs.build((ACTIONLINT,), paths(), lambda program: None, lambda text: None)
    copies = tmp_path / ".github" / "workflows"
    copies.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    for file in WORKFLOWS:
        shutil.copy(file, copies)
    program = str(paths().bin / ACTIONLINT.name)
    command = [program, "-no-color", "-shellcheck=", "-pyflakes=", *map(str, copies.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_every_action_is_pinned_to_a_whole_commit_and_says_its_version(file: Path) -> None:
    for line in file.read_text().splitlines():
        if (found := re.search(r"\buses: (\S+)(.*)", line)) and not found[1].startswith("./"):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", found[1]), line
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", found[2]), line


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_no_step_pastes_a_value_into_its_script(file: Path) -> None:
    for step in steps(read(file.stem)):
        assert "${{" not in step.get("run", ""), step


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_every_workflow_says_its_permissions_and_no_checkout_keeps_the_token(file: Path) -> None:
    told = read(file.stem)
    assert told["permissions"] in ({}, {"contents": "read"})
    for step in steps(told):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_the_judge_has_nothing_to_lose() -> None:
    told = read("gate")
    assert set(told["on"]) == {"pull_request"}
    assert told["permissions"] == {"contents": "read"}
    text = (RECIPES / "gate.yml").read_text()
    assert "secrets." not in text
    assert "github.token" not in text
    assert not any("permissions" in job or "environment" in job for job in told["jobs"].values())


def test_the_commenting_job_comes_from_the_protected_branch_and_fetches_nothing_of_the_change() -> None:
    told = read("gate-comment")
    assert set(told["on"]) == {"workflow_run"}
    assert told["on"]["workflow_run"]["workflows"] == [read("gate")["name"]]
    (checkout,) = [step for step in steps(told) if "uses" in step]
    assert checkout["with"]["ref"] == "${{ github.event.repository.default_branch }}"
    assert set(told["jobs"]["comment"]["permissions"]) == {"contents", "actions", "pull-requests", "statuses"}
    assert told["jobs"]["comment"]["permissions"]["contents"] == "read"


def test_this_repositorys_own_workflow_deploys_nothing_and_has_no_secret() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert [file.name for file in (ROOT / ".github" / "workflows").iterdir()] == ["ci.yml"]
    assert not any(word in text for word in ("secrets.", "github.token", "id-token", "environment:", "pulumi up"))


def test_credentials_of_a_cloud_are_asked_for_by_the_environment_of_one_job_alone() -> None:
    for name in ("gate", "gate-comment"):
        assert "id-token" not in (RECIPES / f"{name}.yml").read_text()
    assert read("stack")["jobs"]["stack"]["environment"] == "${{ inputs.environment }}"
    for name in ("preview", "deploy", "nightly"):
        assert "pull_request" not in (RECIPES / f"{name}.yml").read_text()


def test_reading_workflows_never_run_in_an_environment_that_may_write() -> None:
    for name in ("preview", "nightly"):
        for job in read(name)["jobs"].values():
            assert job["with"]["environment"].endswith("-read")
            assert job["with"]["command"] != "up"


def test_pipelines_install_the_engine_of_the_tool_chain_and_the_sdk_is_not_newer() -> None:
    (install,) = [step for step in steps(read("stack")) if step.get("uses", "").startswith("pulumi/actions@")]
    engine = install["with"]["pulumi-version"]
    required = (ROOT / "lab/toolchain/gomodules/pulumi/go.mod").read_text()
    assert engine == pulumi_release.VERSION
    assert f"require github.com/pulumi/pulumi/pkg/v3 v{engine}\n" in required
    assert Version(metadata.version("pulumi")) <= Version(engine)


def test_on_gitlab_only_the_schedule_of_the_protected_branch_reaches_the_token() -> None:
    told = yaml.safe_load(GITLAB.read_text())
    assert "EBBTIDE_GATE_TOKEN" not in GITLAB.read_text().replace("# ", "")
    (rule,) = told["comment"]["rules"]
    assert 'CI_PIPELINE_SOURCE == "schedule"' in rule["if"]
    assert 'CI_COMMIT_REF_PROTECTED == "true"' in rule["if"]
    for name, job in told.items():
        if "rules" in job and name != "gate":
            assert all('CI_COMMIT_REF_PROTECTED == "true"' in rule["if"] for rule in job["rules"]), name
    assert "id_tokens" not in told["gate"]
