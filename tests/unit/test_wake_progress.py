"""Phases of a wake as pods show them, and how long the next one should take."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit import keeper_kit
from tests.unit.keeper_kit import NOON, at, condition, on_node, pod, running, unschedulable, waiting

from ebbtide_keeper.groups import GROUP  # isort: skip
from ebbtide_keeper.model_state import ModelState  # isort: skip
from ebbtide_keeper.settings import Model  # isort: skip
from ebbtide_keeper.wake_phase import notes, phase_of  # isort: skip
from ebbtide_kube import wake_progress  # isort: skip
from ebbtide_kube.wake_progress import Phase, WakeProgress, current_wake, expected_seconds, last_wakes  # isort: skip

PLAN: dict[Phase, float] = {"decision": 1, "node": 90, "image": 120, "engine": 50}
SCHEDULED = condition("PodScheduled", "True", 3)
PULLING = pod("small-1", 0, SCHEDULED, container=waiting("ContainerCreating"))
LOADING, NO_NODE = on_node(running()), pod("small-1", 0, unschedulable(1))
CRASHED = on_node(waiting("CrashLoopBackOff", 1, keeper_kit.ended()))


@pytest.mark.parametrize(
    ("pods", "phase"),
    [
        ([], "decision"),
        ([pod("small-1")], "decision"),
        ([NO_NODE], "node"),
        ([PULLING], "image"),
        ([LOADING], "engine"),
        ([CRASHED], "engine"),
        ([NO_NODE, LOADING], "engine"),
        ([pod("small-1", leaving=True, container=running())], "decision"),
    ],
)
def test_the_furthest_pod_tells_the_phase(pods: list[dict[str, Any]], phase: str) -> None:
    assert phase_of(pods, machines=1) == phase


def test_a_group_is_as_far_as_its_last_pod() -> None:
    def member(of: dict[str, Any], name: str, group: str) -> dict[str, Any]:
        labels = {**of["metadata"]["labels"], GROUP: group}
        return {**of, "metadata": {**of["metadata"], "name": name, "labels": labels}}

    first = [member(LOADING, "a", "0"), member(PULLING, "b", "0")]
    assert phase_of(first, machines=2) == "image"
    assert phase_of(first[:1], machines=2) == "decision", "the other pod is not there yet"
    assert phase_of([*first, member(NO_NODE, "c", "1"), member(LOADING, "d", "1")], machines=2) == "image"


def test_a_keeper_that_was_away_counts_until_the_pod_was_ready_and_drops_what_is_too_old() -> None:
    model = Model(name="small", hold_seconds=900, cold_start_seconds=600)
    annotations = {wake_progress.ANNOTATION: WakeProgress("engine", NOON, at(10), {"node": 10.0}, teaches=True).text()}
    ready, pods = ModelState("ready"), [on_node(running(), ready=("True", 50))]
    learnt = notes(ready, pods, model, annotations, at(400), None)
    assert learnt[wake_progress.ANNOTATION] is None
    assert last_wakes({wake_progress.LAST_WAKES: str(learnt[wake_progress.LAST_WAKES])}) == (
        {"node": 10.0, "engine": 40.0},
    )
    assert notes(ready, pods, model, annotations, at(901), None) == {wake_progress.ANNOTATION: None}
    again = notes(ModelState("loading"), [LOADING], model, annotations, at(901), at(901))
    assert current_wake({wake_progress.ANNOTATION: str(again[wake_progress.ANNOTATION])}) == WakeProgress(
        "engine", at(901), at(901), {}, teaches=True
    )


def test_progress_survives_as_text_and_goes_on_from_phase_to_phase() -> None:
    wake = WakeProgress("decision", NOON, NOON, teaches=True).advanced("node", at(1)).advanced("engine", at(61.04))
    read = current_wake({wake_progress.ANNOTATION: wake.text()})
    assert read == wake
    assert read.finished(at(100.04)) == {"decision": 1.0, "node": 60.0, "engine": 39.0}
    back = wake.advanced("node", at(70))
    assert (back.began, back.since, back.done) == (NOON, at(70), {"decision": 1.0})
    assert back.finished(at(80)) is None, "its pod went away in between: no measure for the next one"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "no JSON",
        '[{"engine": Infinity}]',
        '{"phase": "10.0.0.7", "began": "2026-03-01T12:00:00+00:00"}',
    ],
)
def test_what_is_no_progress_is_none(text: str) -> None:
    assert current_wake({wake_progress.ANNOTATION: text}) is None
    assert last_wakes({wake_progress.LAST_WAKES: text}) == ()


def test_five_wakes_are_kept_and_only_known_phases_are_read() -> None:
    text = wake_progress.last_wakes_text([{"engine": float(n)} for n in range(7)])
    assert last_wakes({wake_progress.LAST_WAKES: text}) == tuple({"engine": float(n)} for n in range(2, 7))
    assert last_wakes({wake_progress.LAST_WAKES: '[{"engine": 1, "node-7.example.com": 3}]'}) == ({"engine": 1.0},)


def test_without_a_wake_the_plan_counts_and_then_the_last_wakes_median() -> None:
    assert expected_seconds((), PLAN) == 261
    assert expected_seconds((), {"engine": 50}) is None, "nobody knows how long a node takes here"
    wakes: list[dict[Phase, float]] = [{"node": 60, "engine": seconds} for seconds in (40, 30, 95)]
    assert expected_seconds(wakes, PLAN) == 100, "one slow wake does not move it"


def test_what_has_passed_counts_as_it_was_and_a_node_that_was_there_as_one_with_the_image() -> None:
    began = WakeProgress("decision", NOON, NOON)
    new_node = began.advanced("node", at(2)).advanced("image", at(202))
    assert expected_seconds((), PLAN, new_node) == 202 + 120 + 50
    there = began.advanced("image", at(2))
    assert expected_seconds((), PLAN, there) == 2 + 0 + 50
    both: list[dict[Phase, float]] = [{"node": 60, "image": 100, "engine": 40}, {"image": 1, "engine": 30}]
    assert expected_seconds(both, PLAN, there) == 2 + 1 + 30, "only wakes that needed no node either are its like"
    assert expected_seconds(both, PLAN, new_node) == 202 + 100 + 40
    assert expected_seconds(both[1:], PLAN, new_node) == 202 + 120 + 50, "none of its like: the plan's"
