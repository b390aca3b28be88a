"""A pull request whose author is not on our side: what the gate does, on a real repository with real commits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.gate.checkout import extract
from infra.gate.command import Options, gate

ROOT = Path(__file__).resolve().parents[2]
STACK = "onprem"
MODEL = "Qwen/Qwen2.5-7B-Instruct"  # of the catalogue and not gated, so that no finding is the model's
COMMIT = "a09a35458c702b33eeacc393d103063234e8bc28"
TOKEN = "ghs-very-secret-4711"
ENVIRON = {**os.environ, "GITHUB_TOKEN": TOKEN}


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.email=a@example.com", "-c", "user.name=a", "-c", "core.hooksPath=/dev/null"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project as it lies here, as the protected branch of a repository of its own."""
    folder = tmp_path_factory.mktemp("protected")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    file = folder / "stacks" / f"Pulumi.{STACK}.yaml"
    stack = yaml.safe_load(file.read_text())
    for model in stack["config"]["ebbtide:models"].values():
        model.update(id=MODEL, revision=COMMIT, weights="15Gi")
        model.pop("licenceAccepted", None)
        model.pop("hubToken", None)
    file.write_text(yaml.safe_dump(stack, sort_keys=False))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "base")
    return folder


@pytest.fixture
def clone(protected: Path, tmp_path: Path) -> Path:
    """A clone to do harm in."""
    git(tmp_path, "clone", "-q", str(protected), "clone")
    return tmp_path / "clone"


def judged(
    clone: Path,
    tmp_path: Path,
    form: str = "json",
    commit: bool = True,
    base: str = "origin/main",
    stacks: tuple[str, ...] = (STACK,),
) -> tuple[int, str]:
    if commit:
        git(clone, "add", "-A")
        git(clone, "commit", "-q", "--allow-empty", "-m", "head")
    reports = tmp_path / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    options = Options(base=base, head="HEAD" if commit else None, stacks=stacks, reports=str(reports), unconfined=True)
    status = gate(options, repository=clone, environ=ENVIRON, today=date(2026, 11, 21))
    report = reports / f"{STACK}.{form}"
    return status, report.read_text() if report.exists() else ""


def edit(file: Path, change: Callable[[Any], None]) -> None:
    document = yaml.safe_load(file.read_text())
    change(document)
    file.write_text(yaml.safe_dump(document, sort_keys=False))


def program(clone: Path, lines: str) -> None:
    file = clone / "infra" / "__main__.py"
    file.write_text(file.read_text().replace("\nmain()\n", f"\n{lines}\nmain()\n"))


def by_digest(clone: Path) -> None:
    """A harmless change."""
    edit(
        clone / "stacks" / f"Pulumi.{STACK}.yaml",
        lambda document: document["config"]["ebbtide:guard"].update(whenFull="refuse"),
    )


def test_a_harmless_change_passes_and_costs_nothing(clone: Path, tmp_path: Path) -> None:
    by_digest(clone)
    status, text = judged(clone, tmp_path)
    document = json.loads(text)
    assert (document["blockedBy"], document["problem"]) == ([], "")
    assert status == 0
    assert document["cost"]["head"]["notCounted"][0] == "the cluster itself, which is there already"
    assert document["cost"]["base"] == document["cost"]["head"]


def test_a_program_that_tells_what_is_in_the_environment_has_nothing_to_tell(clone: Path, tmp_path: Path) -> None:
    program(
        clone,
        """
import os, sys, glob
import pulumi
told = dict(os.environ)
for file in glob.glob("/proc/*/environ"):
    try:
        told[file] = open(file, "rb").read().decode(errors="replace")
    except OSError:
        pass
print("stolen", told, file=sys.stderr)
print("stolen", told)
class Told(pulumi.CustomResource):
    def __init__(self):
        name = "told-" + "-".join(sorted(os.environ))
        super().__init__("kubernetes:core/v1:ConfigMap", name, {"data": dict(told)})
Told()
""",
    )
    os.environ["EBBTIDE_TEST_TOKEN"] = TOKEN
    try:
        _, text = judged(clone, tmp_path)
    finally:
        del os.environ["EBBTIDE_TEST_TOKEN"]
    assert TOKEN not in text
    assert "stolen" not in text
    assert "GITHUB_TOKEN" not in text
    assert "EBBTIDE_TEST_TOKEN" not in text
    assert any(change["name"].startswith("told-") for change in json.loads(text)["changes"])
    assert "it edits what is installed or run" in text


