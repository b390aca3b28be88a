"""Fifty things wrong in one stack file come out in one run, each once and at its own place."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.config import ConfigError, load_file
from infra.preflight import command_plan

GOOD = Path(__file__).parents[1] / "fixtures" / "config" / "Pulumi.good.yaml"
# one wrong value for each of ten settings of a model, and the code it gets
WRONG: dict[str, tuple[Any, str]] = {
    "id": ("no hub id", "EBB018"),
    "revision": ("main", "EBB020"),
    "gpus": (0, "EBB001"),
    "max": (-1, "EBB111"),
    "min": (-1, "EBB007"),
    "idleTtl": (20, "EBB011"),
    "coldStart": ("-5m", "EBB011"),
    "maxTokens": (0, "EBB111"),
    "gpuMemoryUtilization": (1.5, "EBB032"),
    "idleTtll": ("20m", "EBB050"),
}
MODELS = [f"model-{letter}" for letter in "abcde"]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Five models of the good file, ten settings of each wrong."""
    stack = yaml.safe_load(GOOD.read_text())
    config = stack["config"]
    good = next(iter(config["ebbtide:models"].values()))
    good.pop("aliases", None)
    config["ebbtide:models"] = {name: {**good, **{key: value for key, (value, _) in WRONG.items()}} for name in MODELS}
    config["ebbtide:gateway"] = {}
    file = tmp_path / "Pulumi.broken.yaml"
    file.write_text(yaml.safe_dump(stack, sort_keys=False))
    return file


EXPECTED = {(f"models.{name}.{key}", code) for name in MODELS for key, (_, code) in WRONG.items()}


def test_fifty_wrong_values_are_fifty_findings_of_one_run(broken: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load_file(broken)
    found = [(finding.path, finding.code) for finding in refused.value.findings]
    assert len(EXPECTED) == 50
    assert len(found) == len(set(found)), "one of them is said twice"
    assert set(found) == EXPECTED


def test_a_plan_shows_the_same_fifty_and_ends_with_status_one(broken: Path) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = command_plan.run(command_plan.Wish("broken", str(broken), format="json", with_graph=False))
    shown = {(finding["path"], finding["code"]) for finding in json.loads(out.getvalue())["findings"]}
    assert status == 1
    assert shown >= EXPECTED
