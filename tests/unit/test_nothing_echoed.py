"""A secret that stands anywhere in a stack file is in no output of any command that reads the file. All are made up."""

from __future__ import annotations

import contextlib
import io
import json
from datetime import date
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.commands import doctor, fit, plan
from infra.commands.options import DoctorOptions, FitOptions, PlanOptions
from infra.gate.report import document as gate_document
from infra.gate.sandbox import Recorded
from infra.gate.verdict import Side, judge
from infra.lock import command as lock
from infra.planner.judgement import judge_with_records
from infra.recorder import command as graph
from infra.stackfile.findings.waivers import Waivers
from infra.stackfile.load import read_file
from tests.unit.doctor_kit import Simulated
from tests.unit.fuzz_kit import TREES, at, places, put

# Put together here, so that no scanner of this repository takes one for a real secret.
BODY = "Zq7kT3vX" * 5
TOKENS = (
    "hf" + "_" + BODY,
    "sk" + "-" + BODY.lower(),
    "AK" + "IA" + "Q7ZP" * 4,
    "gh" + "p_" + BODY,
    "gl" + "pat-" + BODY,
    "xox" + "b-" + "12345678901-" + BODY,
)
PARTS = (BODY, BODY.lower(), "Q7ZP" * 4)
PLAN_FORMATS = ("text", "md", "json", "html")
GATE_FORMATS = ("text", "md", "json", "sarif")


@st.composite
def leaking(draw: Any) -> tuple[str, str]:
    """A shipped stack file with a token somewhere in it, and the token."""
    token = draw(st.sampled_from(TOKENS))
    tree = draw(st.sampled_from(TREES))
    where = draw(st.sampled_from(places(tree)))
    how = draw(st.sampled_from(["value", "part", "key", "new key", "comment", "outside", "secure"]))
    if how == "outside":
        tree = {**tree, "owner": token}
    elif how == "secure":
        tree = put(tree, ("config",), {**tree["config"], "hub:token": {"secure": token}})
    elif how == "new key" and isinstance(at(tree, where), dict):
        tree = put(tree, where, {**at(tree, where), token: "x"})
    elif how == "key" and where and isinstance(at(tree, where[:-1]), dict):
        outer = at(tree, where[:-1])
        tree = put(tree, where[:-1], {(token if key == where[-1] else key): item for key, item in outer.items()})
    elif how == "part" and isinstance(at(tree, where), str):
        tree = put(tree, where, f"{at(tree, where)} {token}")
    elif how == "value" and where:
        tree = put(tree, where, token)
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=1000)
    return (text, token) if token in text else (f"{text}# the old one was {token}\n", token)


