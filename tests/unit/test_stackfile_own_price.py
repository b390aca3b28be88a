"""The price that a stack file gives its own machines: it can only raise what is judged and summed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.catalog.machines import machines
from infra.planner.judgement import Judgement
from infra.planner.judgement import judge as judge_stack
from infra.stackfile.findings.owner_needed import needs_owner
from infra.stackfile.limits import limits
from infra.stackfile.load import read_file
from infra.stackfile.node_price import node_price
from tests.unit.plan_kit import EIGHT, sections, stack, write

ELSEWHERE = {"platform.region": "eu-west-1", "platform.network.zones": ["eu-west-1a"], "platform.ingress": None}


def judged(folder: Path, changes: dict[str, Any], **models: Any) -> Judgement:
    return judge_stack(read_file(write(folder, sections(changes, **models))), lambda _: EIGHT)


def codes(judgement: Judgement) -> dict[str, str]:
    return {finding.code: finding.severity for finding in judgement.findings}


def price(machine: str) -> float:
    catalogued = machines("aws")[machine].prices["us-east-1"].on_demand
    assert catalogued is not None
    return catalogued


@pytest.mark.parametrize(
    ("machine", "own"), [("p4d.24xlarge", 0.01), ("p4d.24xlarge", 1.0), ("p5.48xlarge", 0.5), ("g5.8xlarge", 0.2)]
)
def test_a_price_that_no_discount_explains_is_refused_and_the_catalogues_is_summed(
    tmp_path: Path, machine: str, own: float
) -> None:
    judgement = judged(tmp_path, {"pools.big": {"machine": machine, "max": 15, "pricePerHour": own}})
    assert codes(judgement)["EBB207"] == "mandatory"
    assert judgement.plan is not None
    assert judgement.plan.cost.gpu_nodes.ceiling == pytest.approx(15 * price(machine) + 2 * price("g5.8xlarge"))


@pytest.mark.parametrize("capacity", ["onDemand", "spot"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_discount_is_told_and_does_not_count(tmp_path: Path, capacity: str, share: float) -> None:
    own = share * price("g5.8xlarge")
    changes = {"pools.one.pricePerHour": own, "pools.one.capacity": capacity, "environment": "dev"}
    judgement = judged(tmp_path, changes)
    assert codes(judgement)["EBB207"] == "warning"
    assert judgement.plan is not None
    assert judgement.plan.cost.gpu_nodes.ceiling == pytest.approx(2 * price("g5.8xlarge"))


@pytest.mark.parametrize("own", [0.3, 2.0, 20.0])
def test_a_low_price_passes_neither_the_ceiling_nor_the_cap(tmp_path: Path, own: float) -> None:
    changes = {
        "environment": "dev",
        "pools.one": {"machine": "p4d.24xlarge", "max": 2, "pricePerHour": own},
        "guard.maxDollarsPerHour": 41,
        "guard.maxGpus": 8,
    }
    assert {"EBB009", "EBB058"} <= codes(judged(tmp_path, changes)).keys()


def test_what_is_always_on_counts_at_the_catalogues_price(tmp_path: Path) -> None:
    changes = {"pools.big": {"machine": "p4d.24xlarge", "max": 15, "min": 15, "pricePerHour": 3.0}}
    judgement = judged(tmp_path, changes)
    assert judgement.plan is not None
    assert judgement.plan.cost.gpu_nodes.floor == pytest.approx(15 * price("p4d.24xlarge"))


def test_where_the_region_has_no_price_the_lowest_of_any_region_is_the_least(tmp_path: Path) -> None:
    pool = {"machine": "g5.8xlarge", "max": 2, "pricePerHour": 0.5}
    judgement = judged(tmp_path, {"pools.one": pool, **ELSEWHERE})
    assert codes(judgement)["EBB207"] == "warning"
    assert judgement.plan is not None
    assert judgement.plan.cost.gpu_nodes.ceiling == pytest.approx(2 * price("g5.8xlarge"))
    assert "EBB014" in codes(judged(tmp_path, {"pools.one": {"machine": "g5.8xlarge", "max": 2}, **ELSEWHERE}))


def test_a_price_that_the_catalogue_cannot_check_needs_an_owner(tmp_path: Path) -> None:
    judgement = judged(tmp_path, {"pools.big": {"machine": "p5e.48xlarge", "max": 1, "pricePerHour": 0.01}})
    (finding,) = needs_owner(judgement.findings)
    assert (finding.code, finding.path, finding.severity) == ("EBB208", "pools.big.pricePerHour", "warning")
    assert "a code owner has to agree" in finding.message
    assert not judgement.stops


@pytest.mark.parametrize("capacity", ["onDemand", "spot"])
def test_a_higher_price_counts_without_a_word(tmp_path: Path, capacity: str) -> None:
    own = 1.5 * price("g5.8xlarge")
    changes = {"pools.one.pricePerHour": own, "pools.one.capacity": capacity, "environment": "dev"}
    config = stack(tmp_path, changes)
    paid = node_price(config.pools["one"], "us-east-1")
    assert (paid.paid, paid.source) == (own, "pricePerHour of the stack file")
    assert "EBB207" not in codes(judged(tmp_path, changes))


def test_the_source_says_that_another_figure_counts(tmp_path: Path) -> None:
    config = stack(tmp_path, {"pools.one.pricePerHour": 1.0})
    assert node_price(config.pools["one"], "us-east-1").source.endswith("counted as it is more than pricePerHour")


def test_the_least_share_is_one_that_some_discount_reaches() -> None:
    assert 0 < limits().least_price.share <= 0.1