def test_an_edited_pack_edited_waivers_and_edited_prices_do_not_count_before_they_are_merged(
    clone: Path, tmp_path: Path
) -> None:
    edit(clone / "stacks" / f"Pulumi.{STACK}.yaml", lambda document: document["config"]["ebbtide:models"].update(
        {name: {**model, "idleTtl": "20m", "coldStart": "10m", "extraArgs": ["--middleware=mine.Middleware"]}
         for name, model in document["config"]["ebbtide:models"].items()}
    ))  # fmt: skip
    honest, before = judged(clone, tmp_path)
    supply = clone / "infra" / "policies" / "rules" / "supply.py"
    text = supply.read_text()
    assert "    for flag in _FLAGS:\n" in text
    supply.write_text(text.replace("    for flag in _FLAGS:\n", "    for flag in ():\n"))
    entry = {
        "rule": "no-remote-code", "resource": "*deployment*", "owner": "me", "expiry": date(2027, 1, 1),
        "reason": "because I would like to have it so",
    }  # fmt: skip
    (clone / "waivers.yaml").write_text(yaml.safe_dump({"waivers": [entry]}))
    for prices in (clone / "components" / "catalog" / "machines").glob("*.yaml"):
        prices.write_text(prices.read_text().replace("onDemand: {us-east-1: ", "onDemand: {us-east-1: 0.0"))
    (clone / "infra" / "gate" / "verdict.py").write_text("raise SystemExit(0)\n")
    status, text = judged(clone, tmp_path)
    assert (honest, status) == (1, 1)
    assert "rule no-remote-code" in json.loads(before)["blockedBy"]
    assert "rule no-remote-code" in json.loads(text)["blockedBy"]
    assert json.loads(text)["cost"] == json.loads(before)["cost"]
    assert json.loads(text)["waivers"] == []
    assert "it edits what is installed or run" in text


def test_an_edited_recorder_does_not_run(clone: Path, tmp_path: Path) -> None:
    """The graph that is judged is made by the base's recorder, whatever the change's own would say."""
    edit(clone / "stacks" / f"Pulumi.{STACK}.yaml", lambda document: document["config"]["ebbtide:models"].update(
        {name: {**model, "max": 3} for name, model in document["config"]["ebbtide:models"].items()}
    ))  # fmt: skip
    _, honest = judged(clone, tmp_path)
    recorder = clone / "infra" / "recorder" / "recorder.py"
    recorder.write_text(recorder.read_text() + "\n\ndef graph(records):\n    return []\n")
    (clone / "infra" / "recorder" / "run.py").write_text("raise SystemExit(0)\n")
    _, text = judged(clone, tmp_path)
    assert json.loads(honest)["changes"]
    assert json.loads(text)["changes"] == json.loads(honest)["changes"]
    assert "it edits what is installed or run" in text


def branches(document: Any) -> None:
    for model in document["config"]["ebbtide:models"].values():
        model["revision"] = "main"


def waive_branches(clone: Path, expiry: date = date(2027, 11, 1)) -> None:
    entry = {
        "rule": "pinned-revision", "resource": "*", "owner": "platform team", "expiry": expiry,
        "reason": "the vendor tags its commits from December on",
    }  # fmt: skip
    names = yaml.safe_load((clone / "stacks" / f"Pulumi.{STACK}.yaml").read_text())["config"]["ebbtide:models"]
    entries = [{**entry, "resource": f"*{name}*"} for name in names]
    (clone / "waivers.yaml").write_text(yaml.safe_dump({"waivers": entries}))


