"""What is written on the ScaledObject, and when."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.idle_scaling.timing import rhythm
from tests.unit import keeper_kit as kit
from tests.unit.keeper_kit import at

from ebbtide_kube.wake_failure import ANNOTATION, last_failure  # isort: skip
from ebbtide_keeper import causes  # isort: skip
from ebbtide_keeper.decisions import MARK, PAUSED_REPLICAS, Action, decide, pause_seconds  # isort: skip
from ebbtide_keeper.engine_end import wake_failed  # isort: skip
from ebbtide_keeper.model_state import ModelState  # isort: skip

FAILING = ModelState("failing", at(0), causes.WEIGHTS)
LOADING, READY, ASLEEP = ModelState("loading", at(0)), ModelState("ready"), ModelState("asleep")


def after(annotations: dict[str, str], step: Action) -> dict[str, str]:
    """As the API server merges it."""
    merged = {**annotations, **step.annotations}
    return {name: value for name, value in merged.items() if value is not None}


def test_a_failing_wake_is_paused_at_zero_in_one_write_with_its_reason() -> None:
    step = decide(FAILING, {"other": "kept"}, at(0.7))
    assert step.kind == "pause"
    assert step.annotations[PAUSED_REPLICAS] == "0"
    assert json.loads(step.annotations[ANNOTATION] or "") == {
        "reason": "weights",
        "message": "its weights are missing or cannot be read",
        "since": "2026-03-01T12:00:00Z",
        "until": "2026-03-01T12:00:30Z",
        "failures": 1,
    }
    assert after({"other": "kept"}, step)["other"] == "kept"


def test_it_is_held_off_until_then_resumed_with_its_history_and_forgotten_once_ready() -> None:
    paused = after({}, decide(FAILING, {}, at(0)))
    for doing in (FAILING, LOADING, ASLEEP):
        assert decide(doing, paused, at(29)).kind == "nothing"
    resume = decide(ASLEEP, paused, at(30))
    assert (resume.kind, resume.annotations) == ("resume", {PAUSED_REPLICAS: None, MARK: None})
    tried = after(paused, resume)
    assert set(tried) == {ANNOTATION}
    assert decide(LOADING, tried, at(40)).kind == "nothing"
    forget = decide(READY, tried, at(60))
    assert (forget.kind, after(tried, forget)) == ("forget", {})


def test_failures_in_a_row_wait_twice_as_long_each_time_up_to_ten_minutes() -> None:
    annotations: dict[str, str] = {}
    waits, now = [], at(0)
    for _ in range(7):
        step = decide(FAILING, annotations, now)
        assert step.failure is not None
        waits.append(int((step.failure.until - now).total_seconds()))
        annotations, now = after(annotations, step), step.failure.until
        annotations = after(annotations, decide(ASLEEP, annotations, now))
    assert waits == [30, 60, 120, 240, 480, 600, 600]
    annotations = after(annotations, decide(READY, annotations, now))
    step = decide(FAILING, annotations, now)
    assert step.failure is not None
    assert step.failure.until - now == timedelta(seconds=30)


@given(st.integers(0, 10**9))
def test_no_number_of_failures_waits_less_than_the_first_or_more_than_the_longest(failures: int) -> None:
    assert 30 <= pause_seconds(failures) <= 600


def test_who_was_refused_does_not_wake_the_model_again_when_its_pause_is_over() -> None:
    assert all(rhythm(models).window_seconds < pause_seconds(1) for models in (1, 200, 5000))


@pytest.mark.parametrize(
    "annotations",
    [
        {"autoscaling.keda.sh/paused": "true"},
        {"autoscaling.keda.sh/paused-replicas": "0"},
        {"autoscaling.keda.sh/paused-scale-in": "true"},
        {"autoscaling.keda.sh/paused-scale-out": "true"},
        {MARK: "wake-keeper", PAUSED_REPLICAS: "2"},
        {MARK: "wake-keeper", PAUSED_REPLICAS: "0", "autoscaling.keda.sh/paused": "true"},
    ],
)
def test_a_pause_that_somebody_else_set_is_left_alone(annotations: dict[str, str]) -> None:
    for doing in (FAILING, READY, ASLEEP):
        assert decide(doing, annotations, at(10_000)).kind == "nothing"


def test_a_pause_taken_away_by_hand_gets_its_try_at_once() -> None:
    paused = after({}, decide(FAILING, {}, at(0)))
    del paused[PAUSED_REPLICAS]
    cleared = after(paused, decide(LOADING, paused, at(5)))
    assert set(cleared) == {ANNOTATION}
    assert decide(READY, cleared, at(10)).kind == "forget"
    again = decide(FAILING, cleared, at(10)).failure
    assert again is not None
    assert again.failures == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"until": 3}', '{"reason": "weights"}'])
def test_a_mark_whose_history_cannot_be_read_does_not_pin_the_model(text: str) -> None:
    annotations = {MARK: "wake-keeper", PAUSED_REPLICAS: "0", ANNOTATION: text}
    assert decide(ASLEEP, annotations, at(0)).kind == "resume"
    assert decide(READY, {ANNOTATION: text}, at(0)).kind == "forget"


DOINGS = st.sampled_from([FAILING, LOADING, READY, ASLEEP])
STEPS = st.lists(st.tuples(DOINGS, st.integers(0, 700)), max_size=12)


@given(STEPS)
def test_a_step_taken_is_not_taken_again_and_no_pause_outlives_its_time(steps: list[tuple[ModelState, int]]) -> None:
    annotations: dict[str, str] = {}
    now = at(0)
    for doing, seconds in steps:
        now += timedelta(seconds=seconds)
        step = decide(doing, annotations, now)
        annotations = after(annotations, step)
        again = decide(doing, annotations, now)
        # what follows a resume is a judgement of its own
        assert again.kind == "nothing" or (step.kind == "resume" and again.kind in ("pause", "forget"))
        assert (PAUSED_REPLICAS in annotations) == (MARK in annotations)
    last = last_failure(annotations)
    if MARK in annotations and last is not None:
        assert decide(ASLEEP, annotations, last.until).kind == "resume"


def test_the_event_names_the_deployment_and_what_is_to_come() -> None:
    failure = decide(FAILING, {}, at(0)).failure
    assert failure is not None
    event = wake_failed(kit.deployment(), False, failure, 255)
    assert event["metadata"] == {"name": "small.ff", "namespace": "ebbtide-models"}
    assert event["involvedObject"]["kind"] == "Deployment"
    assert event["involvedObject"]["uid"] == "0a1b"
    assert (event["type"], event["reason"]) == ("Warning", "WakeFailed")
    assert event["message"] == (
        "weights: its weights are missing or cannot be read (failure 1 in a row; no new wake before "
        "2026-03-01T12:00:30Z)"
    )
