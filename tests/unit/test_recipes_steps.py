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
while [ $# -gt 0 ]; do case "$1" in --out) out=$2 ;; --stack) stack=$2 ;; --head) head=$2 ;; esac; shift; done
echo "report of $stack" > "$out"
git archive "$head" | tar -t > "$LOG.seen"
case "$stack" in bad) exit 1 ;; wrong) exit 2 ;; esac
"""


def script(file: str, job: str, name: str) -> tuple[str, str]:
    """A step's script, and its folder."""
    told = yaml.safe_load((ROOT / "recipes" / "github" / f"{file}.yml").read_text())
    (step,) = [step for step in told["jobs"][job]["steps"] if step.get("name") == name]
    assert told["defaults"] == {"run": {"shell": "bash"}}
    return step["run"], step.get("working-directory", ".")


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def bash(text: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    # what GitHub makes of `shell: bash`
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text],
        cwd=folder, env={"PATH": os.environ["PATH"], "HOME": str(folder), **env},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.email=a@example.com", "-c", "user.name=a", "-c", "core.hooksPath=/dev/null"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def forge(tmp_path: Path) -> Path:
    """A repository whose protected branch has a set-up and a gate, and a change that edits both and hides a file."""
    folder = tmp_path / "forge"
    program_files(folder, "protected")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "base")
    git(folder, "checkout", "-q", "-b", "change")
    program_files(folder, "stranger")
    (folder / "hidden.py").write_text("")
    (folder / ".gitattributes").write_text("hidden.py export-ignore\n")
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


class Judging:
    """The judging job up to the upload."""

    def __init__(self, forge: Path, tmp_path: Path, ref: str = "merge") -> None:
        self.room = tmp_path / "workspace"
        self.room.mkdir()
        self.log, self.summary = tmp_path / "log", tmp_path / "summary"
        program(tmp_path / "bin", "sudo", '#!/bin/sh\necho "sudo $*" >> "$LOG"\nexit 1\n')
        self.path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        git(tmp_path, "clone", "-q", "--depth=2", "--branch", ref, f"file://{forge}", str(self.room / "change"))

    def run(self, stacks: str) -> subprocess.CompletedProcess[str]:
        env = {"STACKS": stacks, "CLOUDS": "aws gcp", "LOG": str(self.log), "GITHUB_STEP_SUMMARY": str(self.summary),
               "PATH": self.path}  # fmt: skip
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
    done = job.run("good")
    assert done.returncode == 0, done.stderr
    log = job.log.read_text()
    assert "stranger" not in log
    assert "setup scripts/setup.sh aws gcp" in log
    base, head = git(forge, "rev-parse", "merge^1"), git(forge, "rev-parse", "merge")
    assert f"gate protected gate --stack good --base {base} --head {head} --format md" in log
    assert job.summary.read_text() == "report of good\n"
    assert sorted(path.name for path in (job.room / "report").iterdir()) == ["good.json", "good.md", "good.sarif"]


def test_a_change_cannot_hide_a_file_from_the_gate_by_attributes(forge: Path, tmp_path: Path) -> None:
    job = Judging(forge, tmp_path)
    job.run("good")
    assert "hidden.py" in Path(f"{job.log}.seen").read_text().split()


@pytest.mark.parametrize(
    ("stacks", "code"), [("good bad", 1), ("bad good", 1), ("wrong bad good", 2), ("good good2", 0)]
)
def test_one_blocked_stack_blocks_and_the_others_are_judged_all_the_same(
    forge: Path, tmp_path: Path, stacks: str, code: int
) -> None:
    job = Judging(forge, tmp_path)
    assert job.run(stacks).returncode == code
    assert all((job.room / "report" / f"{stack}.md").exists() for stack in stacks.split())


def test_what_is_no_merge_of_a_pull_request_is_not_judged(forge: Path, tmp_path: Path) -> None:
    job = Judging(forge, tmp_path, ref="change")
    done = job.run("good")
    assert done.returncode == 1
    assert "not the merge" in done.stdout


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
