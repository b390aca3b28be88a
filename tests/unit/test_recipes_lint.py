"""The pipelines as files: what a stranger's pull request could reach through them, and whether they are well-formed."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
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
GITLAB_STACK = ROOT / "recipes" / "gitlab" / "stack.yml"
ACTIONLINT = go_programs.GoProgram("actionlint", "actionlint", "github.com/rhysd/actionlint/cmd/actionlint")


def read(name: str) -> dict[str, Any]:
    (file,) = [file for file in WORKFLOWS if file.stem == name]
    workflow = yaml.safe_load(file.read_text())
    # YAML 1.1 takes the key `on` for true
    return {("on" if key is True else key): value for key, value in workflow.items()}


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """The workflows in a repository that has copied them: they call each other by that path."""
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    for file in WORKFLOWS:
        shutil.copy(file, folder)
    return folder


@pytest.mark.slow
def test_actionlint_finds_nothing_in_the_workflows(copies: Path, tmp_path: Path) -> None:
    go_programs.build((ACTIONLINT,), paths(), lambda program: None, lambda text: None)
    program = str(paths().bin / ACTIONLINT.name)
    command = [program, "-no-color", "-shellcheck=", "-pyflakes=", *map(str, copies.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


# What zizmor finds and is meant to be so: rule, file, why.
EXPLAINED = {
    ("dangerous-triggers", "gate-comment"): "it runs nothing of the change and fetches none of its code",
    ("concurrency-limits", "deploy"): "a group would end a deployment that waits, or hold up the next",
}
EXPLAINED_EVERYWHERE = {
    "anonymous-definition": "a job is called by its key, which other places read",
    "self-repository": "actionlint and GitHub Enterprise Server know the older spelling alone",
}


def test_zizmor_finds_nothing_in_the_workflows_but_what_is_explained(copies: Path) -> None:
    """At its strictest, and without asking GitHub anything."""
    command = [
        str(Path(sys.executable).with_name("zizmor")), "--offline", "--no-progress", "--no-config", "--quiet",
        "--persona", "auditor", "--format", "json", "--strict-collection", str(copies),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    findings = {
        (finding["ident"], Path(place["symbolic"]["key"]["Local"]["verbatim_path"]).stem)
        for finding in json.loads(done.stdout)
        for place in finding["locations"]
    }
    assert {each for each in findings if each[0] not in EXPLAINED_EVERYWHERE} == set(EXPLAINED), done.stderr
    assert set(EXPLAINED_EVERYWHERE) <= {rule for rule, _ in findings}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_every_action_is_pinned_to_a_whole_commit_and_says_its_version(file: Path) -> None:
    for line in file.read_text().splitlines():
        if (match := re.search(r"\buses: (\S+)(.*)", line)) and not match[1].startswith("./"):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", match[1]), line
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", match[2]), line


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_no_step_pastes_a_value_into_its_script(file: Path) -> None:
    for step in steps(read(file.stem)):
        assert "${{" not in step.get("run", ""), step


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_every_workflow_says_its_permissions_and_no_checkout_keeps_the_token(file: Path) -> None:
    workflow = read(file.stem)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_the_judge_has_nothing_to_lose() -> None:
    workflow = read("gate")
    assert set(workflow["on"]) == {"pull_request"}
    assert workflow["permissions"] == {"contents": "read"}
    text = (RECIPES / "gate.yml").read_text()
    assert "secrets." not in text
    assert "github.token" not in text
    assert not any("permissions" in job or "environment" in job for job in workflow["jobs"].values())


def test_the_commenting_job_comes_from_the_protected_branch_and_fetches_nothing_of_the_change() -> None:
    workflow = read("gate-comment")
    assert set(workflow["on"]) == {"workflow_run"}
    assert workflow["on"]["workflow_run"]["workflows"] == [read("gate")["name"]]
    (checkout,) = [step for step in steps(workflow) if "uses" in step]
    assert checkout["with"]["ref"] == "${{ github.event.repository.default_branch }}"
    assert set(workflow["jobs"]["comment"]["permissions"]) == {"contents", "actions", "pull-requests", "statuses"}
    assert workflow["jobs"]["comment"]["permissions"]["contents"] == "read"


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


def on_stacks(name: str) -> dict[str, dict[str, Any]]:
    """The jobs of a workflow that run a command on a stack."""
    return {key: job for key, job in read(name)["jobs"].items() if job.get("uses", "").endswith("/stack.yml")}


def test_reading_workflows_never_run_in_an_environment_that_may_write() -> None:
    for name in ("preview", "nightly", "deploy"):
        assert on_stacks(name)
        for job in on_stacks(name).values():
            if name != "deploy" or job["with"]["command"] != "up":
                assert job["with"]["environment"].endswith("-read")
                assert job["with"]["command"] != "up"


def test_what_is_deployed_comes_from_one_list_and_in_its_order_after_a_preview_of_all() -> None:
    for name in ("preview", "nightly", "deploy"):
        assert read(name)["jobs"]["stacks"]["uses"] == "./.github/workflows/stacks.yml"
        for job in on_stacks(name).values():
            assert "needs.stacks.outputs.all" in json.dumps(job)
    jobs = on_stacks("deploy")
    assert jobs.pop("preview")["needs"] == "stacks"
    before = "preview"
    for place, (key, job) in enumerate(jobs.items()):
        assert job["with"]["stack"] == f"${{{{ fromJSON(needs.stacks.outputs.all)[{place}].stack }}}}"
        assert job["with"]["environment"] == job["with"]["stack"]
        assert job["with"]["command"] == "up"
        assert job["needs"] == ["stacks", before]
        assert job.get("if", "${{ needs.stacks.outputs.count > 0 }}").endswith(f"count > {place} }}}}")
        before = key
    room = read("deploy")["jobs"]["room"]
    assert room["if"] == f"${{{{ needs.stacks.outputs.count > {len(jobs)} }}}}"


def test_nothing_ends_a_deployment_that_waits_and_no_other_workflow_shares_a_group_with_it() -> None:
    stack = read("stack")
    assert "concurrency" not in read("deploy") | stack
    assert not any("concurrency" in job for job in (*read("deploy")["jobs"].values(), *stack["jobs"].values()))
    for file in (GITLAB, GITLAB_STACK):
        workflow = yaml.safe_load(file.read_text())
        assert workflow["workflow"]["auto_cancel"] == {"on_new_commit": "interruptible"}
        assert {name for name, job in workflow.items() if isinstance(job, dict) and job.get("interruptible")} <= {
            "gate",
            "owner",
        }


def test_a_deployment_is_held_against_the_protected_branch_after_its_approval_and_credentials_come_last() -> None:
    names = [step["name"] for step in steps(read("stack"))]
    first = next(place for place, name in enumerate(names) if name.startswith("Credentials"))
    assert names[first - 2 : first] == ["The protected branch, for its policies", "Still the newest commit"]
    assert [name.split()[0] for name in names[first:]] == [
        "Credentials", "Credentials", "Credentials", "Preview", "Up", "Drift", "Policies",
    ]  # fmt: skip
    text = (RECIPES / "stack.yml").read_text()
    assert "secrets." not in text
    assert "github.token" not in text


def test_the_token_that_may_write_is_in_the_one_step_that_comments() -> None:
    for file in WORKFLOWS:
        holders = [step["name"] for step in steps(read(file.stem)) if "github.token" in json.dumps(step)]
        assert holders == (["Comment"] if file.stem == "gate-comment" else [])
    assert "GITHUB_TOKEN" not in json.dumps({**read("gate-comment"), "jobs": None})


def test_pipelines_install_the_engine_of_the_tool_chain_and_the_sdk_is_not_newer() -> None:
    (install,) = [step for step in steps(read("stack")) if step.get("uses", "").startswith("pulumi/actions@")]
    engine = install["with"]["pulumi-version"]
    required = (ROOT / "lab/toolchain/gomodules/pulumi/go.mod").read_text()
    assert engine == pulumi_release.VERSION
    assert f"require github.com/pulumi/pulumi/pkg/v3 v{engine}\n" in required
    assert Version(metadata.version("pulumi")) <= Version(engine)


def test_on_gitlab_only_the_schedule_of_the_protected_branch_reaches_the_token() -> None:
    workflow = yaml.safe_load(GITLAB.read_text())
    assert "EBBTIDE_GATE_TOKEN" not in GITLAB.read_text().replace("# ", "")
    (rule,) = workflow["comment"]["rules"]
    assert 'CI_PIPELINE_SOURCE == "schedule"' in rule["if"]
    assert 'CI_COMMIT_REF_PROTECTED == "true"' in rule["if"]
    for name, job in workflow.items():
        if "rules" in job and name not in ("gate", "owner"):
            assert all('CI_COMMIT_REF_PROTECTED == "true"' in rule["if"] for rule in job["rules"]), name
    environment = workflow["comment"]["environment"]  # what the token is scoped to
    assert [name for name, job in workflow.items() if "environment" in job] == ["comment"]
    assert environment == {"name": "gate-comment", "action": "access"}
    assert "id_tokens" not in GITLAB.read_text()


def test_on_gitlab_each_stack_gets_its_jobs_in_the_order_of_the_list_and_only_up_may_write() -> None:
    pipeline = runpy.run_path(str(GITLAB.with_name("stacks.py")))["pipeline"]
    listed = json.loads((ROOT / "stacks" / "deployments.json").read_text())["stacks"]
    names = [each["stack"] for each in listed]
    jobs = yaml.safe_load(GITLAB_STACK.read_text())
    for what, kinds in (("deploy", ("preview", "up")), ("preview", ("preview",)), ("nightly", ("nightly",))):
        workflow = pipeline(listed, what)
        assert workflow.pop("include") == [{"local": "recipes/gitlab/stack.yml"}]
        assert workflow.pop("stages") == list(kinds)
        assert set(workflow) == {f"{kind} {name}" for kind in kinds for name in names}
        for name, job in workflow.items():
            assert job["extends"] in jobs
            assert job["stage"] in kinds
            writes = name.startswith("up ")
            assert job["environment"]["name"].endswith("-read") != writes
            assert (job.get("when"), job.get("allow_failure")) == (("manual", False) if writes else (None, None))
    workflow = pipeline(listed, "deploy")
    for before, name in zip([None, *names], names, strict=False):
        assert workflow[f"up {name}"]["needs"] == [f"preview {name}", *([f"up {before}"] if before else [])]
        assert workflow[f"up {name}"]["resource_group"] == name
