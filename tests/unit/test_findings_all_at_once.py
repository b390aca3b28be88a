"""Fifty things wrong in one stack file come out in one run, each once and at its own place."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.commands import plan
from infra.commands.options import PlanOptions
from infra.stackfile import ConfigError, load_file
from infra.stackfile.load import read_file
from infra.stackfile.yaml_source import read
from tests.program.bad_inputs import ON_AZURE, ON_GCP
from tests.unit.plan_kit import sections, write

GOOD = Path(__file__).parents[1] / "fixtures" / "stackfile" / "Pulumi.good.yaml"
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
    findings = [(finding.path, finding.code) for finding in refused.value.findings]
    assert len(EXPECTED) == 50
    assert len(findings) == len(set(findings)), "one of them is said twice"
    assert set(findings) == EXPECTED


def test_a_plan_shows_the_same_fifty_and_ends_with_status_one(broken: Path) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = plan.run(PlanOptions(stack="broken", config_file=str(broken), format="json", graph=False))
    shown = {(finding["path"], finding["code"]) for finding in json.loads(out.getvalue())["findings"]}
    assert status == 1
    assert shown >= EXPECTED


STACKS = Path(__file__).parents[2] / "stacks"
PLACES = sorted(file.name for file in STACKS.glob("Pulumi.*.yaml"))


def _leaves(value: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all settings that hold no further ones."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*at, key))
    else:
        yield at


def _findings(stack: Any, folder: Path) -> set[tuple[str, str]]:
    file = folder / "Pulumi.one.yaml"
    file.write_text(yaml.safe_dump(stack, sort_keys=False))
    try:
        return {(finding.path, finding.code) for finding in load_file(file).warnings}
    except ConfigError as refused:
        return {(finding.path, finding.code) for finding in refused.findings}


def _set(stack: Any, path: tuple[str, ...], value: Any) -> Any:
    changed = copy.deepcopy(stack)
    here = changed["config"]["ebbtide:platform"]
    for key in path[:-1]:
        here = here.setdefault(key, {})
    here[path[-1]] = value
    return changed


@pytest.mark.parametrize("name", PLACES)
def test_one_wrong_setting_of_a_place_brings_no_finding_about_another(name: str, tmp_path: Path) -> None:
    stack: Any = read(STACKS / name).value
    before = _findings(stack, tmp_path)
    for path in [*_leaves(stack["config"]["ebbtide:platform"]), ("no", "such"), ("cluster", "noSuch")]:
        if path == ("kind",):
            continue  # of an unknown kind nothing else can be said
        findings = _findings(_set(stack, path, {"not": "this"}), tmp_path) - before
        assert findings, path
        assert {where.split(".")[1] for where, _ in findings} == {path[0]}, (path, findings)


@pytest.mark.parametrize("name", [name for name in PLACES if "-" in name])
def test_a_wrong_setting_of_a_place_does_not_hide_an_open_network(name: str, tmp_path: Path) -> None:
    stack: Any = read(STACKS / name).value
    stack = _set(stack, ("cluster", "apiAllowedNetworks"), ["0.0.0.0/0"])
    for wrong in [("ingress", "certificate"), ("cluster", "version"), ("network", "zones"), ("clustre",)]:
        findings = _findings(_set(stack, wrong, {"not": "this"}), tmp_path)
        assert ("platform.cluster.apiAllowedNetworks[0]", "EBB039") in findings, wrong


def test_a_machine_not_sold_in_the_region_is_told_beside_a_missing_certificate(tmp_path: Path) -> None:
    stack: Any = read(STACKS / "Pulumi.azure-prod.yaml").value
    stack = _set(stack, ("region",), "westcentralus")
    del stack["config"]["ebbtide:platform"]["ingress"]["certificate"]
    findings = _findings(stack, tmp_path)
    assert ("platform.ingress.certificate", "EBB040") in findings
    assert ("pools.gpu-1xa100.machine", "EBB005") in findings


def test_an_engine_by_tag_alone_and_below_the_floor_is_told_both(tmp_path: Path) -> None:
    stack: Any = read(STACKS / "Pulumi.aws-prod.yaml").value
    stack["config"]["ebbtide:image"] = {"base": "docker.io/vllm/vllm-openai:v0.18.0"}
    assert {code for where, code in _findings(stack, tmp_path) if where == "image.base"} == {"EBB041", "EBB053"}


@pytest.mark.parametrize("cloud", [{}, ON_AZURE, ON_GCP], ids=["aws", "azure", "gcp"])
@pytest.mark.parametrize("disk", [("10Gi", 1, "1Mi"), ("10Gi", 90_000, "9000Mi")], ids=["too slow", "too fast"])
def test_the_size_and_both_speeds_of_a_disk_are_told_together(
    tmp_path: Path, cloud: dict[str, Any], disk: tuple[str, int, str]
) -> None:
    keys = ("size", "iops", "throughput")
    document = sections({**cloud, "pools.one.disk": dict(zip(keys, disk, strict=True))})
    paths = {finding.path for finding in read_file(write(tmp_path, document)).findings}
    assert paths >= {f"pools.one.disk.{key}" for key in keys}
