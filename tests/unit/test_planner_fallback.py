"""A plan of a model with several pools: memory held against each, cost without counting twice, all of them shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.planner.plan import Plan, plan_stack
from infra.planner.report.document import document
from infra.planner.report.html import tree
from infra.planner.report.text import written
from infra.program.gateway import wake_price
from infra.stackfile.load import finding, read_file
from infra.stackfile.node_price import node_price
from tests.unit.plan_kit import COMMIT, EIGHT, ID, facts, plan, sections, stack, write

FILE = "stacks/Pulumi.test.yaml"
SECOND = {"machine": "g5.8xlarge", "max": 1, "capacity": "spot"}


def planned_with(folder: Path, second: dict[str, Any] | None = None, known: Any = EIGHT, **model: Any) -> Plan:
    """The small stack with a fall-back."""
    changes = {"pools.two": second or SECOND}
    return plan(folder, known, changes, **{"fallbackPools": ["two"], **model})


def messages_of(planned: Plan) -> list[str]:
    return [str(finding(each, FILE)).removeprefix(f"{FILE}: ") for each in planned.problems]


def test_a_fall_back_like_the_first_choice_is_planned_without_a_word(tmp_path: Path) -> None:
    planned = planned_with(tmp_path)
    assert messages_of(planned) == []
    (other,) = planned.models[0].fallbacks
    assert (other.pool.name, other.memory) == ("two", planned.models[0].memory)


def test_weights_that_do_not_fit_the_fall_back_are_refused_with_the_pool_named(tmp_path: Path) -> None:
    planned = planned_with(tmp_path, {"machine": "g4dn.xlarge", "max": 1}, dtype="float16")
    (problem,) = [each for each in planned.problems if each.code in ("EBB025", "EBB026")]
    shown = str(finding(problem, FILE))
    assert shown.startswith(
        f"{FILE}: models.eight.fallbackPools[0]: 'two' as a fall-back: gpus: 1 GPU cannot hold the weights of "
        "test/eight: "
    )
    assert f"; fix: take it out, or use {problem.allowed} [EBB025 error]" in shown


def test_a_card_that_cannot_compute_the_model_is_refused_as_a_fall_back_and_nothing_else_is_said_twice(
    tmp_path: Path,
) -> None:
    known = facts(architectures=["NoSuchForCausalLM"])
    planned = planned_with(tmp_path, {"machine": "g4dn.xlarge", "max": 1}, known)
    paths = [(int(each.code[3:]), each.path[-1] if each.path[-1] != 0 else "fallback") for each in planned.problems]
    assert sorted(number for number, where in paths if where != "fallback") == [24]
    assert (30, "fallback") in paths
    problem = next(each for each in planned.problems if each.code == "EBB030")
    assert problem.message.startswith("as a fall-back: dtype: 'bfloat16' is what the model is in, and T4 ")


def test_the_ceiling_counts_each_pool_once_and_the_floor_stays(tmp_path: Path) -> None:
    several = planned_with(tmp_path, min=1, minReason="the test needs one").cost
    alone = plan(tmp_path, EIGHT, {"pools.two": SECOND}, min=1, minReason="the test needs one").cost
    assert (several.total, several.gpu_nodes) == (alone.total, alone.gpu_nodes)
    assert [pool.ceiling_nodes for pool in several.pools] == [2, 1]
    assert several.models[0].floor == alone.models[0].floor


def test_a_models_ceiling_is_of_the_dearest_nodes_its_replicas_may_hold(tmp_path: Path) -> None:
    dear = {"machine": "g5.8xlarge", "max": 1, "pricePerHour": 10}
    (model,) = planned_with(tmp_path, dear).cost.models
    each = planned_with(tmp_path, dear).cost.pools[0].price.paid
    assert each is not None
    assert model.one_replica == each
    assert model.ceiling == 10 + each


def test_pods_of_a_replica_on_several_machines_may_hold_the_dearest_nodes_of_every_pool(tmp_path: Path) -> None:
    dear = {"machine": "g5.8xlarge", "max": 3, "pricePerHour": 10}
    planned = plan(tmp_path, EIGHT, {"pools.two": dear}, fallbackPools=["two"], nodes=2, max=2)
    (model,) = planned.cost.models
    each = planned.cost.pools[0].price.paid
    assert each is not None
    assert (model.one_replica, model.ceiling) == (2 * each, 3 * 10 + each)


@pytest.mark.parametrize(("price", "price_shown"), [(10, 20), (1, None)])
def test_who_wakes_it_is_told_the_price_of_the_dearest_pool(
    tmp_path: Path, price: float, price_shown: float | None
) -> None:
    changes = {"pools.two": {"machine": "g5.8xlarge", "max": 2, "pricePerHour": price}}
    config = stack(tmp_path, changes, fallbackPools=["two"], nodes=2, max=1)
    first = node_price(config.pools["one"], "us-east-1").paid
    assert first is not None
    assert wake_price(config, config.models["eight"]) == (price_shown or 2 * first)


def test_a_price_nobody_knows_leaves_the_models_ceiling_unknown(tmp_path: Path) -> None:
    unpriced = {"platform.region": "eu-west-1", "platform.network.zones": ["eu-west-1a"], "platform.ingress": None}
    changes = {"pools.two": {"machine": "g5.8xlarge", "max": 1}, "pools.one.pricePerHour": 3, **unpriced}
    part = read_file(write(tmp_path, sections(changes, fallbackPools=["two"]))).partial
    assert part is not None
    (model,) = plan_stack(part, lambda _: EIGHT).cost.models
    assert (model.one_replica, model.ceiling) == (3, None)


def test_every_report_shows_all_pools_of_a_model(tmp_path: Path) -> None:
    shown = document("test", FILE, [], planned_with(tmp_path), None)
    assert shown["models"][0]["fallback_pools"] == ["two"]
    assert [(each["pool"], each["fits"]) for each in shown["models"][0]["fallbacks"]] == [("two", True)]
    assert [(pool["models"], pool["fallback_of"]) for pool in shown["pools"]] == [(["eight"], []), ([], ["eight"])]
    printed = written(shown)
    assert "g5.8xlarge (one, else two)" in printed
    assert "on a fall-back (eight): besides, the wait until the first pool is given up" in printed


def test_a_model_that_does_not_fit_a_fall_back_is_told_in_the_table(tmp_path: Path) -> None:
    shown = document(
        "test", FILE, [], planned_with(tmp_path, {"machine": "g4dn.xlarge", "max": 1}, dtype="float16"), None
    )
    assert "NOT on two" in written(shown)


@pytest.mark.parametrize("pool", ["one", "two"])
def test_the_page_shows_the_model_on_each_of_its_pools(tmp_path: Path, pool: str) -> None:
    drawn = tree(document("test", FILE, [], planned_with(tmp_path), None))
    assert drawn is not None
    on_it = {each["name"]: [(m["name"], m["falls_back"]) for m in each["on_it"]] for each in drawn["pools"]}
    assert on_it[pool] == [("eight", pool == "two")]


def test_a_plan_shows_where_long_prompts_go(tmp_path: Path) -> None:
    long = {"id": ID, "revision": COMMIT, "pool": "one", "max": 1, "maxTokens": 16384}
    planned = plan(tmp_path, EIGHT, {"models.long": long}, longPrompts="long")
    shown = document("test", FILE, [], planned, None)
    assert [(model["name"], model["long_prompts"]) for model in shown["models"]] == [("eight", "long"), ("long", None)]
    assert "eight: what may not fit into its context goes, under its name, to long" in written(shown)
    assert "under its name" not in written(document("test", FILE, [], plan(tmp_path), None))
