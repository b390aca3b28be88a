"""What the gate can vouch for by itself, and what needs a code owner, on a real repository with real commits."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.gate import judge_process, owner
from infra.gate.changed_files import ChangedFiles
from infra.gate.file_kinds import Kind, kind_of
from infra.gate.stack_file_diff import ABSENT, diff_values
from infra.planner.judgement import Judgement, judge_with_records
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.load import read_file, read_values
from infra.stackfile.reading import Reading
from tests.policies.test_red_team import ROOT, STACK, by_digest, clone, edit, git, judged, program, protected

__all__ = ["clone", "protected"]  # fixtures
STACK_FILE = f"stacks/Pulumi.{STACK}.yaml"
WAIVER: dict[str, Any] = {
    "rule": "idle-ttl",
    "resource": "stack:models.llama-8b",
    "owner": "anna",
    "reason": "a workshop of two days",
}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("stacks/Pulumi.aws-prod.yaml", Kind.DATA),
        ("stacks/models/acme.yaml", Kind.DATA),
        ("stacks/models/acme.json", Kind.PROGRAM),
        ("stacks/measured/acme-h100.yaml", Kind.PROGRAM),
        ("stacks/templates/own.jinja", Kind.DATA),
        ("stacks/templates/own.py", Kind.PROGRAM),
        ("stacks/templates/deeper/own.jinja", Kind.PROGRAM),
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
        ("docs/CODEOWNERS", Kind.PROGRAM),
        ("docs/examples/CODEOWNERS", Kind.INERT),
        ("recipes/gitlab/stack.yml", Kind.PROGRAM),
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
    document = json.loads(text)
    assert (status, document["verdict"], document["ownerFor"]) == (0, "pass", [])
    assert {"path": "guard.whenFull", "before": "'wait'", "after": "'refuse'"} in document["stackFile"]


def test_a_changed_chat_template_is_told_and_needs_an_owner(clone: Path, tmp_path: Path) -> None:
    template = clone / "stacks" / "templates" / "own.jinja"
    template.parent.mkdir(exist_ok=True)
    template.write_text("{{ messages[0].content }}")
    edit(
        clone / STACK_FILE,
        lambda document: next(iter(document["config"]["ebbtide:models"].values())).update(
            chatTemplate="templates/own.jinja"
        ),
    )
    status, text = judged(clone, tmp_path)
    assert status == 3
    assert any("chatTemplate" in reason for reason in json.loads(text)["ownerFor"])
    template.write_text("Say nothing. {{ messages[0].content }}")
    status, text = judged(clone, tmp_path, base="HEAD~1")
    document = json.loads(text)
    assert (status, document["verdict"], document["blockedBy"]) == (3, "owner", [])
    assert document["ownerFor"] == [
        "it changes what a model reads around every request, which no rule can judge: stacks/templates/own.jinja"
    ]
    assert {each["name"].rpartition("-")[2] for each in document["changes"]} >= {"template", "deployment"}
    template.write_text("{{ messages[0].content")
    status, text = judged(clone, tmp_path, base="HEAD~1")
    assert (status, json.loads(text)["verdict"]) == (1, "block")
    assert "EBB148" in text


@pytest.mark.parametrize("file", ["infra/program/serving.py", "locks/dev.txt", "new.py"])
def test_a_program_that_is_edited_needs_an_owner_even_if_its_graph_is_the_same(
    file: str, clone: Path, tmp_path: Path
) -> None:
    path = clone / file
    path.parent.mkdir(exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + "\n# a comment\n")
    status, text = judged(clone, tmp_path)
    document = json.loads(text)
    assert (status, document["verdict"], document["blockedBy"]) == (3, "owner", [])
    assert document["beyondStackFile"] == []
    assert file in document["ownerFor"][0]


def test_what_the_program_changes_is_told_apart_from_what_the_stack_file_asks_for(clone: Path, tmp_path: Path) -> None:
    by_digest(clone)
    program(
        clone,
        "import pulumi\n"
        "pulumi.CustomResource('kubernetes:core/v1:ConfigMap', 'extra', {'metadata': {'name': 'extra'}, 'data': {}})",
    )
    keys = clone / "components" / "gateway" / "config.py"
    assert 'digests[key.name].lower(), "group"' in keys.read_text()
    keys.write_text(keys.read_text().replace('digests[key.name].lower(), "group"', '"f" * 64, "group"'))
    status, text = judged(clone, tmp_path)
    document = json.loads(text)
    assert status == 3
    beyond = {each["name"]: (each["action"], each["paths"]) for each in document["beyondStackFile"]}
    hidden = 'stringData["keys.json"].keys[0].sha256 (changed, hidden)'
    assert beyond == {"extra": ("created", []), "gateway-keys": ("updated", [hidden])}
    assert {change["name"] for change in document["changes"]} > {"extra", "gateway-keys"}
    assert "f" * 64 not in text
    shown = judged(clone, tmp_path, "md")[1]
    assert "**2 resources differ by the program itself**" in shown
    assert hidden in shown


def test_a_new_waiver_needs_an_owner_and_one_less_does_not(clone: Path, tmp_path: Path) -> None:
    (clone / "waivers.yaml").write_text(yaml.safe_dump({"waivers": [{**WAIVER, "expiry": date(2026, 12, 1)}]}))
    status, text = judged(clone, tmp_path)
    assert (status, json.loads(text)["blockedBy"]) == (3, [])
    assert "it waives idle-ttl for stack:models.llama-8b until 2026-12-01" in json.loads(text)["ownerFor"][0]


@pytest.mark.parametrize(
    "widened",
    [{}, {"expiry": date(2027, 6, 1)}, {"resource": "stack:models.*"}, {"rule": "cooldown"}, {"owner": "someone"}],
)
def test_a_waiver_that_becomes_another_needs_an_owner(widened: dict[str, Any]) -> None:
    before = Waiver(**{**WAIVER, "expiry": date(2026, 12, 1)})
    assert len(list(owner.of_change(ChangedFiles(()), [before], [replace(before, **widened)]))) == bool(widened)
    assert list(owner.of_change(ChangedFiles(()), [before], [])) == []


def test_another_environment_needs_an_owner(clone: Path, tmp_path: Path) -> None:
    edit(clone / STACK_FILE, lambda document: document["config"].update({"ebbtide:environment": "dev"}))
    status, text = judged(clone, tmp_path)
    document = json.loads(text)
    assert status in (1, 3)
    assert "it turns the environment from prod to dev" in " ".join(document["ownerFor"])


def widen_a_group(config: Any) -> None:
    config["gateway"]["groups"]["everyone"] = {"models": ["*"], "wake": ["*"]}


def widen_limits(config: Any) -> None:
    for group in config["gateway"]["groups"].values():
        group["requestsPerMinute"] = 99_999


def add_a_key(config: Any) -> None:
    config["gateway"]["keys"]["mine"] = {"group": next(iter(config["gateway"]["groups"]))}


def change_a_hash(config: Any) -> None:
    config["gateway"]["keys"] = {"given": {"group": "team", "sha256": "b" * 64}}


def raise_the_quota(config: Any) -> None:
    config["guard"]["maxGpus"] = 7


@pytest.mark.parametrize("change", [widen_a_group, widen_limits, add_a_key, change_a_hash, raise_the_quota])
def test_who_may_do_what_is_told_by_name(change: Callable[[Any], None]) -> None:
    """In the graph these values are hidden in a Secret; the stack file has their names."""
    values = yaml.safe_load((ROOT / STACK_FILE).read_text())["config"]
    before = {key.removeprefix("ebbtide:"): value for key, value in values.items()}
    before["gateway"]["keys"]["given"] = {"group": "team", "sha256": "a" * 64}
    after = copy.deepcopy(before)
    change(after)
    changes = diff_values(Reading(file="x", values=before), Reading(file="x", values=after))
    assert changes
    assert all(each.path.startswith(("gateway.groups.", "gateway.keys.", "guard.maxGpus")) for each in changes)
    assert all(each.before != each.after for each in changes)


@pytest.mark.parametrize(
    ("gone", "path"),
    [
        (lambda config: config["models"].pop("llama-8b"), "models.llama-8b.id"),
        (lambda config: config["models"].update(other=config["models"].pop("llama-8b")), "models.llama-8b.pool"),
        (lambda config: config["models"]["llama-8b"].pop("aliases"), "models.llama-8b.aliases"),
        (lambda config: config["gateway"]["groups"].pop("team"), "gateway.groups.team.models"),
        (lambda config: config["gateway"]["keys"].pop("given"), "gateway.keys.given.group"),
    ],
    ids=["a model", "a model's name", "its other names", "a group", "a key"],
)
def test_what_clients_use_and_goes_is_told_by_name(gone: Callable[[Any], None], path: str) -> None:
    values = yaml.safe_load((ROOT / STACK_FILE).read_text())["config"]
    before = {key.removeprefix("ebbtide:"): value for key, value in values.items()}
    before["models"]["llama-8b"]["aliases"] = ["llama"]
    before["gateway"]["groups"]["team"] = {"models": ["llama-8b"]}
    before["gateway"]["keys"]["given"] = {"group": "team"}
    after = copy.deepcopy(before)
    gone(after)
    changes = {
        each.path: each for each in diff_values(Reading(file="x", values=before), Reading(file="x", values=after))
    }
    assert changes[path].after == ABSENT
    assert changes[path].before != ABSENT


def test_another_ciphertext_is_told_and_no_value_of_it() -> None:
    before, after = ({"gateway": {"password": {"secure": f"v1:{text}:abc"}}} for text in ("one", "two"))
    (change,) = diff_values(Reading(file="x", values=before), Reading(file="x", values=after))
    assert (change.before, change.after) == ("encrypted", "another encrypted value")


def another_stack(clone: Path, name: str) -> None:
    shutil.copyfile(clone / STACK_FILE, clone / "stacks" / f"Pulumi.{name}.yaml")


def test_a_stack_that_is_new_is_judged_without_being_named(clone: Path, tmp_path: Path) -> None:
    another_stack(clone, "second")
    judged(clone, tmp_path, stacks=())
    document = json.loads((tmp_path / "reports" / "gate.json").read_text())
    assert set(document["stacks"]) == {"second"}
    assert (tmp_path / "reports" / "second.md").is_file()


def test_an_edited_program_is_judged_for_every_stack_that_a_pipeline_deploys(clone: Path, tmp_path: Path) -> None:
    listed = {"stacks": [{"stack": STACK, "cloud": "existing"}]}
    (clone / "stacks" / "deployments.json").write_text(json.dumps(listed))
    git(clone, "commit", "-qam", "deployed")
    git(clone, "branch", "deployed")
    (clone / "new.py").touch()
    assert judged(clone, tmp_path, base="deployed", stacks=())[0] == 3
    assert set(json.loads((tmp_path / "reports" / "gate.json").read_text())["stacks"]) == {STACK}


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
    edit(clone / STACK_FILE, lambda document: document["config"]["ebbtide:guard"].update(colour="green"))
    status, text = judged(clone, tmp_path)
    document = json.loads(text)
    assert (document["problem"], document["blockedBy"], status) == ("", [], 3)
    assert "merge the program first and the stack file in a change of its own" in " ".join(document["ownerFor"])
    # without the schema it is a mistake like any other
    git(clone, "checkout", "-q", "origin/main", "--", "infra")
    assert judged(clone, tmp_path)[0] == 1


@pytest.mark.parametrize("at", ["guard", "gateway", "platform", "models.llama-8b", "pools"])
def test_a_key_of_the_changes_own_schema_is_a_mistake_unless_its_program_changes_too(at: str) -> None:
    def colour(config: Any) -> None:
        for step in at.split("."):
            config = config[step]
        (next(iter(config.values())) if at == "pools" else config)["colour"] = "green"

    reasons = of_values(colour)
    assert reasons.stops
    with_program = judge_process._without_unknown_keys(reasons)
    assert with_program is not None
    assert not any(finding.stops for finding in with_program.findings)
    (reason,) = owner.of_stack(of_values(), with_program, ["infra/stackfile/schema/stack.py"])
    assert "colour; to have them judged, merge the program first" in reason
    assert list(owner.of_stack(of_values(), reasons, ())) == []


def of_values(change: Callable[[Any], None] = lambda config: None) -> Judgement:
    values = yaml.safe_load((ROOT / STACK_FILE).read_text())["config"]
    config = {key.removeprefix("ebbtide:"): value for key, value in values.items()}
    change(config)
    return judge_with_records(read_values(config, "x"), ROOT / "stacks")


def flag(config: Any, *arguments: str) -> None:
    next(iter(config["models"].values()))["extraArgs"] = list(arguments)


@pytest.mark.parametrize(
    "arguments",
    [("--seed-of-mine=3",), ("--tool-parser-pl=x",), ("--hf-overrides", "{}"), ("--chat_template=/cache/x.jinja",)],
)
def test_what_no_rule_knows_of_the_engine_needs_an_owner_once(arguments: tuple[str, ...]) -> None:
    reasons = of_values(lambda config: flag(config, *arguments))
    assert len(list(owner.of_stack(of_values(), reasons, ()))) >= 1
    assert list(owner.of_stack(reasons, reasons, ())) == []


def test_a_known_flag_needs_nobody() -> None:
    assert list(owner.of_stack(of_values(), of_values(lambda config: flag(config, "--seed=3")), ())) == []


def test_another_cluster_replaces_all_that_stands_on_this_one(clone: Path, tmp_path: Path) -> None:
    edit(clone / STACK_FILE, lambda document: document["config"]["ebbtide:platform"].update(context="another"))
    status, text = judged(clone, tmp_path)
    document = json.loads(text)
    replaced = [change for change in document["changes"] if change["action"] == "replaced"]
    assert len(replaced) > 20
    assert status == 1


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (("dev", "prod"), ("dev",), "look after any more: prod"),
        (("dev", "prod"), (), "look after any more: dev, prod"),
        (("dev", "prod"), ("prod", "dev"), "changes the order in which pipelines deploy, to prod, dev"),
        (("dev", "prod"), ("dev", "new", "prod"), ""),
        (("dev",), ("dev",), ""),
    ],
)
def test_a_stack_that_leaves_the_list_of_deployments_needs_an_owner(
    before: tuple[str, ...], after: tuple[str, ...], words: str
) -> None:
    files = ChangedFiles(("stacks/deployments.json",), deployed_before=before, deployed_after=after)
    why = " ".join(owner.of_change(files, [], []))
    assert bool(why) == bool(words)
    assert words in why


def outside(**more: Any) -> Callable[[Any], None]:
    return lambda document: document.update(more)


@pytest.mark.parametrize(
    "change",
    [
        outside(environment=["evil/env"]),
        outside(secretsprovider="base64key://AAAA"),
        outside(encryptionsalt="v1:abc"),
        lambda document: document["config"].update({"docker-build:host": "tcp://203.0.113.9:2375"}),
        lambda document: document["config"].update({"random:pluginDownloadURL": "https://evil.example.com"}),
        lambda document: document["config"].update({"pulumi:disable-default-providers": ["*"]}),
        lambda document: document["config"]["ebbtide:platform"].update(kubeconfig="../docs/k/config.md"),
        lambda document: document["config"]["ebbtide:platform"]["modelStore"].update(claim="mallorys"),
        lambda document: next(iter(document["config"]["ebbtide:models"].values())).update(allowPickle=True),
    ],
    ids=["environment", "secrets", "salt", "docker", "download", "providers", "kubeconfig", "claim", "pickle"],
)
def test_values_that_no_rule_can_judge_need_an_owner(change: Callable[[Any], None], tmp_path: Path) -> None:
    file = tmp_path / "stacks" / f"Pulumi.{STACK}.yaml"
    file.parent.mkdir()
    document = yaml.safe_load((ROOT / STACK_FILE).read_text())
    before = read_file(ROOT / STACK_FILE)
    change(document)
    file.write_text(yaml.safe_dump(document))
    why = list(owner.of_values(diff_values(before, read_file(file))))
    assert len(why) == 1, why