def shown(file: Path, stack: str = "x") -> str:
    """Everything that the commands show of a stack file."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        for form in PLAN_FORMATS:
            plan.run(PlanOptions(stack=stack, format=form, config_file=str(file), graph=False))  # type: ignore[arg-type]
        plan.run(PlanOptions(stack=stack, config_file=str(file), graph=False, against=str(file)))
        silent = Simulated(lambda request: httpx.Response(500)).tools()
        doctor.run(DoctorOptions(stack=stack, config_file=str(file)), silent)
        reading = read_file(file)
        if reading.stops:
            assert graph.show(stack, str(file), None) == 1
    judged = judge_with_records(reading, file.parent)
    side = Side("head", judged, Recorded([]))
    report = judge(stack, Side("base", None, Recorded([])), side, Waivers(), today=date.today())
    rendered = [gate_document.render(report, form, reading.secrets.texts) for form in GATE_FORMATS]
    return "\n".join([out.getvalue(), str(judged.findings), *rendered])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(leak=leaking())
def test_a_secret_anywhere_in_a_stack_file_is_in_no_output(tmp_path: Path, leak: tuple[str, str]) -> None:
    text, token = leak
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(text)
    output = shown(file)
    assert token not in output
    assert not any(part in output for part in PARTS)
    assert "EBB048" in output or "EBB049" in output


PLACES = {
    "a model's name": ("llama-8b:", f"{TOKENS[1]}:"),
    "a pool's name": ("gpu-1xl40s", TOKENS[1]),
    "an alias": ("maxTokens: 8192", f"maxTokens: 8192\n      aliases: [{TOKENS[1]}]"),
    "a key's name": ("first:", f"{TOKENS[1]}:"),
    "a group's name": ("everyone", TOKENS[1]),
    "a model's id": ("meta-llama/Llama-3.1-8B-Instruct", f"{TOKENS[1]}/x"),
    "an unknown key's name": ("maxTokens: 8192", f"maxTokens: 8192\n      {TOKENS[0]}: 1"),
    "a node's name": ("gpu-node-1", TOKENS[1]),
    "a comment": ("ebbtide:guard:", f"# {TOKENS[0]}\n  ebbtide:guard:"),
    "a key outside config": ("\nconfig:", f"\nabout: {TOKENS[0]}\nconfig:"),
    "under secure:": ("ebbtide:guard:", f"hub:token: {{secure: {TOKENS[0]}}}\n  ebbtide:guard:"),
}


@pytest.mark.parametrize("where", PLACES)
def test_a_secret_at_one_place_is_told_and_not_shown(tmp_path: Path, where: str) -> None:
    text = (Path(__file__).parents[2] / "stacks" / "Pulumi.onprem.yaml").read_text()
    old, new = PLACES[where]
    assert old in text
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(text.replace(old, new))
    output = shown(file)
    assert not any(part in output for part in PARTS)
    assert "EBB048" in output


def test_a_secret_in_the_name_of_a_file_is_not_shown(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "stacks" / "Pulumi.onprem.yaml").read_text()
    file = tmp_path / f"Pulumi.{TOKENS[0]}.yaml"
    file.write_text(text.replace("maxTokens: 8192", "maxToken: 8192"))
    records = tmp_path / "models"
    records.mkdir()
    (records / f"{TOKENS[3]}.yaml").write_text("[")
    output = shown(file, stack=TOKENS[0])
    assert not any(part in output for part in PARTS)
    assert "<redacted>" in output


def test_a_secret_typed_at_a_command_is_not_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plan.run(PlanOptions(stack=TOKENS[0]))
    plan.run(PlanOptions(stack="x", config_file=TOKENS[0]))
    fit.run(FitOptions(model=TOKENS[0]))
    (tmp_path / "images" / TOKENS[1]).mkdir(parents=True)
    (tmp_path / "images" / TOKENS[1] / "Dockerfile").write_text(f"ARG BASE=docker.io/x/{TOKENS[1]}:1\n")
    (tmp_path / "components/catalog").mkdir(parents=True)
    (tmp_path / "components/catalog/versions.yaml").write_text("")
    assert lock.run(lock.Options(check=True), tmp_path) == 1
    graph.show(TOKENS[0], None, None)
    output = "".join(capsys.readouterr())
    assert "<redacted>" in output
    assert not any(part in output for part in PARTS)


def test_a_model_folder_with_a_secret_in_it_is_planned_without_showing_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"architectures": [TOKENS[0]], "_name_or_path": TOKENS[0], "model_type": "llama", "hidden_size": 64}
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 99}
    (folder / "config.json").write_text(json.dumps({**config, **sizes, "torch_dtype": TOKENS[2]}))
    for form in get_args(FitOptions.__dataclass_fields__["format"].type) or ("text", "json"):
        fit.run(FitOptions(model=str(folder), gpu="L40S", format=form))
    assert not any(part in "".join(capsys.readouterr()) for part in PARTS)


@pytest.mark.parametrize("text", [f"config: {TOKENS[0]}\n", f"- {TOKENS[1]}\n", f"{TOKENS[0]}\n"])
def test_a_secret_in_a_file_that_is_no_stack_file_is_told_too(tmp_path: Path, text: str) -> None:
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(text)
    output = shown(file)
    assert not any(part in output for part in PARTS)
    assert "EBB048" in output
