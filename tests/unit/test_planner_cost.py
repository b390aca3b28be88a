"""Floor and ceiling: what is paid while nobody asks, and what at most."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.catalog.machines import find
from infra.planner.cost import cost as cost_of
from infra.planner.cost import month, nodes_kept
from infra.stackfile.schema.model import ModelConfig
from tests.unit.plan_kit import plan, stack

G5 = find("aws", "g5.8xlarge")
assert G5 is not None
PRICE = G5.prices["us-east-1"].on_demand
assert PRICE is not None


def test_gpu_nodes_cost_nothing_asleep_and_awake_what_the_catalogue_says(tmp_path: Path) -> None:
    cost = plan(tmp_path).cost
    assert (cost.gpu_nodes.floor, cost.gpu_nodes.ceiling, cost.unknown) == (0, 2 * PRICE, ())
    assert month(cost.gpu_nodes.ceiling) == pytest.approx(2 * PRICE * 730)
    assert cost.models[0].one_replica == PRICE
    assert cost.gpu_ceiling_at("onDemand") == 2 * PRICE
    assert cost.gpu_ceiling_at("spot") is None  # nobody has looked it up


def test_a_model_that_is_always_awake_keeps_its_node_paid(tmp_path: Path) -> None:
    cost = plan(tmp_path, changes={"models.eight.min": 1, "models.eight.minReason": "the shop asks it all day"}).cost
    assert cost.gpu_nodes.floor == PRICE
    assert cost.pools[0].floor_nodes == 1
    assert cost.models[0].floor == PRICE


def test_replicas_share_nodes_before_another_is_paid(tmp_path: Path) -> None:
    config = stack(tmp_path, {"pools.four": {"machine": "g5.12xlarge", "max": 3}}, pool="four", max=9)
    model, pool = config.models["eight"], config.pools["four"]
    for replicas, gpus, nodes in ((4, 1, 1), (5, 1, 2), (2, 2, 1), (3, 2, 2), (2, 4, 2), (9, 4, 3)):
        kept = model.model_copy(update={"min": replicas, "gpus": gpus})
        assert nodes_kept(pool, 4, [kept]) == nodes


def test_a_replica_on_several_machines_costs_all_of_them(tmp_path: Path) -> None:
    changes = {"models.eight.min": 1, "models.eight.minReason": "the shop asks it all day", "pools.one.max": 5}
    cost = plan(tmp_path, changes=changes, nodes=2, max=4).cost
    assert (cost.pools[0].floor_nodes, cost.gpu_nodes.floor, cost.gpu_nodes.ceiling) == (2, 2 * PRICE, 5 * PRICE)
    (model,) = cost.models
    # five nodes hold two replicas of two, whatever max says
    assert (model.one_replica, model.floor, model.ceiling) == (2 * PRICE, 2 * PRICE, 4 * PRICE)


def test_pods_of_groups_share_nodes_like_others(tmp_path: Path) -> None:
    config = stack(tmp_path, {"pools.four": {"machine": "g5.12xlarge", "max": 9}}, pool="four", max=9)
    model, pool = config.models["eight"], config.pools["four"]
    for replicas, nodes, gpus, kept in ((1, 2, 4, 2), (3, 2, 4, 6), (2, 2, 2, 2), (1, 3, 2, 2)):
        assert nodes_kept(pool, 4, [model.model_copy(update={"min": replicas, "nodes": nodes, "gpus": gpus})]) == kept


def test_a_price_of_the_stacks_own_counts_where_it_is_more(tmp_path: Path) -> None:
    cost = plan(tmp_path, changes={"pools.one.pricePerHour": 3.5}).cost
    assert cost.gpu_nodes.ceiling == 7.0
    assert cost.pools[0].price.source == "pricePerHour of the stack file"


def test_nodes_that_are_there_already_cost_nothing_by_the_hour() -> None:
    from infra.planner.plan import plan_stack
    from infra.stackfile.load import load_file
    from infra.workspace import PROJECT

    cost = plan_stack(load_file(PROJECT / "stacks" / "Pulumi.onprem.yaml").config, lambda _: None).cost
    assert (cost.total.floor, cost.total.ceiling, cost.unknown) == (0, 0, ())
    assert not cost.pools[0].price.billed
    assert "the cluster itself, which is there already" in cost.not_counted


def test_an_unknown_price_is_no_zero(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    region = {"region": "nowhere-1"}
    moved = planned.stack.model_copy(update={"platform": planned.stack.platform.model_copy(update=region)})  # type: ignore[attr-defined]
    costs = cost_of(moved)
    assert costs.unknown_pools == ("one",)
    assert costs.pools[0].ceiling is None
    assert costs.models[0].ceiling is None
    assert "unknown: no price of g5.8xlarge in nowhere-1" in costs.pools[0].price.source


def test_the_ceiling_is_what_the_cap_is_held_against(tmp_path: Path) -> None:
    from infra.stackfile.findings.finding import ConfigError

    planned = plan(tmp_path)
    stack(tmp_path, {"guard.maxDollarsPerHour": planned.cost.gpu_nodes.ceiling + 0.01})
    with pytest.raises(ConfigError, match="EBB009"):
        stack(tmp_path, {"guard.maxDollarsPerHour": planned.cost.gpu_nodes.ceiling - 0.01})


OFFICE = {"office": {"days": "weekdays", "from": "08:30", "to": "18:00", "timezone": "Europe/Berlin", "ahead": "30m"}}


def test_hours_kept_warm_cost_what_they_take_with_ahead_and_the_idle_time_behind(tmp_path: Path) -> None:
    cost = plan(tmp_path, changes={"models.eight.schedules": OFFICE}).cost
    hours = 5 * (10 + 20 / 60)  # 08:00 to 18:00, and the idleTtl of 20 minutes
    assert cost.models[0].warm_hours == pytest.approx(hours)
    assert cost.gpu_nodes.floor == pytest.approx(PRICE * hours / 168)
    assert month(cost.gpu_nodes.floor) == pytest.approx(PRICE * hours / 168 * 730)
    assert cost.models[0].floor == pytest.approx(cost.gpu_nodes.floor)
    assert (cost.pools[0].floor_nodes, cost.gpu_nodes.ceiling) == (0, 2 * PRICE)


def test_hours_kept_warm_cost_all_machines_of_a_replica(tmp_path: Path) -> None:
    cost = plan(tmp_path, changes={"models.eight.schedules": OFFICE}, nodes=2, max=1).cost
    hours = 5 * (10 + 20 / 60)
    assert cost.gpu_nodes.floor == pytest.approx(2 * PRICE * hours / 168)
    assert cost.models[0].floor == pytest.approx(cost.gpu_nodes.floor)
    assert cost.models[0].warm_hours == pytest.approx(hours)


def test_windows_at_the_same_time_are_paid_once_and_on_top_of_a_min(tmp_path: Path) -> None:
    twice = {"a": OFFICE["office"], "b": OFFICE["office"] | {"replicas": 2}}
    reason = {"models.eight.min": 1, "models.eight.minReason": "the shop asks it all day"}
    cost = plan(tmp_path, changes={**reason, "models.eight.schedules": twice}).cost
    assert cost.gpu_nodes.floor == pytest.approx(PRICE * (1 + 5 * (10 + 20 / 60) / 168))


def test_models_kept_warm_at_once_share_a_node_and_at_other_hours_pay_it_each(tmp_path: Path) -> None:
    config = stack(tmp_path, {"pools.four": {"machine": "g5.12xlarge", "max": 3}}, pool="four", schedules=OFFICE)
    model = config.models["eight"]

    def warm_nodes(*models: ModelConfig) -> float:
        costs = cost_of(config.model_copy(update={"models": {m.name: m for m in models}}))
        return next(pool.warm_nodes for pool in costs.pools if pool.name == "four")

    hours = 5 * (10 + 20 / 60)
    assert warm_nodes(model) == pytest.approx(hours / 168)
    other = model.model_copy(update={"name": "other"})
    assert warm_nodes(model, other) == pytest.approx(hours / 168)
    west = model.schedules["office"].model_copy(update={"timezone": "America/Los_Angeles"})
    # 17:00 to 03:20 in Berlin: one hour and twenty minutes of it are shared
    apart = other.model_copy(update={"schedules": {"office": west}})
    assert warm_nodes(model, apart) == pytest.approx((2 * hours - 5 * 80 / 60) / 168)


def test_the_plan_says_what_schedules_keep_warm(tmp_path: Path) -> None:
    from infra.planner.report.document import document
    from infra.planner.report.tables import tables

    page = document("test", "f", [], plan(tmp_path, changes={"models.eight.schedules": OFFICE}), None)
    (table,) = [table for table in tables(page) if table.title.startswith("Cost")]
    assert "kept warm by schedules, eight 51.67 h a week" in table.below
