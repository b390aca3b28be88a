"""What the gateway tells of a model's state: in the models list, and in the comments of a held stream."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.keeper_kit import NOON, at

from ebbtide_gateway.guard import Usage, WakeGuard  # isort: skip
from ebbtide_gateway.model_states import ModelStates  # isort: skip
from ebbtide_gateway.settings import Guard, Model  # isort: skip
from ebbtide_gateway.upstream_call import Call  # isort: skip
from ebbtide_kube.wake_failure import ANNOTATION as FAILURE  # isort: skip
from ebbtide_kube.wake_failure import WakeFailure  # isort: skip
from ebbtide_kube.wake_progress import ANNOTATION as WAKE  # isort: skip
from ebbtide_kube.wake_progress import LAST_WAKES, WakeProgress, last_wakes_text  # isort: skip

PLAN = {"decision": 1, "node": 90, "image": 120, "engine": 50}
SMALL = Model(name="small", host="h", gpus=1, hold_seconds=900, usd_per_hour=1.006, wake_seconds=PLAN)
ASLEEP, WAKING, AWAKE = Usage({}, {}), Usage({"small": 1}, {"small": 1}), Usage({"small": 1}, {}, {"small": 1})
LOADING = WakeProgress("node", NOON, NOON).advanced("engine", at(60)).text()
LAST = last_wakes_text([{"node": 60, "engine": 40}, {"node": 70, "engine": 50}])


def states(taken: Usage | None, annotations: dict[str, str] | None = None, most: int | None = None) -> ModelStates:
    guard = WakeGuard(Guard(maxGpus=most), {"small": 1}, lambda: taken)
    scaled = {"small": {"metadata": {"annotations": annotations or {}}}}
    return ModelStates(guard, lambda: taken, lambda: scaled, lambda: at(72))


def state_of(taken: Usage | None, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    return states(taken, annotations).described(SMALL)


def test_a_sleeping_model_tells_what_a_wake_takes_and_costs() -> None:
    assert state_of(ASLEEP) == {
        "state": "asleep",
        "phase": None,
        "seconds": None,
        "estimate_seconds": 261,
        "reason": None,
        "usd_per_hour": 1.006,
        "last_wakes_seconds": [],
    }
    learnt = state_of(ASLEEP, {LAST_WAKES: LAST})
    assert (learnt["estimate_seconds"], learnt["last_wakes_seconds"]) == (110, [100, 120])


def test_a_waking_model_tells_its_phase_and_how_long_the_whole_wake_should_take() -> None:
    waking = state_of(WAKING, {WAKE: LOADING, LAST_WAKES: LAST})
    assert [waking[key] for key in ("state", "phase", "seconds", "estimate_seconds")] == ["waking", "engine", 72, 105]
    assert state_of(WAKING)["phase"] is None, "nobody has told it yet"


def test_a_model_that_cannot_be_woken_tells_why_until_it_is_tried_again() -> None:
    failure = WakeFailure("quota", "its GPUs would exceed the quota", NOON, NOON + timedelta(seconds=90), 1)
    failing = state_of(ASLEEP, {FAILURE: failure.text()})
    assert (failing["state"], failing["reason"]) == ("failing", "quota")
    over = WakeFailure("quota", "", NOON, NOON + timedelta(seconds=60), 1)
    assert state_of(ASLEEP, {FAILURE: over.text()})["state"] == "asleep"


def test_an_awake_model_and_one_nobody_can_see() -> None:
    assert (state_of(AWAKE)["state"], state_of(None)["state"]) == ("awake", "unknown")


@pytest.mark.parametrize(
    ("taken", "annotations", "comment"),
    [
        (ASLEEP, {}, "phase=decision seconds=10 estimate=261"),
        (WAKING, {WAKE: LOADING}, "phase=engine seconds=72 estimate=110"),
        (WAKING, {WAKE: LOADING, LAST_WAKES: LAST}, "phase=engine seconds=72 estimate=105"),
        (AWAKE, {WAKE: LOADING}, "phase=first-token seconds=10 estimate=unknown"),
        (None, {WAKE: LOADING}, "phase=unknown seconds=10 estimate=unknown"),
    ],
)
def test_a_comment_tells_the_phase(taken: Usage | None, annotations: dict[str, str], comment: str) -> None:
    comment_sent = states(taken, annotations).comment(Call(SMALL, "/v1/chat/completions"), 10.2)
    assert comment_sent == f": ebbtide {comment}\n\n".encode()


def test_who_waits_for_other_models_gpus_is_told_so_and_no_estimate() -> None:
    full = Usage({"large": 1}, {"large": 1})
    comment_sent = states(full, most=1).comment(Call(SMALL, "/v1/chat/completions"), 20)
    assert comment_sent == b": ebbtide phase=room seconds=20 estimate=unknown\n\n"


def test_what_a_keeper_that_is_gone_has_left_is_not_told() -> None:
    old = WakeProgress("engine", NOON - timedelta(seconds=1000), NOON).text()
    assert state_of(WAKING, {WAKE: old})["phase"] is None


@pytest.mark.parametrize("phase", ["ip-10-0-0-7.internal", "engine\n\ndata: x"])
def test_no_other_word_of_the_cluster_reaches_a_client(phase: str) -> None:
    foreign = json.dumps({**json.loads(LOADING), "phase": phase})
    assert state_of(WAKING, {WAKE: foreign})["phase"] is None
    comment_sent = states(WAKING, {WAKE: foreign}).comment(Call(SMALL, "/v1/chat/completions"), 1)
    assert comment_sent == b": ebbtide phase=decision seconds=1 estimate=261\n\n"
