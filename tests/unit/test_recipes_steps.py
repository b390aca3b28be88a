"""The shell steps of the pipelines, run as they stand there, with stand-ins for what they call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
INSTALL = "Install Ebbtide from the protected branch"
SETUP = """#!/bin/sh
echo "setup $0 $*" >> "$LOG"
cd "$(dirname "$0")/.."
mkdir -p .venv/bin
cp fake-ebbtide .venv/bin/ebbtide
chmod +x .venv/bin/ebbtide
"""
EBBTIDE = """#!/bin/sh
echo "gate WHOSE $*" >> "$LOG"
while [ $# -gt 0 ]; do case "$1" in --reports) out=$2 ;; esac; shift; done
[ "$GATE" = 2 ] && exit 2
mkdir -p "$out"
echo "verdict" > "$out/gate.md"
echo "report" > "$out/good.md"
exit "$GATE"
"""


def script(file: str, job: str, name: str) -> tuple[str, str]:
    """A step's script, and its folder."""
    recipe = yaml.safe_load((ROOT / "recipes" / "github" / f"{file}.yml").read_text())
    (step,) = [step for step in recipe["jobs"][job]["steps"] if step.get("name") == name]
    assert recipe["defaults"] == {"run": {"shell": "bash"}}
    return step["run"], step.get("working-directory", ".")


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def bash(text: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    # what GitHub makes of `shell: bash`
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text],
        cwd=folder, env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), **env},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.email=a@example.com", "-c", "user.name=a", "-c", "core.hooksPath=/dev/null"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def forge(tmp_path: Path) -> Path:
    """A repository whose protected branch has a set-up and a gate, and a change that edits both."""
    folder = tmp_path / "forge"
    program_files(folder, "protected")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "base")
    git(folder, "checkout", "-q", "-b", "change")
    program_files(folder, "stranger")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "change")
    git(folder, "checkout", "-q", "main")
    git(folder, "merge", "-q", "--no-ff", "-m", "merge", "change")
    git(folder, "branch", "-q", "merge")
    return folder


def program_files(folder: Path, whose: str) -> None:
    (folder / "scripts").mkdir(parents=True, exist_ok=True)
    program(folder / "scripts", "setup.sh", SETUP + f'echo "set up by {whose}" >> "$LOG"\n')
    program(folder, "fake-ebbtide", EBBTIDE.replace("WHOSE", whose))
    (folder / "stacks").mkdir(exist_ok=True)
    deployed = [{"stack": "good", "cloud": "aws"}, {"stack": "other", "cloud": "aws"}]
    if whose == "stranger":
        deployed += [{"stack": "new", "cloud": "gcp"}, {"stack": "odd", "cloud": "; touch pwned"}]
    (folder / "stacks" / "deployments.json").write_text(json.dumps({"stacks": deployed}))


class Judging:
    """The judging job up to the upload."""

    def __init__(self, forge: Path, tmp_path: Path, ref: str = "merge") -> None:
        self.room = tmp_path / "workspace"
        self.room.mkdir()
        self.log, self.summary, self.output = tmp_path / "log", tmp_path / "summary", tmp_path / "output"
        program(tmp_path / "bin", "sudo", '#!/bin/sh\necho "sudo $*" >> "$LOG"\nexit 1\n')
        self.path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        git(tmp_path, "clone", "-q", "--depth=2", "--branch", ref, f"file://{forge}", str(self.room / "change"))

    def run(self, gate: int) -> subprocess.CompletedProcess[str]:
        """With a gate that ends by this status."""
        env = {"GATE": str(gate), "LOG": str(self.log), "GITHUB_STEP_SUMMARY": str(self.summary),
               "GITHUB_OUTPUT": str(self.output), "PATH": self.path}  # fmt: skip
        names = (
            "The protected branch",
            "Let the program be shut in",
            "Install Ebbtide from the protected branch",
            "Judge",
        )
        for name in names:
            text, folder = script("gate", "judge", name)
            done = bash(text, self.room / folder, env)
            if done.returncode:
                return done
        return done


def test_the_judge_runs_the_protected_branchs_gate_on_the_merge_and_nothing_of_the_change(
    forge: Path, tmp_path: Path
) -> None:
    job = Judging(forge, tmp_path)
    done = job.run(0)
    assert done.returncode == 0, done.stderr
    log = job.log.read_text()
    assert "stranger" not in log
    assert "setup scripts/setup.sh aws gcp\n" in log
    base, head = git(forge, "rev-parse", "merge^1"), git(forge, "rev-parse", "merge")
    assert f"gate protected gate --base {base} --head {head} --reports ../report\n" in log
    assert log.count("gate protected") == 1
    assert job.summary.read_text() == "verdict\n"
    assert sorted(path.name for path in (job.room / "report").iterdir()) == ["gate.md", "good.md"]


