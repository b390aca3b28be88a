"""What the gate refuses or does not read, whatever a code owner says, on a real repository with real commits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.gate import judge_process, sandbox
from infra.gate.changed_files import ChangedFiles
from infra.gate.checkout import copy_working_tree, extract
from infra.gate.deployments import WrongDeployments, deployed
from infra.gate.secret_scan import new_secrets
from infra.gate.stack_file_diff import diff_values
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.findings.waivers import Waivers
from infra.stackfile.load import read_file
from tests.policies.test_gate_owner import STACK_FILE, another_stack
from tests.policies.test_red_team import ROOT, STACK, by_digest, clone, edit, git, judged, protected

__all__ = ["clone", "protected"]  # fixtures


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


@pytest.mark.parametrize("harm", [link_a_component, link_the_stack_file, link_to_the_machine, add_a_submodule])
def test_a_checkout_tells_of_links_and_submodules(harm: Callable[[Path], None], clone: Path, tmp_path: Path) -> None:
    harm(clone)
    if harm is not add_a_submodule:
        git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "harm")
    assert len(extract(clone, "HEAD", tmp_path / "tree").refused) == 1
    assert extract(clone, "origin/main", tmp_path / "base").refused == ()


def test_a_link_in_the_working_tree_is_refused_and_one_among_the_docs_left_out(clone: Path, tmp_path: Path) -> None:
    link_a_component(clone)
    (clone / "docs").mkdir(exist_ok=True)
    (clone / "docs" / "passwd").symlink_to("/etc/passwd")
    assert copy_working_tree(clone, tmp_path / "tree").refused == ("components/gateway",)
    assert not (tmp_path / "tree" / "docs" / "passwd").exists()


def test_a_link_blocks_and_nothing_of_the_change_is_run(clone: Path, tmp_path: Path) -> None:
    link_a_component(clone)
    status, text = judged(clone, tmp_path)
    report = json.loads(text)
    assert status == 1
    assert "components/gateway is a link or a submodule; fix: put the files in its place" in report["blockedBy"]
    assert "links or submodules" in report["problem"]


@pytest.mark.parametrize("gone", ["components/idle_scaling", "infra/program"])
def test_a_folder_that_is_gone_is_not_taken_from_somewhere_else(gone: str, clone: Path, tmp_path: Path) -> None:
    shutil.rmtree(clone / gone)
    status, text = judged(clone, tmp_path)
    report = json.loads(text)
    assert status == 1
    assert report["blockedBy"][0] == "the program of this change, which gives no graph"
    assert "ModuleNotFoundError" in report["problem"] or "does not fit" in report["problem"]


def request(folder: Path) -> judge_process.Request:
    return judge_process.Request(
        trusted=folder, base=folder, head=folder, commits=("a", "b"), refused=(), stacks=(), budget=None,
        today=date(2026, 11, 21), unconfined=False, out=folder, notes=(),
    )  # fmt: skip


def test_a_program_is_not_run_where_it_cannot_be_shut_in(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_process, "why_not_confined", lambda: "no bubblewrap")
    recorded = judge_process.Programs(request(clone), edited=True, folder=tmp_path / "runs").record(STACK, False, True)
    assert recorded.after.graph is None
    assert "apt-get install bubblewrap" in recorded.after.problem
    assert recorded.expected.graph, "the base's own program is trusted"


def test_a_touched_stack_that_is_not_among_those_named_blocks(clone: Path, tmp_path: Path) -> None:
    another_stack(clone, "second")
    by_digest(clone)
    status, text = judged(clone, tmp_path)
    assert status == 1
    assert json.loads(text)["blockedBy"] == [
        "stacks/Pulumi.second.yaml changes and is not judged; fix: name it too, or leave --stack out"
    ]


@pytest.mark.parametrize("name", ["with space", "gate", "-x", "ünï"])
def test_a_stack_file_whose_name_no_stack_can_have_blocks(name: str, tmp_path: Path) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / f"Pulumi.{name}.yaml").touch()
    files = ChangedFiles((f"stacks/Pulumi.{name}.yaml",), (name,))
    whole = judge_process.whole_change(request(tmp_path), files, (name,), Waivers())
    assert "has a name that no stack can have" in whole.blocked[0]


@pytest.mark.parametrize("text", ["{", '{"stacks": [{}]}', '{"stacks": [{"stack": "../x"}]}', "[]", "[" * 99_999])
def test_a_list_of_deployments_that_cannot_be_read_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "deployments.json").write_text(text)
    with pytest.raises(WrongDeployments, match=r"stacks/deployments\.json: cannot be read; allowed: "):
        deployed(tmp_path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"stacks": []}', "lists no stack"),
        ('{"stacks": [{"stack": "a", "cloud": "x"}, {"stack": "a", "cloud": "x"}]}', "lists a more than once"),
        ('{"stacks": [{"stack": "b", "cloud": "x"}]}', "lists b, which has no stack file"),
        ('{"stacks": [{"stack": "a", "cloud": "x", "if": 1}]}', "has a key that nobody reads, 'if'"),
        ('{"stack": 1, "stacks": [{"stack": "a", "cloud": "x"}]}', "has a key that nobody reads, 'stack'"),
    ],
)
def test_a_list_of_deployments_that_no_pipeline_could_mean_is_refused(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "Pulumi.a.yaml").touch()
    (tmp_path / "stacks" / "deployments.json").write_text(text)
    with pytest.raises(WrongDeployments, match=why):
        deployed(tmp_path)


def test_a_change_whose_list_of_deployments_cannot_be_read_blocks(clone: Path, tmp_path: Path) -> None:
    (clone / "stacks" / "deployments.json").write_text("{")
    status, _ = judged(clone, tmp_path)
    assert (status, json.loads((tmp_path / "reports" / "gate.json").read_text())["verdict"]) == (1, "block")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (STACK_FILE, "# {token}\n"),
        ("docs/note.md", "the token is {token}\n"),
        ("tests/data.txt", "x\n\nHF = '{token}'\n"),
        ("stacks/models/x.yaml", 'a: "{token}"\n'),
        ("infra/new.py", "KEY = '{token}'\n"),
    ],
)
def test_a_secret_that_a_change_brings_in_blocks_wherever_it_stands(
    file: str, text: str, clone: Path, tmp_path: Path
) -> None:
    token = "hf_" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9"
    path = clone / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + text.format(token=token))
    secrets = list(new_secrets(ROOT if file == STACK_FILE else clone / "nothing", clone, [file]))
    assert [each.path for each in secrets] == [file]
    if file == "docs/note.md":
        status, _ = judged(clone, tmp_path)
        written = [report.read_text() for report in (tmp_path / "reports").iterdir()]
        assert status == 1
        assert all(token not in report for report in written)
        assert any("docs/note.md:1: holds a secret in clear" in report for report in written)


def test_a_secret_that_was_there_before_is_not_this_changes_fault(tmp_path: Path) -> None:
    token = "hf_" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9"
    for side, more in (("base", ""), ("head", "and more\n")):
        (tmp_path / side).mkdir()
        (tmp_path / side / "x.md").write_text(f"{token}\n{more}")
    assert list(new_secrets(tmp_path / "base", tmp_path / "head", ["x.md"])) == []


def test_a_secret_is_lifted_by_a_waiver_that_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "docs.md").write_text("hf_" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9")
    asked = replace(request(tmp_path), base=tmp_path / "nothing")
    files = ChangedFiles(("docs.md",))
    lifted = Waiver(
        rule="clear-text-secret", resource="file:docs.md", owner="a", reason="made up", expiry=date(2026, 12, 1)
    )
    assert len(judge_process.whole_change(asked, files, (), Waivers()).blocked) == 1
    assert judge_process.whole_change(asked, files, (), Waivers((lifted,))).blocked == ()
    ended = replace(lifted, expiry=date(2026, 11, 1))
    assert len(judge_process.whole_change(asked, files, (), Waivers((ended,))).blocked) == 1


def test_a_working_tree_leaves_out_what_its_user_always_ignores(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home" / ".config" / "git").mkdir(parents=True)
    (tmp_path / "home" / ".config" / "git" / "ignore").write_text(".DS_Store\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (clone / ".DS_Store").touch()
    copy_working_tree(clone, tmp_path / "tree")
    assert not (tmp_path / "tree" / ".DS_Store").exists()


def test_no_kubeconfig_is_opened_for_a_recording(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its `exec` would run whatever it names."""
    marker = tmp_path / "ran"
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "gpu-cluster",
        "contexts": [{"name": "gpu-cluster", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "/usr/bin/touch", "args": [str(marker)],
            "interactiveMode": "Never"}}}],
    }  # fmt: skip
    file = clone / "stacks" / "models" / "k.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(config))

    def point_at_it(document: Any) -> None:
        document["config"]["ebbtide:platform"]["kubeconfig"] = str(file)
        pool = next(iter(document["config"]["ebbtide:pools"].values()))
        pool.pop("nodes", None)
        pool["nodeLabels"] = {"team": "ai"}

    edit(clone / STACK_FILE, point_at_it)
    status, _ = judged(clone, tmp_path)
    assert status != 0
    assert not marker.exists()


