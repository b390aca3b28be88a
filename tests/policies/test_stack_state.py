"""The rules over what an engine says a stack is: its export, made here out of the recorded graph."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra.gate import stack_state
from infra.stackfile.findings.waivers import Waivers
from scripts.shape_graphs import Entry
from tests.policies import shapes_kit as kit

pytest.importorskip("pulumi_aws")
DIGEST = "registry.example.com/ebbtide/image@sha256:" + "a" * 64
REFERENCE = re.compile(r"\$\{(?P<source>[^{}#]+)#(?P<path>[^{}]*)\}")


def _resolved(value: Any) -> Any:
    """A value as an engine has it: references become texts, and each mapping has a list of filled in defaults."""
    if isinstance(value, dict):
        return {**{key: _resolved(item) for key, item in value.items()}, "__defaults": []}
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    if not isinstance(value, str):
        return value
    return REFERENCE.sub(lambda match: DIGEST if match["path"] == "ref" else "resolved-1", value)


def _exported(entries: list[Entry]) -> dict[str, Any]:
    """What ``pulumi stack export`` says once these resources are there."""
    prefix = entries[0]["urn"].partition("::ebbtide::")[0]
    resources: list[dict[str, Any]] = [
        {"urn": f"{prefix}::ebbtide::pulumi:pulumi:Stack::x", "type": "pulumi:pulumi:Stack", "custom": False}
    ]
    for package in ("kubernetes", "random", "docker-build"):
        kind, version = f"pulumi:providers:{package}", {"version": "4.0.0", "__internal": {}}
        urn = f"{prefix}::ebbtide::{kind}::default_4_0_0"
        resources.append({"urn": urn, "type": kind, "custom": True, "inputs": version})
    for entry in entries:
        kept = {key: entry[key] for key in ("urn", "type", "custom", "parent", "protect", "ignoreChanges")}
        sources = {each["source"] for each in REFERENCE.finditer(json.dumps(entry["inputs"]))}
        kept["dependencies"] = sorted({*sources, *entry["dependsOn"]})
        # a component has no inputs in an export
        resources.append({**kept, "inputs": _resolved(entry["inputs"])} if entry["custom"] else kept)
    return {"version": 3, "deployment": {"resources": resources}}


def _run(entries: list[Entry], stack: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    file = folder / "export.json"
    file.write_text(json.dumps(_exported(entries)))
    monkeypatch.setattr("sys.argv", ["stack_state", stack, str(file)])
    monkeypatch.setattr(stack_state, "load_waivers", lambda *arguments: Waivers())
    return stack_state.main()


@pytest.mark.parametrize("stack", ["aws-prod", "onprem"])
def test_the_export_of_a_good_stack_breaks_no_rule(
    stack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status = _run(kit.graph(kit.index_of(stack)), stack, tmp_path, monkeypatch)
    broken = [line for line in capsys.readouterr().out.splitlines() if line.startswith("mandatory")]
    assert (broken, status) == ([], 0)


@pytest.mark.parametrize("field", ["hostNetwork", "shareProcessNamespace"])
def test_the_export_of_a_stack_with_a_bad_deployment_does(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = kit.graph(kit.index_of("onprem"))
    kit.find(entries, ":Deployment")["inputs"]["spec"]["template"]["spec"][field] = True
    assert _run(entries, "onprem", tmp_path, monkeypatch) == 1


@pytest.mark.parametrize("kept", [0, 4], ids=["no resource", "the engine's own"])
def test_a_state_without_resources_is_told_as_not_judged(
    kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = _exported(kit.graph(kit.index_of("onprem")))["deployment"]["resources"][:kept]
    monkeypatch.setattr(f"{__name__}._exported", lambda entries: {"version": 3, "deployment": {"resources": own}})
    assert _run([], "onprem", tmp_path, monkeypatch) == 1
    output = capsys.readouterr().out
    assert "nothing was judged: the stack's state has no resource; fix: " in output
    assert "passed" not in output


@pytest.mark.parametrize("deployment", [None, {}, {"manifest": {}}])
def test_an_export_of_a_stack_that_was_never_up_has_no_resource(deployment: dict[str, Any] | None) -> None:
    judgement = kit.judged(kit.index_of("onprem"))
    assert stack_state.graph({"version": 3, "deployment": deployment}, judgement).resources == ()
