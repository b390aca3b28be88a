"""One sum in every place where it is shown: the plan's text, page, Markdown and JSON, and the gate's report."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from infra.gate.report.document import render
from infra.gate.sandbox import Recorded
from infra.gate.verdict import Side, judge
from infra.planner.cost import month
from infra.planner.judgement import judge as judge_stack
from infra.planner.plan import plan_stack
from infra.planner.report import text as report_text
from infra.planner.report.document import document
from infra.planner.report.html import page
from infra.planner.report.tables import markdown
from infra.recorder.command import STACKS
from infra.recorder.stack_source import stack_names
from infra.stackfile.findings.waivers import Waivers
from infra.stackfile.load import load_file, read_file

Figures = Mapping[tuple[str, str, str], str]
"""Dollars as they are printed, by bound (floor, ceiling), per (hour, month) and part (all, GPU nodes)."""
BOUNDS, PERS, PARTS = ("floor", "ceiling"), ("hour", "month"), ("all", "GPU nodes")
PACKED = "aws-dev with three models of 3, 3 and 2 GPUs"


def _packed(folder: Path) -> Path:
    """On nodes of four GPUs the models of 3 and 3 leave no room for the one of 2: three nodes, not two."""
    file = yaml.safe_load((STACKS / "Pulumi.aws-dev.yaml").read_text())
    config = file["config"]
    (model,) = config["ebbtide:models"].values()
    awake = {"pool": "gpu-4xa10", "min": 1, "max": 1, "minReason": "the test asks them all day"}
    config["ebbtide:pools"] = {"gpu-4xa10": {"machine": "g5.12xlarge", "max": 4}}
    config["ebbtide:models"] = {
        f"model-{index}": model | awake | {"gpus": gpus} for index, gpus in enumerate((3, 3, 2))
    }
    config["ebbtide:guard"] = {"maxGpus": 16, "maxDollarsPerHour": 40}
    folder.mkdir(exist_ok=True)
    written = folder / "Pulumi.aws-dev.yaml"
    written.write_text(yaml.safe_dump(file))
    return written


@pytest.fixture(params=[*stack_names(STACKS), PACKED])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name = request.param
    return _packed(tmp_path / "stacks") if name == PACKED else STACKS / f"Pulumi.{name}.yaml"


def _name(file: Path) -> str:
    return file.name.removeprefix("Pulumi.").removesuffix(".yaml")


def planned(file: Path) -> dict[str, Any]:
    plan = plan_stack(load_file(file).config, lambda _: None)
    return document(_name(file), file.name, [], plan, None)


def gated(file: Path, form: str) -> str:
    """The gate's report on a change that adds the stack."""
    head = Side("head", judge_stack(read_file(file), lambda _: None), Recorded([]))
    report = judge(_name(file), Side("base", None, Recorded([])), head, Waivers(), today=date(2026, 11, 28))
    return render(report, form)


def in_code(file: Path) -> Figures:
    cost = plan_stack(load_file(file).config, lambda _: None).cost
    figures: dict[tuple[str, str, str], str] = {}
    for part, sums in (("all", cost.total), ("GPU nodes", cost.gpu_nodes)):
        for bound in BOUNDS:
            hourly = getattr(sums, bound)
            figures |= {(bound, "hour", part): f"{hourly:,.2f}", (bound, "month", part): f"{month(hourly):,.2f}"}
    return figures


def in_json(read: dict[str, Any], total: str, gpu_nodes: str) -> Figures:
    parts = {"all": read[total] if total else read, "GPU nodes": read[gpu_nodes]}
    return {(b, p, part): f"{parts[part][f'{b}_usd_per_{p}']:,.2f}" for b in BOUNDS for p in PERS for part in PARTS}


def in_table(text: str, separator: str) -> Figures:
    """The plan's table of costs, whose last columns are floor and ceiling by the hour and by the month."""
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(separator, line.strip(" |"))]
        if cells[0] in ("all", "GPU nodes"):
            rows[cells[0]] = [cell.removesuffix(" + unknown") for cell in cells if cell][1:]
    rows.setdefault("all", rows["GPU nodes"])
    kinds = [(bound, per) for per in PERS for bound in BOUNDS]
    return {(*kind, part): rows[part][index] for part in PARTS for index, kind in enumerate(kinds)}


