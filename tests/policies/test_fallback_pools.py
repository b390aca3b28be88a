"""Rules on a model with several pools: what it selects, tolerates and stands on is judged pool by pool."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from infra.policies.evaluate import judge_all
from infra.policies.model import graph_of
from infra.policies.node_choice import choices
from infra.policies.rules import rules
from infra.policies.settings import settings_for
from tests.policies.stack import Stack

TERMS = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"


def term(*expressions: tuple[str, str, list[str]]) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": op, "values": values} for key, op, values in expressions]}


def with_fallback(first: str = "SPOT", second: str = "ON_DEMAND") -> Stack:
    """The good stack with a second pool, spot first and on demand behind it unless told otherwise."""
    stack = Stack()
    capacity = {"SPOT": "spot", "ON_DEMAND": "onDemand"}
    stack.config["pools"]["gpu-1xa10-spot"] = {**stack.pool, "max": 1, "capacity": capacity[first]}
    stack.pool["capacity"] = capacity[second]
    stack.model.update(pool="gpu-1xa10-spot", fallbackPools=["gpu-1xa10"])
    group = stack.find("NodeGroup")
    group["inputs"]["capacityType"] = second
    other = copy.deepcopy(group)
    other["urn"], other["name"] = f"{group['urn']}-spot", "gpu-1xa10-spot"
    other["inputs"] |= {"capacityType": first, "labels": {"workerType": "gpu_1xa10_spot"}}
    other["inputs"]["scalingConfig"]["maxSize"] = 1
    other["inputs"]["taints"][0]["value"] = "gpu_1xa10_spot"
    stack.resources.append(other)
    del stack.pod["nodeSelector"]
    terms = [term(("workerType", "In", [name])) for name in ("gpu_1xa10_spot", "gpu_1xa10")]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    stack.pod["affinity"] = {"nodeAffinity": required}
    stack.pod["tolerations"].append({**stack.pod["tolerations"][0], "value": "gpu_1xa10_spot"})
    return stack


def words_of(stack: Stack, rule: str) -> list[str]:
    """What one rule finds, as path and message."""
    verdicts = judge_all(rules(), graph_of(stack.resources, stack.judged()), settings_for("prod"))
    verdict = next(each for each in verdicts if each.rule.id == rule)
    return [f"{each.path} {each.message}" for each in verdict.violations]


def test_spot_first_with_on_demand_behind_it_breaks_no_rule_of_production() -> None:
    stack = with_fallback()
    verdicts = judge_all(rules(), graph_of(stack.resources, stack.judged()), settings_for("prod"))
    assert {each.rule.id: each.state for each in verdicts if each.state not in ("passed", "disabled")} == {}


@pytest.mark.parametrize("orders", [("ON_DEMAND", "SPOT"), ("ON_DEMAND", "ON_DEMAND")])
def test_an_on_demand_pool_anywhere_is_enough(orders: tuple[str, str]) -> None:
    assert words_of(with_fallback(*orders), "spot-only-production") == []


def test_spot_behind_spot_is_refused_in_the_file_and_in_what_is_made() -> None:
    in_file, in_graph = words_of(with_fallback("SPOT", "SPOT"), "spot-only-production")
    assert "is all that carries llama in prod" in in_file
    assert in_file.endswith("[EBB015]")
    assert in_graph == "capacityType is spot, and all that carries the models on it"


def test_a_program_that_makes_the_fall_back_spot_is_refused_whatever_the_file_says() -> None:
    stack = with_fallback()
    stack.inputs("NodeGroup")["capacityType"] = "SPOT"
    assert words_of(stack, "spot-only-production") == ["capacityType is spot, and all that carries the models on it"]


def test_a_second_model_on_the_spot_pool_alone_is_still_refused() -> None:
    stack = with_fallback()
    stack.config["models"]["other"] = {**stack.model, "fallbackPools": []}
    assert "is all that carries other in prod" in words_of(stack, "spot-only-production")[0]


def test_an_alternative_no_pool_answers_to_is_found_though_the_other_does() -> None:
    stack = with_fallback()
    terms = stack.pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    terms["nodeSelectorTerms"][1] = term(("workerType", "In", ["gone"]))
    assert words_of(stack, "placement") == [f"spec.template.spec.{TERMS}[1] matches no pool: workerType"]


def test_a_fall_back_whose_taint_is_not_tolerated_is_found() -> None:
    stack = with_fallback()
    del stack.pod["tolerations"][0]
    assert words_of(stack, "placement") == [
        "spec.template.spec.tolerations do not cover the taints of the pool it selects"
    ]


def test_a_preference_alone_lets_the_pod_land_anywhere() -> None:
    stack = with_fallback()
    preferred = [{"weight": 100, "preference": term(("workerType", "In", ["gpu_1xa10"]))}]
    stack.pod["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    assert words_of(stack, "placement") == ["spec.template.spec.nodeSelector is missing: the pod may land in any pool"]


def test_a_models_memory_is_held_against_every_pool() -> None:
    stack = with_fallback()
    stack.config["pools"]["gpu-1xa10"]["machine"] = "g4dn.xlarge"
    (violation,) = words_of(stack, "gpu-memory")
    assert "as a fall-back: gpus: 1 GPU cannot hold the weights" in violation
    assert violation.endswith("[EBB025]")


@pytest.mark.parametrize(
    ("expression", "labels", "taken"),
    [
        (("a", "In", ["1", "2"]), {"a": "2"}, True),
        (("a", "In", ["1"]), {"b": "1"}, False),
        (("a", "NotIn", ["1"]), {"a": "1"}, False),
        (("a", "NotIn", ["1"]), {}, True),
        (("a", "Exists", []), {"a": "x"}, True),
        (("a", "Exists", []), {}, False),
        (("a", "DoesNotExist", []), {}, True),
        (("a", "DoesNotExist", []), {"a": "x"}, False),
        (("a", "Gt", ["1"]), {"a": "2"}, False),
    ],
)
def test_affinity_is_read_as_the_scheduler_reads_it(
    expression: tuple[str, str, list[str]], labels: dict[str, str], taken: bool
) -> None:
    terms = {"nodeSelectorTerms": [term(expression)]}
    spec = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}
    assert [choice.takes(labels) for choice in choices(spec)] == [taken]