def test_a_runner_that_keeps_its_workspace_judges_again_and_shows_no_earlier_report(
    forge: Path, tmp_path: Path
) -> None:
    job = Judging(forge, tmp_path)
    assert job.run(0).returncode == 0
    git(job.room / "change", "clean", "-q", "-ffdx")  # what the checkout does
    again = job.run(2)  # a gate that leaves no report
    assert again.returncode == 2, again.stderr
    assert not (job.room / "report").exists()


def owner(tmp_path: Path, status: str) -> int:
    """The second job, which knows what the first has left as its output."""
    return bash(script("gate", "owner", "Needs an owner")[0], tmp_path, {"STATUS": status}).returncode


@pytest.mark.parametrize(
    ("gate", "judged", "owned"), [(0, 0, 0), (1, 1, 1), (2, 2, 1), (3, 0, 1), (77, 77, 1), (137, 137, 1)]
)
def test_no_status_of_the_gate_but_0_leaves_both_jobs_green(
    forge: Path, tmp_path: Path, gate: int, judged: int, owned: int
) -> None:
    job = Judging(forge, tmp_path)
    assert job.run(gate).returncode == judged
    (line,) = job.output.read_text().splitlines()
    assert owner(tmp_path, line.removeprefix("status=")) == owned


def test_a_judge_that_left_no_status_does_not_pass_for_one_that_said_0(tmp_path: Path) -> None:
    assert owner(tmp_path, "") == 1