def in_page(text: str) -> Figures:
    money = r"([\d,]+\.\d\d)"
    figures: dict[tuple[str, str, str], str] = {}
    for bound, when in (("floor", "while every model sleeps"), ("ceiling", "with every pool at its max")):
        match = re.search(rf"<b>{money}[^<]*</b><span[^>]*>USD an hour {when}, {money} of it GPU nodes", text)
        assert match is not None
        figures |= {(bound, "hour", "all"): match[1], (bound, "hour", "GPU nodes"): match[2]}
    months = re.search(rf"A month of 730 hours: {money} to {money} USD, {money} to {money} of it GPU nodes", text)
    assert months is not None
    figures |= dict(zip(((b, "month", part) for part in PARTS for b in BOUNDS), months.groups(), strict=True))
    return figures


def in_comment(text: str) -> Figures:
    """The column of the gate's Markdown or text that says what is after the change."""
    figures = {}
    for bound in BOUNDS:
        for an, per in (("an", "hour"), ("a", "month")):
            for part, alone in (("all", ""), ("GPU nodes", ", GPU nodes alone")):
                name = re.escape(f"{bound} {an} {per}{alone}")
                match = re.search(rf"{name}(?: \| | *: )([\d,.]+)(?: \| | → )([\d,.]+)", text)
                assert match is not None, name
                assert match[1] == "0.00"
                figures[bound, per, part] = match[2]
    return figures


def test_the_same_sums_stand_in_every_report_to_the_cent(file: Path) -> None:
    expected, read = in_code(file), planned(file)
    drawn = io.StringIO()
    report_text.show(read, Console(file=drawn, width=160, no_color=True, highlight=False))
    assert in_json(json.loads(json.dumps(read))["cost"], "", "gpu_nodes") == expected
    assert in_table(drawn.getvalue(), r"\s{2,}") == expected
    assert in_table(markdown(read), r"\|") == expected
    assert in_page(page(read)) == expected
    assert in_json(json.loads(gated(file, "json"))["cost"]["head"], "total", "gpuNodes") == expected
    assert in_comment(gated(file, "md")) == expected
    assert in_comment(gated(file, "text")) == expected


def test_three_nodes_hold_models_of_three_three_and_two_gpus(tmp_path: Path) -> None:
    figures = in_code(_packed(tmp_path / "stacks"))
    assert (figures["floor", "hour", "GPU nodes"], figures["floor", "hour", "all"]) == ("17.02", "17.41")


@pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
def test_no_stack_in_a_cloud_is_free_while_its_models_sleep(cloud: str) -> None:
    for environment in ("dev", "prod"):
        figures = in_code(STACKS / f"Pulumi.{cloud}-{environment}.yaml")
        assert figures["floor", "hour", "GPU nodes"] == "0.00"
        assert float(figures["floor", "hour", "all"]) > 0.3


def test_a_price_that_nobody_has_looked_up_is_named_in_every_report(tmp_path: Path) -> None:
    file = STACKS / "Pulumi.gcp-dev.yaml"
    read = planned(file)
    assert read["cost"]["unknown"] == ["load balancer, internal"]
    texts = [report_text.written(read), markdown(read), page(read), gated(file, "md"), gated(file, "text")]
    assert all("load balancer, internal" in text for text in texts)
    (part,) = [part for part in read["cost"]["cluster"]["parts"] if part["what"] == "load balancer, internal"]
    assert (part["floor_usd_per_hour"], part["usd_per_unit_hour"]) == (None, None)


def test_nobody_says_what_a_stack_file_costs_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text("config: [")
    head = Side("head", judge_stack(read_file(file), lambda _: None), Recorded(None, "refused"))
    report = judge("x", Side("base", None, Recorded([])), head, Waivers(), today=date(2026, 11, 28))
    assert json.loads(render(report, "json"))["cost"]["head"] is None
    for form in ("md", "text"):
        text = render(report, form)
        assert "unknown" in text
        assert re.search("nothing of the stack file could be read", text, re.IGNORECASE)
