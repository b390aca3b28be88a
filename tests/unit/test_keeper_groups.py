"""What a model on several machines is doing, told from objects as a cluster with LeaderWorkerSet 0.8 shows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import gateway_kit
from tests.unit import keeper_kit as kit
from tests.unit.keeper_kit import at, ended, on_node, pod, running, unschedulable, waiting
from tests.unit.keeper_stage import PAUSE, Stage

from ebbtide_keeper.groups import GROUP, WHOLE_SECONDS, WORKER, Wake, follow, judge_group  # isort: skip
from ebbtide_keeper.model_state import ModelState, Observation  # isort: skip
from ebbtide_keeper.settings import Model  # isort: skip

FIXED = Model(name="small", holdSeconds=1800, coldStartSeconds=1200, machines=2)
GROWABLE = FIXED.model_copy(update={"growable": True})
BROKEN = "RuntimeError: Cannot find any model weights with `/models/secret`"
UP = ("True", 1.0)  # a headless engine has no probe: its pod is ready as soon as it runs


def group_set(replicas: int = 1) -> dict[str, Any]:
    metadata = {**kit.deployment()["metadata"], "uid": "1c2d"}
    return {"metadata": metadata, "spec": {"replicas": replicas}, "status": {"replicas": replicas}}


def member(item: dict[str, Any], worker: int, group: int = 0, life: str = "a", leaving: bool = False) -> dict[str, Any]:
    """A pod as LeaderWorkerSet names and marks it; each ``life`` of a group has pods of their own."""
    name = f"small-{group}" + (f"-{worker}" if worker else "")
    labels = {**item["metadata"]["labels"], GROUP: str(group), WORKER: str(worker)}
    more = {"deletionTimestamp": kit.stamp(0)} if leaving else {}
    return {**item, "metadata": {**item["metadata"], "name": name, "labels": labels, "uid": f"{name}-{life}", **more}}


def both(
    leader: dict[str, Any], worker: dict[str, Any], group: int = 0, life: str = "a", leaving: bool = False
) -> list[dict[str, Any]]:
    return [member(leader, 0, group, life, leaving), member(worker, 1, group, life, leaving)]


LOADING = on_node(running())
HEADLESS = on_node(running(), ready=UP)


class Looks:
    """Looks at one model, one after the other."""

    def __init__(self, model: Model = FIXED) -> None:
        self.model = model
        self.wake: Wake | None = None

    def at(self, seconds: float, *pods: dict[str, Any], replicas: int = 1, room: float | None = None) -> ModelState:
        observation = Observation(group_set(replicas), pods, at(room) if room is not None else None)
        self.wake = follow(self.wake, observation, self.model, at(seconds))
        return judge_group(observation, self.wake, self.model, at(seconds))

    def reason(self, seconds: float, *pods: dict[str, Any], replicas: int = 1) -> str | None:
        doing = self.at(seconds, *pods, replicas=replicas)
        return doing.cause.reason if doing.cause is not None else doing.what


def test_a_headless_pod_that_runs_is_no_model_that_answers() -> None:
    looks = Looks()
    assert looks.at(0, replicas=0).what == "asleep"
    assert looks.at(1, *both(LOADING, HEADLESS)).what == "loading"
    assert looks.at(600, *both(on_node(running(), ready=("True", 600)), HEADLESS)).what == "ready"
    assert looks.at(2400, *both(on_node(running(), ready=("True", 600)), HEADLESS)).what == "ready"


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (pod("p", 0, unschedulable(0)), "unschedulable"),
        (on_node(waiting("ImagePullBackOff", message=kit.NO_IMAGE)), "image_pull"),
        (on_node(running(1, ended(BROKEN))), "weights"),
        (on_node({"state": {"terminated": ended("", "OOMKilled", 137)}}, ready=("False", 300)), "out_of_memory"),
    ],
)
@pytest.mark.parametrize("worker", [0, 1])
def test_what_keeps_one_machine_keeps_the_group(item: dict[str, Any], why: str, worker: int) -> None:
    pods = both(item, HEADLESS) if worker == 0 else both(LOADING, item)
    assert Looks().reason(9, *pods) == why


def test_where_nodes_are_made_each_of_its_machines_has_the_whole_cold_start() -> None:
    looks = Looks(GROWABLE)
    pods = both(LOADING, pod("p", 0, unschedulable(0)))
    assert [looks.reason(seconds, *pods) for seconds in (1, 1199, 1200)] == ["loading", "loading", "unschedulable"]


def test_a_group_that_is_made_anew_again_and_again_is_a_crash_loop_however_new_its_pods_are() -> None:
    looks = Looks()
    for life, seconds in (("a", 1), ("b", 60)):
        assert looks.reason(seconds, *both(LOADING, HEADLESS, life=life)) == "loading"
        assert looks.reason(seconds + 30, *both(LOADING, HEADLESS, life=life, leaving=True)) == "loading"
    assert looks.reason(120, *both(LOADING, HEADLESS, life="c")) == "crash_loop"


def test_a_group_that_has_answered_may_be_made_anew_as_often_again() -> None:
    looks = Looks()
    for life in "abc":
        assert looks.reason(60, *both(LOADING, HEADLESS, life=life)) == "loading"
        assert looks.at(90, *both(on_node(running(), ready=UP), HEADLESS, life=life)).what == "ready"


def test_what_an_engine_said_counts_though_its_group_is_already_being_made_anew() -> None:
    looks = Looks()
    assert looks.reason(1, *both(LOADING, HEADLESS)) == "loading"
    pod = on_node({"state": {"terminated": ended(BROKEN)}}, ready=("False", 300))
    assert looks.reason(30, *both(LOADING, pod, leaving=True)) == "weights"
    assert looks.reason(31) == "weights", "and after its pods are gone"


def test_what_is_left_of_an_earlier_load_tells_nothing_of_this_one() -> None:
    looks = Looks()
    pod = on_node({"state": {"terminated": ended(BROKEN)}}, ready=("False", 300))
    old = both(pod, pod, leaving=True)
    assert looks.reason(1, *old) == "loading"
    assert looks.reason(2, *old, *both(LOADING, HEADLESS, life="b")) == "loading"


def test_a_group_of_which_a_pod_does_not_come_is_not_waited_for() -> None:
    looks = Looks()
    leader = member(LOADING, 0)
    assert looks.reason(0, leader) == "loading"
    assert looks.reason(WHOLE_SECONDS - 1, leader) == "loading"
    assert looks.reason(WHOLE_SECONDS, leader) == "unschedulable"
    looks = Looks()
    assert [looks.reason(seconds) for seconds in (0, WHOLE_SECONDS)] == ["loading", "unschedulable"]


def test_while_old_pods_go_the_new_ones_are_waited_for() -> None:
    looks = Looks()
    assert looks.reason(0, *both(LOADING, HEADLESS)) == "loading"
    assert looks.reason(900, *both(LOADING, HEADLESS, leaving=True)) == "loading"
    assert looks.reason(900 + WHOLE_SECONDS - 1) == "loading"
    assert looks.reason(900 + WHOLE_SECONDS) == "unschedulable"


def test_a_second_replica_that_fails_is_no_failure_while_the_first_loads_or_answers() -> None:
    looks = Looks()
    stuck = both(pod("p", 0, unschedulable(0)), pod("p", 0, unschedulable(0)), group=1)
    assert looks.reason(60, *both(LOADING, HEADLESS), *stuck, replicas=2) == "loading"
    assert looks.at(90, *both(on_node(running(), ready=UP), HEADLESS), *stuck, replicas=2).what == "ready"
    assert (
        Looks().reason(
            60, *both(LOADING, on_node(waiting("ImagePullBackOff", message=kit.NO_IMAGE))), *stuck, replicas=2
        )
        == "image_pull"
    )


def test_a_load_takes_its_hold_and_no_longer_from_when_it_was_first_seen() -> None:
    looks = Looks()
    pods = both(LOADING, HEADLESS)
    assert [looks.reason(seconds, *pods) for seconds in (100, 1899, 1900)] == ["loading", "loading", "load_too_long"]


def test_a_leader_that_is_not_ready_for_a_moment_has_a_whole_hold_to_come_back() -> None:
    looks = Looks()
    assert looks.at(5000, *both(on_node(running(), ready=("True", 60)), HEADLESS)).what == "ready"
    assert looks.reason(5001, *both(on_node(running(), ready=("False", 5001)), HEADLESS)) == "loading"


def test_pods_of_the_deployment_that_the_model_was_before_are_none_of_the_group() -> None:
    assert Looks().reason(9, on_node(running(), ready=UP), *both(LOADING, HEADLESS)) == "loading"


SIGHTS = st.lists(
    st.tuples(
        st.integers(0, 300),
        st.lists(
            st.tuples(
                st.sampled_from([LOADING, HEADLESS, on_node(waiting("ContainerCreating"))]),
                st.integers(0, 1),
                st.sampled_from("ab"),
                st.booleans(),
            ),
            max_size=4,
        ),
    ),
    max_size=8,
)


@given(SIGHTS)
def test_a_load_that_was_made_anew_once_and_says_nothing_fails_for_no_more_than_missing_pods_or_time(
    sights: list[tuple[int, list[tuple[dict[str, Any], int, str, bool]]]],
) -> None:
    looks, seconds = Looks(), 0
    for later, members in sights:
        seconds += later
        doing = looks.at(seconds, *(member(item, worker, 0, life, gone) for item, worker, life, gone in members))
        assert doing.cause is None or doing.cause.reason in ("unschedulable", "load_too_long")
        assert (looks.wake is None) == (doing.what in ("asleep", "ready"))


# The loop: a group beside a Deployment.


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    (tmp_path / "token").write_text("pod-token")
    kube = gateway_kit.KubeApi()
    kube.put("leaderworkersets", group_set(0))
    kube.put("scaledobjects", kit.scaled_object({"other": "kept"}))
    stage = Stage(kube, tmp_path / "token", machines=2)
    stage.sees("asleep")
    yield stage
    stage.close()
    kube.served.stop()


def test_a_group_whose_engine_cannot_load_is_paused_at_zero_and_an_event_on_its_set_says_why(stage: Stage) -> None:
    stage.kube.put("leaderworkersets", group_set())
    for item in both(LOADING, HEADLESS):
        stage.kube.put("pods", item)
    stage.sees("loading")
    stage.kube.put("pods", member(on_node(running(1, ended(BROKEN)), ready=("False", 300)), 1))
    gateway_kit.until(lambda: stage.annotations.get(PAUSE) == "0", "paused")
    gateway_kit.until(lambda: len(stage.kube.events) == 2, "the Events")
    ended_event, event = stage.kube.events
    assert (ended_event["reason"], event["reason"]) == ("EngineEnded", "WakeFailed")
    assert (event["involvedObject"]["kind"], event["involvedObject"]["uid"]) == ("LeaderWorkerSet", "1c2d")
    assert event["involvedObject"]["apiVersion"] == "leaderworkerset.x-k8s.io/v1"
    assert stage.told.failures == [("small", "weights")]
    stage.kube.put("leaderworkersets", group_set(0))
    for item in both(LOADING, HEADLESS):
        stage.kube.put("pods", item, "DELETED")
    stage.later(31)
    gateway_kit.until(lambda: PAUSE not in stage.annotations, "the next wake may try")
    stage.kube.put("leaderworkersets", group_set())
    for item in both(LOADING, HEADLESS, life="b"):
        stage.kube.put("pods", item)
    stage.sees("loading")