def test_a_machine_that_cannot_install_the_sandbox_leaves_it_to_the_gate_to_refuse(forge: Path, tmp_path: Path) -> None:
    text = script("gate", "judge", "Let the program be shut in")[0]
    job = Judging(forge, tmp_path)
    for name in ("sudo", "bash"):
        program(tmp_path / "bare", name, f'#!/bin/sh\necho "{name} $*" >> "$LOG"\nexit 1\n')
    done = subprocess.run(
        ["/bin/bash", "-eo", "pipefail", "-c", text], cwd=job.room, check=False, capture_output=True, text=True,
        env={"PATH": str(tmp_path / "bare"), "LOG": str(job.log)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "::warning::bubblewrap could not be installed" in done.stdout
    assert "sudo -n sysctl -q -w kernel.apparmor_restrict_unprivileged_userns=0" in job.log.read_text()


def test_what_is_no_merge_of_a_pull_request_is_not_judged(forge: Path, tmp_path: Path) -> None:
    job = Judging(forge, tmp_path, ref="change")
    done = job.run(0)
    assert done.returncode == 1
    assert "not the merge" in done.stdout


def read_stacks(folder: Path, document: object) -> tuple[int, dict[str, str]]:
    (folder / "stacks").mkdir()
    (folder / "stacks" / "deployments.json").write_text(json.dumps(document))
    for name in ("aws-dev", "aws-prod", "a"):
        (folder / "stacks" / f"Pulumi.{name}.yaml").touch()
    output = folder / "output"
    done = bash(script("stacks", "stacks", "Read")[0], folder, {"GITHUB_OUTPUT": str(output)})
    assert done.returncode == 0 or "error: stacks/deployments.json: " in done.stderr
    return done.returncode, dict(line.split("=", 1) for line in output.read_text().splitlines())


def test_the_stacks_and_their_order_come_from_one_file(tmp_path: Path) -> None:
    shipped = json.loads((ROOT / "stacks" / "deployments.json").read_text())
    code, outputs = read_stacks(tmp_path, shipped)
    assert code == 0
    assert json.loads(outputs["all"]) == shipped["stacks"]
    assert outputs["count"] == str(len(shipped["stacks"]))
    done = bash("python3 -m recipes.gitlab.stacks deploy", ROOT, {})
    assert [name for name in json.loads(done.stdout) if name.startswith("up ")] == [
        f"up {each['stack']}" for each in shipped["stacks"]
    ]


A = {"stack": "a", "cloud": "aws"}


@pytest.mark.parametrize(
    "stacks",
    [
        [], [{"stack": "a\nall=b", "cloud": "aws"}], [{"stack": "-a", "cloud": "aws"}], [{**A, "cloud": "moon"}],
        [A, A], [A, {"stack": "b", "cloud": "aws"}], [{**A, "region": "x"}],
    ],
)  # fmt: skip
def test_a_list_of_stacks_that_is_none_deploys_nothing(tmp_path: Path, stacks: list[object]) -> None:
    assert read_stacks(tmp_path, {"stacks": stacks}) == (1, {})


PULUMI = """#!/bin/sh
echo "pulumi $*" >> "$LOG"
case "$1" in
up) {up} ;;
preview) {preview} ;;
stack) [ "$2" = export ] && cp "$EXPORT" "$6" ;;
esac
exit 0
"""
LOCKED = (
    "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end or cancel.\\n"
    "  s3://state/.pulumi/locks/x.json: created by anna@laptop (pid 7) at 2026-11-21T10:00:00+01:00"
)


class OnAStack:
    """A step of the job that has credentials."""

    def __init__(self, tmp_path: Path, up: str = "true", preview: str = "true", export: Any = None) -> None:
        self.log, self.summary = tmp_path / "log", tmp_path / "summary"
        program(tmp_path / "bin", "pulumi", PULUMI.format(up=up, preview=preview))
        program(tmp_path / "bin", "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (tmp_path / "export.json").write_text(json.dumps(export or {"deployment": {"resources": []}}))
        self.env = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "LOG": str(self.log), "RUNNER_TEMP": str(tmp_path),
            "GITHUB_STEP_SUMMARY": str(self.summary), "STACK": "aws-prod", "EXPORT": str(tmp_path / "export.json"),
        }  # fmt: skip

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        return bash(script("stack", "stack", name)[0], ROOT, self.env)


def test_up_takes_the_policies_of_the_protected_branch_and_asks_nobody(tmp_path: Path) -> None:
    stack = OnAStack(tmp_path)
    assert stack.run("Up").returncode == 0
    assert "up --stack aws-prod --policy-pack .protected/infra/policies --yes" in stack.log.read_text()


def test_up_on_a_locked_stack_fails_and_says_whose_lock_it_is_and_how_old(tmp_path: Path) -> None:
    stack = OnAStack(tmp_path, up=f"printf '{LOCKED}'; exit 255")
    done = stack.run("Up")
    assert done.returncode == 255
    assert "locked by anna@laptop (process 7) since 2026-11-21T10:00:00+01:00, " in stack.summary.read_text()


def test_an_up_that_fails_fails_the_job_though_its_output_is_kept(tmp_path: Path) -> None:
    stack = OnAStack(tmp_path, up="echo policy violation; exit 1")
    done = stack.run("Up")
    assert done.returncode == 1
    assert "policy violation" in done.stdout


@pytest.mark.parametrize(("preview", "code"), [("echo '+ ```pod'", 0), ("echo '+ ```pod'; exit 7", 7)])
def test_a_preview_stands_in_the_summary_as_text_and_fails_as_it_failed(
    tmp_path: Path, preview: str, code: int
) -> None:
    stack = OnAStack(tmp_path, preview=preview)
    assert stack.run("Preview").returncode == code
    assert stack.summary.read_text() == "### Preview of aws-prod\n\n    + ```pod\n"
    assert "--policy-pack .protected/infra/policies" in stack.log.read_text()


@pytest.mark.parametrize("moved", [False, True])
def test_a_commit_that_is_no_longer_the_newest_is_not_deployed(forge: Path, tmp_path: Path, moved: bool) -> None:
    """However late its run was approved: the checkout of the protected branch is made after that."""
    room = tmp_path / "workspace"
    room.mkdir()
    git(room, "clone", "-q", "--branch", "main", f"file://{forge}", ".protected")
    sha = git(forge, "rev-parse", "main^1" if moved else "main")
    done = bash(script("stack", "stack", "Still the newest commit")[0], room, {"GITHUB_SHA": sha})
    assert done.returncode == int(moved)
    assert ("Approve that commit's run" in done.stdout) == moved


@pytest.mark.parametrize(("preview", "code"), [("true", 0), ("exit 1", 1)])
def test_drift_fails_the_night_and_says_of_which_stack(tmp_path: Path, preview: str, code: int) -> None:
    stack = OnAStack(tmp_path, preview=preview)
    done = stack.run("Drift")
    assert done.returncode == code
    assert ("aws-prod is not what its stack file says" in done.stdout) == bool(code)
    assert "--refresh --expect-no-changes" in stack.log.read_text()


def test_policies_on_what_there_is_fail_by_a_resource_that_somebody_changed_by_hand(tmp_path: Path) -> None:
    secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "abc"}
    pod = {"containers": [{"name": "x", "image": "example.com/x:latest", "env": [{"name": "A", "value": secret}]}]}
    deployment = {
        "urn": "urn:pulumi:aws-prod::ebbtide::kubernetes:apps/v1:Deployment::by-hand", "custom": True,
        "type": "kubernetes:apps/v1:Deployment",
        "inputs": {"metadata": {"name": "x", "namespace": "y"}, "spec": {"template": {"spec": pod}}},
    }  # fmt: skip
    stack = OnAStack(tmp_path, export={"version": 3, "deployment": {"resources": [deployment]}})
    done = stack.run("Policies on what there is")
    assert done.returncode == 1, done.stderr
    assert "mandatory  image-digest  " in done.stdout
    assert "by-hand" in done.stdout
    assert "ciphertext" not in done.stdout
    assert "not evaluated" in done.stdout or "passed over 1 resources" in done.stdout


# GitLab's own steps


def gitlab(file: str, job: str) -> str:
    return "\n".join(gitlab_job(file, job)["script"])


def gitlab_job(file: str, job: str) -> dict[str, Any]:
    recipe = yaml.safe_load((ROOT / "recipes" / "gitlab" / f"{file}.yml").read_text())
    return dict(recipe[job])


@pytest.mark.parametrize(("gate", "judged"), [(0, 0), (1, 1), (2, 2), (3, 0), (77, 77)])
def test_on_gitlab_no_status_of_the_gate_but_0_leaves_both_jobs_green(
    forge: Path, tmp_path: Path, gate: int, judged: int
) -> None:
    git(forge, "checkout", "-q", "-B", "main", "merge^1")
    room, log = tmp_path / "builds" / "project", tmp_path / "log"
    git(tmp_path, "clone", "-q", "--branch", "change", f"file://{forge}", str(room))
    (room / "report").mkdir()
    for name in ("status", "forged.md"):
        (room / "report" / name).write_text("0")  # the change's own
    env = {
        "GATE": str(gate), "LOG": str(log), "CI_PROJECT_ID": "1", "CI_MERGE_REQUEST_PROJECT_ID": "1",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "CI_COMMIT_SHA": git(forge, "rev-parse", "change"),
        "CI_BUILDS_DIR": str(tmp_path / "builds"), "CI_JOB_ID": "5", "CI_PROJECT_DIR": str(room),
    }  # fmt: skip
    done = bash(gitlab("ebbtide", "gate"), room, env)
    assert done.returncode == judged, done.stderr
    assert "setup scripts/setup.sh aws gcp\n" in log.read_text()
    assert "stranger" not in log.read_text()
    assert bash(gitlab("ebbtide", "owner"), room, env).returncode == (0 if gate == 0 else 1)
    assert not (room / "report" / "forged.md").exists()
    bash("\n".join(gitlab_job("ebbtide", "gate")["after_script"]), room, env)
    assert [path.name for path in (tmp_path / "builds").iterdir()] == ["project"]


def test_on_gitlab_a_runner_that_keeps_the_clone_has_the_protected_branch_for_every_job(
    forge: Path, tmp_path: Path
) -> None:
    room = tmp_path / "project"
    git(tmp_path, "clone", "-q", "--branch", "main", f"file://{forge}", str(room))
    steps = "\n".join(step for step in gitlab_job("stack", ".stack")["before_script"] if step.startswith("git "))
    for _ in range(2):
        git(room, "clean", "-q", "-ffdx")  # what the runner does before each job
        done = bash(steps, room, {"CI_DEFAULT_BRANCH": "main"})
        assert done.returncode == 0, done.stderr
        assert git(room / ".protected", "rev-parse", "HEAD") == git(forge, "rev-parse", "main")


@pytest.mark.parametrize("moved", [False, True])
def test_on_gitlab_a_commit_that_is_no_longer_the_newest_is_not_deployed(
    forge: Path, tmp_path: Path, moved: bool
) -> None:
    stack = OnAStack(tmp_path)
    room = tmp_path / "workspace"
    room.mkdir()
    git(room, "clone", "-q", "--branch", "main", f"file://{forge}", ".protected")
    sha = git(forge, "rev-parse", "main^1" if moved else "main")
    env = {**stack.env, "CI_COMMIT_SHA": sha, "CI_DEFAULT_BRANCH": "main"}
    done = bash(gitlab("stack", ".up"), room, env)
    assert done.returncode == int(moved)
    assert stack.log.exists() != moved  # pulumi was not even started
