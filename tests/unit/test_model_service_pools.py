"""How a model's pod is sent to its pool, or to the first of several that has a node to give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from components.model_service.workload import deployment, where
from components.platforms.contract import Pool, Taint
from tests.unit.test_model_service import MODEL, PLACE


def pool(name: str, *taints: Taint, **labels: str) -> Pool:
    own = {"workerType": name, **labels}
    return Pool(name, own, (Taint("workerType", name), *taints), gpus_per_node=1)


def tolerated(name: str) -> dict[str, str]:
    return {"key": "workerType", "operator": "Equal", "value": name, "effect": "NoSchedule"}


def term(name: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": "workerType", "operator": "In", "values": [name]}]}


def test_one_pool_is_a_plain_selector_and_its_tolerations_as_ever() -> None:
    assert where([pool("a")]) == {"nodeSelector": {"workerType": "a"}, "tolerations": [tolerated("a")]}
    pod = deployment(MODEL, PLACE)["spec"]["template"]["spec"]
    assert list(pod)[3:5] == ["nodeSelector", "tolerations"]
    assert "affinity" not in pod


def test_several_pools_are_required_as_alternatives_and_preferred_in_order() -> None:
    assert where([pool("spot"), pool("od")]) == {
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term("spot"), term("od")]},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term("spot")}],
            }
        },
        "tolerations": [tolerated("spot"), tolerated("od")],
    }


@pytest.mark.parametrize(("count", "weights"), [(3, [100, 50]), (4, [100, 66, 33]), (103, None)])
def test_weights_fall_in_the_order_of_the_pools_within_what_kubernetes_takes(
    count: int, weights: list[int] | None
) -> None:
    affinity = where([pool(f"p{n}") for n in range(count)])["affinity"]["nodeAffinity"]
    preferred = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    weights_made = [each["weight"] for each in preferred]
    assert weights is None or weights_made == weights
    assert weights_made == sorted(weights_made, reverse=True)
    assert {each for each in weights_made if not 1 <= each <= 100} == set()
    assert [each["preference"] for each in preferred] == [term(f"p{n}") for n in range(count - 1)]


def test_a_pool_with_several_labels_is_one_alternative_that_needs_them_all() -> None:
    required = where([pool("a", team="x"), pool("b", team="y")])["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert [[(e["key"], e["values"]) for e in each["matchExpressions"]] for each in required["nodeSelectorTerms"]] == [
        [("workerType", ["a"]), ("team", ["x"])],
        [("workerType", ["b"]), ("team", ["y"])],
    ]


def test_a_taint_two_pools_share_is_tolerated_once() -> None:
    shared = Taint("nvidia.com/gpu", "present")
    tolerations = where([pool("a", shared), pool("b", shared)])["tolerations"]
    assert tolerations == [tolerated("a"), shared.toleration(), tolerated("b")]


def test_the_rest_of_the_workload_does_not_know_of_fall_backs() -> None:
    plain = deployment(MODEL, PLACE)
    several = deployment(MODEL, replace(PLACE, fallbacks=(pool("od"),)))
    for each in (plain, several):
        pod = each["spec"]["template"]["spec"]
        for key in ("nodeSelector", "affinity", "tolerations"):
            pod.pop(key, None)
    assert plain == several