@pytest.mark.parametrize(
    "text",
    [
        "waivers: [",
        "waivers: [{rule: public-listener, resource: gateway-service, owner: m, reason: because it is so, "
        "expiry: 2028-06-01}]",
        "waivers: [{rule: not-a-rule, resource: gateway-service, owner: m, reason: because it is so, "
        "expiry: 2026-12-01}]",
        "waivers: []\n---\nwaivers: []\n",
    ],
)
def test_waivers_that_cannot_be_used_block_even_where_nothing_else_changes(text: str, tmp_path: Path) -> None:
    (tmp_path / "waivers.yaml").write_text(text)
    whole = judge_process.whole_change(request(tmp_path), ChangedFiles(("waivers.yaml",)), (), Waivers())
    assert whole.blocked


@pytest.mark.parametrize(
    "text", ["", "config: {}", "[", "a: 1\n---\nb: 2\n", "config:\n  ebbtide:models: !!binary x\n"]
)
def test_a_stack_file_that_cannot_be_read_is_still_reported(text: str, clone: Path, tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(text)
    assert diff_values(read_file(ROOT / STACK_FILE), read_file(file))
    assert diff_values(None, read_file(file)) == ()


def test_a_refused_stack_file_is_reported_without_the_way_round_the_planner(clone: Path, tmp_path: Path) -> None:
    """The recorder turns the planner's errors into warnings, whose text has the variable that does so."""

    def refused_twice(document: Any) -> None:
        document["config"]["ebbtide:guard"]["whenFull"] = "never"
        next(iter(document["config"]["ebbtide:models"].values()))["maxTokens"] = 131_072

    edit(clone / STACK_FILE, refused_twice)
    status, text = judged(clone, tmp_path)
    printed = json.loads(text)
    assert status == 1
    assert printed["problem"].startswith("the stack file is refused:\n")
    assert "guard.whenFull" in printed["problem"]
    assert any("EBB027 error" in finding["text"] for finding in printed["findings"])
    for report in (tmp_path / "reports").iterdir():
        assert "EBBTIDE_SKIP_PLANNER" not in report.read_text(), report.name


# What holds without bubblewrap too: nothing of a stranger's is run, and no run has a home of its own.


def recording(tree: Path, program: str) -> None:
    """Make a tree whose recorder is ``program``."""
    (tree / "infra" / "gate").mkdir(parents=True)
    body = "\n".join(f"    {line}" for line in program.splitlines())
    (tree / "infra" / "gate" / "record_process.py").write_text(f"import json, os, sys\ndef main():\n{body}\n")


WITHOUT_SHELTER = {
    "no user namespaces": "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1",
    "an older bubblewrap": "echo 'bwrap: Unknown option --disable-userns' >&2; exit 1",
    "one that runs all in the open": 'exec "$@"',
    "one that ends at once": "exit 0",
}


@pytest.mark.parametrize("script", WITHOUT_SHELTER.values(), ids=WITHOUT_SHELTER)
def test_where_nothing_shuts_in_the_program_of_a_change_is_not_run(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, head, ran, bwrap = (tmp_path / name for name in ("base", "head", "ran", "bwrap"))
    for tree, program in ((base, ""), (head, f"open({str(ran)!r}, 'w').close()")):
        recording(tree, "import infra.own")
        (tree / "infra" / "own.py").write_text(program)
    bwrap.write_text(f"#!/bin/sh\n{script}\n")
    bwrap.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(bwrap))
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda *command: [str(bwrap)])
    monkeypatch.setattr(judge_process, "why_not_confined", sandbox.why_not_confined.__wrapped__)
    asked = replace(request(base), head=head)
    recorded = judge_process.Programs(asked, edited=True, folder=tmp_path / "runs").record("any", False, True)
    assert recorded.after.graph is None
    assert "this machine cannot shut the program of the change in" in recorded.after.problem
    assert not ran.exists()
    open_program = replace(asked, unconfined=True)
    judge_process.Programs(open_program, edited=True, folder=tmp_path / "open").record("any", False, True)
    assert ran.exists(), "a program that is run leaves its mark"


@pytest.mark.parametrize("path", ["~", "~/.kube/config", "$HOME", "${HOME}/.kube/config"])
def test_a_home_is_the_same_in_every_run_so_that_no_path_below_it_differs(path: str, tmp_path: Path) -> None:
    """Else each report on a cluster that is there would tell of another kubeconfig."""
    entry = f"{{'urn': 'a', 'type': 'b', 'name': os.path.expanduser(os.path.expandvars({path!r}))}}"
    recording(
        tmp_path,
        f"with open(int(sys.argv[3]), 'wb') as file:\n    file.write(json.dumps({{'graph': [{entry}]}}).encode())",
    )
    first, second = (sandbox.record(tmp_path, "any", confined=False) for _ in range(2))
    assert first.graph == second.graph, first.problem
    assert first.graph