def test_a_waiver_of_the_changes_own_does_not_lift_what_the_loader_refuses(clone: Path, tmp_path: Path) -> None:
    waive_branches(clone)
    edit(clone / "stacks" / f"Pulumi.{STACK}.yaml", branches)
    status, text = judged(clone, tmp_path)
    document = json.loads(text)
    assert (status, document["waivers"]) == (1, [])
    # nor does the change's own program see it
    assert document["blockedBy"] == ["the program of this change, which gives no graph", "rule pinned-revision"]
    (rule,) = [rule for rule in document["rules"] if rule["id"] == "pinned-revision"]
    assert any("[EBB020]" in violation["message"] for violation in rule["violations"])


def test_a_waiver_of_the_protected_branch_lifts_it_even_where_the_change_takes_it_out(
    clone: Path, tmp_path: Path
) -> None:
    waive_branches(clone)
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "waivers")
    git(clone, "branch", "waived")
    edit(clone / "stacks" / f"Pulumi.{STACK}.yaml", branches)
    (clone / "waivers.yaml").write_text("waivers: []\n")
    status, text = judged(clone, tmp_path, base="waived")
    document = json.loads(text)
    assert (document["problem"], document["blockedBy"], status) == ("", [], 0)
    texts = [finding["text"] for finding in document["findings"] if "EBB020" in finding["text"]]
    assert texts
    assert all("(waived by platform team until 2027-11-01)" in text and "EBB020 warning" in text for text in texts)
    assert all(waiver["used"] for waiver in document["waivers"])


def test_a_base_whose_waiver_has_ended_can_be_mended_because_what_is_deployed_is_still_compared_with(
    clone: Path, tmp_path: Path
) -> None:
    file = clone / "stacks" / f"Pulumi.{STACK}.yaml"
    before = file.read_text()
    waive_branches(clone, date(2026, 3, 1))
    edit(file, branches)
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "a branch, while it was waived")
    git(clone, "branch", "ended")
    status, text = judged(clone, tmp_path, base="ended")
    assert (status, json.loads(text)["baseProblem"]) == (1, "")
    assert "(the waiver of platform team ended on 2026-03-01)" in text
    file.write_text(before)
    status, text = judged(clone, tmp_path, base="ended")
    assert (json.loads(text)["baseProblem"], json.loads(text)["blockedBy"], status) == ("", [], 0)


def test_a_base_that_gives_no_graph_does_not_let_a_deletion_through(clone: Path, tmp_path: Path) -> None:
    program(clone, "raise SystemExit(3)")
    git(clone, "commit", "-q", "-am", "broken")
    git(clone, "branch", "broken")
    git(clone, "checkout", "-q", "origin/main", "--", "infra")
    status, text = judged(clone, tmp_path, base="broken")
    document = json.loads(text)
    assert (status, document["blockedBy"]) == (1, ["rule deletion-approved"])
    assert "mend the base in a change of its own" in text


def rename_a_pool(document: Any) -> None:
    pools, models = document["config"]["ebbtide:pools"], document["config"]["ebbtide:models"]
    old = next(iter(pools))
    pools["renamed"] = pools.pop(old)
    for model in models.values():
        model["pool"] = "renamed" if model["pool"] == old else model["pool"]


def test_a_pool_under_another_name_is_seen_as_what_it_is_and_blocks(clone: Path, tmp_path: Path) -> None:
    edit(clone / "stacks" / f"Pulumi.{STACK}.yaml", rename_a_pool)
    status, text = judged(clone, tmp_path)
    document = json.loads(text)
    patches = [change for change in document["changes"] if change["type"].endswith("NodePatch")]
    assert [change["action"] for change in patches] == ["replaced"]
    assert (status, "findings in files of this change" in document["blockedBy"]) == (1, True)
    endings = [finding["text"].rpartition(" [")[2] for finding in document["findings"]]
    assert endings == ["EBB055 mandatory]"], document["findings"]


