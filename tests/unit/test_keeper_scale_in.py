"""Which of several replicas is said to go first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.wake_keeper.access import DELETION_COST
from tests.unit import gateway_kit, keeper_kit
from tests.unit.keeper_kit import condition, pod

from ebbtide_keeper.in_flight import Load, Unknown  # isort: skip
from ebbtide_keeper.scale_in import COST, FIRST, Replica, ScaleIn, moves  # isort: skip

assert gateway_kit
assert keeper_kit


def idle(requests: float = 0) -> Replica:
    return Replica(requests, first=False)


def first(requests: float = 0) -> Replica:
    return Replica(requests, first=True)


def test_the_idlest_is_to_go_first() -> None:
    assert COST == DELETION_COST, "the one annotation that the guard lets through"
    assert moves({"a": idle(3), "b": idle(1), "c": idle(2)}) == {"b": FIRST}
    assert moves({"a": first(3), "b": idle(1)}) == {"b": FIRST, "a": None}
    assert list(moves({"a": first(3), "b": idle(1)})) == ["b", "a"], "at no moment is there none"


def test_little_more_than_another_has_moves_nothing() -> None:
    assert moves({"a": first(2), "b": idle(1)}) == {}
    assert moves({"a": first(1), "b": idle(0)}) == {"b": FIRST, "a": None}
    assert moves({"a": first(0), "b": idle(0)}) == {}


def test_one_replica_alone_is_left_as_it_is() -> None:
    assert moves({"a": first(4)}) == {}
    assert moves({"a": idle(4)}) == {}
    assert moves({}) == {}


def test_a_second_mark_goes() -> None:
    assert moves({"a": first(2), "b": first(1), "c": idle(5)}) == {"a": None}


@given(st.dictionaries(st.text("abcd", min_size=1), st.builds(Replica, st.integers(0, 50), st.booleans()), min_size=2))
def test_afterwards_one_is_marked_with_at_most_twice_the_fewest_requests_and_it_stays(
    before: dict[str, Replica],
) -> None:
    costs = moves(before)
    after = {name: Replica(each.requests, costs.get(name, "-1" if each.first else None) == FIRST)
             for name, each in before.items()}  # fmt: skip
    (marked,) = (each for each in after.values() if each.first)
    assert marked.requests <= 2 * min(each.requests for each in after.values())
    assert moves(after) == {}


def ready(name: str, host: str, cost: str | None = None, owner: str = "set", leaving: bool = False) -> dict[str, Any]:
    pod_made = pod(name, 0, condition("Ready", "True", 5), phase="Running", leaving=leaving)
    pod_made["status"]["podIP"] = host
    pod_made["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": owner, "uid": owner}]
    if cost is not None:
        pod_made["metadata"]["annotations"] = {COST: cost}
    return pod_made


class Stage:
    def __init__(self, *pods: dict[str, Any], models: tuple[str, ...] = ("small",), takes: bool = True) -> None:
        self.pods: dict[str, Any] | None = {each["metadata"]["name"]: each for each in pods}
        self.inside: dict[str, float] | None = {}
        self.asked = 0
        self.written: list[tuple[str, Mapping[str, str | None]]] = []
        self.takes = takes
        self.scale_in = ScaleIn(models, lambda: self.pods, self.load, self.annotate)

    async def load(self) -> Load:
        self.asked += 1
        if self.inside is None:
            raise Unknown("a pod of the gateway does not answer")
        return Load({}, {}, self.inside)

    async def annotate(self, name: str, annotations: Mapping[str, str | None]) -> bool:
        self.written.append((name, annotations))
        return self.takes

    def reconcile(self) -> bool:
        return asyncio.run(self.scale_in.reconcile())


def test_the_gateways_counts_decide_by_a_replicas_address() -> None:
    stage = Stage(ready("a", "10.0.0.1", FIRST), ready("b", "10.0.0.2"), ready("c", "fd00::3"))
    stage.inside = {"10.0.0.1:8000": 5, "10.0.0.2:8000": 2, "[fd00::3]:8000": 1, "10.0.0.9:8000": 0}
    assert stage.reconcile()
    assert stage.written == [("c", {COST: FIRST}), ("a", {COST: None})]


@pytest.mark.parametrize(
    ("why", "pods"),
    [
        ("one replica", [ready("a", "10.0.0.1")]),
        ("the other is on its way out", [ready("a", "10.0.0.1"), ready("b", "10.0.0.2", leaving=True)]),
        ("the other is not ready", [ready("a", "10.0.0.1"), pod("b")]),
        ("each is its own set's only one", [ready("a", "10.0.0.1"), ready("b", "10.0.0.2", owner="new")]),
        ("somebody else has said so", [ready("a", "10.0.0.1"), ready("b", "10.0.0.2", "100")]),
    ],
)
def test_without_two_replicas_to_choose_from_nobody_is_asked(why: str, pods: list[dict[str, Any]]) -> None:
    stage = Stage(*pods)
    assert stage.reconcile(), why
    assert (stage.asked, stage.written) == (0, []), why


def test_nothing_is_written_while_pods_or_counts_are_unknown_or_for_a_model_that_has_one_replica() -> None:
    two = ready("a", "10.0.0.1"), ready("b", "10.0.0.2")
    stage = Stage(*two)
    stage.inside = None
    assert stage.reconcile()
    stage.pods = None
    assert stage.reconcile()
    other = Stage(*two, models=("large",))
    assert other.reconcile()
    assert stage.written == other.written == []


def test_what_is_refused_ends_the_look() -> None:
    stage = Stage(ready("a", "10.0.0.1", FIRST), ready("b", "10.0.0.2"), takes=False)
    stage.inside = {"10.0.0.1:8000": 5}
    assert not stage.reconcile()
    assert len(stage.written) == 1


def test_where_no_model_has_several_replicas_the_loop_is_over_at_once() -> None:
    asyncio.run(asyncio.wait_for(Stage(models=()).scale_in.run(), 5))