def test_a_pool_under_another_name_passes_under_a_waiver_for_it(clone: Path, tmp_path: Path) -> None:
    entry = {
        "rule": "EBB055", "resource": "*renamed*", "owner": "platform team", "expiry": date(2027, 11, 1),
        "reason": "nobody uses the models of this pool this week",
    }  # fmt: skip
    (clone / "waivers.yaml").write_text(yaml.safe_dump({"waivers": [entry]}))
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "waivers")
    git(clone, "branch", "waived")
    edit(clone / "stacks" / f"Pulumi.{STACK}.yaml", rename_a_pool)
    _, text = judged(clone, tmp_path, base="waived")
    document = json.loads(text)
    assert "findings in files of this change" not in document["blockedBy"]
    assert any("EBB055 warning" in finding["text"] for finding in document["findings"])
    assert all(waiver["used"] for waiver in document["waivers"])


def test_a_program_that_ends_itself_with_a_forged_verdict_gives_no_graph_and_is_blocked(
    clone: Path, tmp_path: Path
) -> None:
    program(clone, "import os, sys; sys.stdout.write('pass'); os._exit(0)")
    status, text = judged(clone, tmp_path)
    assert status == 1
    assert json.loads(text)["blockedBy"][0] == "the program of this change, which gives no graph"


def test_a_program_that_writes_into_the_repository_or_the_judge_changes_nothing(clone: Path, tmp_path: Path) -> None:
    program(
        clone,
        """
import glob, pathlib
top = "/tmp/ebbtide-gate-*/base"
for file in [*glob.glob(top + "/waivers.yaml"), *glob.glob(top + "/infra/gate/*.py")]:
    try:
        pathlib.Path(file).write_text("raise SystemExit(0)")
    except OSError:
        pass
""",
    )
    _, text = judged(clone, tmp_path)
    assert json.loads(text)["blockedBy"] == []
    assert json.loads(text)["waiverFindings"] == []


@pytest.mark.parametrize("base", ["--upload-pack=touch /tmp/x", "no-such-branch", "HEAD:infra"])
def test_a_base_that_is_no_commit_is_wrong_usage(clone: Path, base: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(Options(base=base), repository=clone, environ={}) == 2
    assert "is not a commit" in capsys.readouterr().err


def test_wrong_usage_says_what_is_allowed(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ({"stacks": ("../x",)}, {"form": "html"}, {"stacks": ("nothing",)}, {"budget": -1.0}):
        assert gate(Options(base="HEAD", **wrong), repository=clone, environ={}) == 2
    assert "allowed: text, md, json, sarif" in capsys.readouterr().err


def test_attributes_that_hide_or_rewrite_files_change_nothing_of_what_is_judged(clone: Path, tmp_path: Path) -> None:
    """`git archive` would leave out what the head's own attributes mark, and write the commit into others."""
    (clone / ".gitattributes").write_text(
        f"stacks/Pulumi.{STACK}.yaml export-ignore\ninfra/program/serving.py export-ignore\nPulumi.yaml export-subst\n"
    )
    (clone / "link").symlink_to("/etc/passwd")
    (clone / "run").write_text("#!/bin/sh\n")
    (clone / "run").chmod(0o755)
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "hide")
    tree = tmp_path / "tree"
    extract(clone, "HEAD", tree)
    for name in (f"stacks/Pulumi.{STACK}.yaml", "infra/program/serving.py", "Pulumi.yaml"):
        assert (tree / name).read_bytes() == (clone / name).read_bytes()
    assert not (tree / "link").exists()
    assert os.access(tree / "run", os.X_OK)
