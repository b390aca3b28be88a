"""What a model is doing, told from objects as a cluster shows them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import keeper_kit as kit
from tests.unit.keeper_kit import at, deployment, ended, on_node, pod, running, unschedulable, waiting

from ebbtide_keeper import causes  # isort: skip
from ebbtide_keeper.model_state import ModelState, Observation, judge  # isort: skip
from ebbtide_keeper.settings import Model  # isort: skip

FIXED = Model(name="small", holdSeconds=90, coldStartSeconds=60)
GROWABLE = Model(name="small", holdSeconds=900, coldStartSeconds=600, growable=True)
SECRET = "prompt: the vault opens with 1234"

CUDA = f"{SECRET}\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
NO_BLOCKS = "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`"
NO_WEIGHTS = f"RuntimeError: Cannot find any model weights with `/models/{SECRET}`"
BROKEN_FILE = "safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer"
NO_CONFIG = "OSError: /models/x does not appear to have a file named config.json."
NO_FOLDER = (
    "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': "
    "'/models/x'. Use `repo_type` argument if needed."
)
TAIL_ONLY = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"


def doing(
    seconds: float, *pods: dict[str, Any], model: Model = FIXED, target: Any = None, room: float | None = None
) -> ModelState:
    room_since = at(room) if room is not None else None
    return judge(Observation(target or deployment(), pods, room_since), model, at(seconds))


def reason(state: ModelState) -> str | None:
    return state.cause.reason if state.cause is not None else None


def test_a_model_that_nobody_wants_is_asleep_even_while_its_last_pod_goes() -> None:
    assert doing(5, target=deployment(0)).what == "asleep"
    assert doing(5, pod(leaving=True), target=deployment(0)).what == "asleep"


def test_one_ready_pod_is_a_ready_model_whatever_the_others_do() -> None:
    ready = on_node(running(), ready=("True", 30))
    assert doing(500, ready, pod("small-2", 100, unschedulable(100))).what == "ready"


@pytest.mark.parametrize(
    ("seconds", "target", "pods", "what", "why"),
    [
        (1, deployment(), [], "loading", None),
        (1, deployment(1, kit.over_quota(0)), [], "loading", None),
        (5, deployment(1, kit.over_quota(0)), [], "failing", "quota"),
        (5, deployment(1, kit.refused(0)), [], "failing", "unschedulable"),
        (2, deployment(), [pod("p", 0, unschedulable(0))], "loading", None),
        (5, deployment(), [pod("p", 0, unschedulable(0))], "failing", "unschedulable"),
        (9, deployment(), [on_node(waiting("ContainerCreating"))], "loading", None),
        (9, deployment(), [on_node(waiting("ErrImagePull"))], "loading", None),
        (9, deployment(), [on_node(waiting("ImagePullBackOff"))], "loading", None),
        (30, deployment(), [on_node(waiting("ImagePullBackOff"))], "failing", "image_pull"),
        (2, deployment(), [on_node(waiting("ImagePullBackOff", message=kit.NO_IMAGE))], "failing", "image_pull"),
        (9, deployment(), [on_node(waiting("InvalidImageName"))], "failing", "image_pull"),
        (9, deployment(), [on_node(waiting("ErrImageNeverPull"))], "failing", "image_pull"),
        (9, deployment(), [on_node(running())], "loading", None),
        (9, deployment(), [on_node(running(1, ended()))], "loading", None),
        (9, deployment(), [on_node(running(2, ended()))], "failing", "crash_loop"),
        (9, deployment(), [on_node(waiting("CrashLoopBackOff", 1, ended()))], "failing", "crash_loop"),
        (9, deployment(), [on_node({"state": {"terminated": ended(CUDA)}})], "failing", "out_of_memory"),
        (9, deployment(), [on_node(running(1, ended("", "OOMKilled", 137)))], "failing", "out_of_memory"),
        (9, deployment(), [on_node(running(1, ended(NO_BLOCKS)))], "failing", "out_of_memory"),
        (9, deployment(), [on_node(running(1, ended(NO_WEIGHTS)))], "failing", "weights"),
        (9, deployment(), [on_node(running(1, ended(BROKEN_FILE)))], "failing", "weights"),
        (9, deployment(), [on_node(waiting("CrashLoopBackOff", 3, ended(NO_CONFIG)))], "failing", "weights"),
        (9, deployment(), [on_node(running(1, ended(NO_FOLDER)))], "failing", "weights"),
        (9, deployment(), [on_node(running(1, ended(TAIL_ONLY)))], "loading", None),
        (89, deployment(), [on_node(running())], "loading", None),
        (90, deployment(), [on_node(running())], "failing", "load_too_long"),
    ],
)
def test_each_failure_is_told_by_what_the_cluster_shows(
    seconds: float, target: Any, pods: list[dict[str, Any]], what: str, why: str | None
) -> None:
    state = doing(seconds, *pods, target=target)
    assert (state.what, reason(state)) == (what, why)


def test_where_an_autoscaler_may_bring_a_node_it_gets_the_whole_cold_start() -> None:
    waits = pod("p", 0, unschedulable(0))
    assert doing(599, waits, model=GROWABLE).what == "loading"
    assert reason(doing(600, waits, model=GROWABLE)) == "unschedulable"


def test_a_pod_still_going_may_make_room_so_nothing_fails_for_want_of_it() -> None:
    waits = pod("p", 0, unschedulable(0))
    assert doing(60, waits, room=60).what == "loading"
    assert doing(64, waits, room=60).what == "loading"
    assert reason(doing(65, waits, room=60)) == "unschedulable"
    # one that never goes must not hold it up beyond the lease
    assert reason(doing(90, waits, room=90)) == "unschedulable"


def test_after_room_was_made_a_refused_pod_gets_as_long_as_it_waited_because_kubernetes_doubles_its_pauses() -> None:
    target = deployment(1, kit.over_quota(0))
    assert doing(30, target=target, room=30).what == "loading"
    assert doing(69, target=target, room=30).what == "loading", "the quota counts the pod that went for 5 s more"
    assert reason(doing(70, target=target, room=30)) == "quota"
    assert doing(7, target=target, room=-1).what == "loading", "it went a second before the first try"
    assert reason(doing(8, target=target, room=-1)) == "quota"
    assert reason(doing(90, target=target, room=90)) == "quota"
    assert reason(doing(5, target=target, room=-100)) == "quota", "room made before counts for nothing"


def test_a_replica_too_many_that_finds_no_room_does_not_fail_a_wake_that_goes_on() -> None:
    loads = on_node(running())
    assert doing(60, loads, pod("p2", 5, unschedulable(5))).what == "loading"
    assert doing(60, loads, target=deployment(3, kit.over_quota(5))).what == "loading"


def test_an_engine_that_served_and_ended_gets_the_kubelets_second_start() -> None:
    again = on_node(running(1, ended(CUDA)), ready=("False", 600))
    state = doing(610, again)
    assert (state.what, state.since) == ("loading", at(600)), "its lease begins anew"
    assert reason(doing(690, again)) == "load_too_long"
    gone = on_node(waiting("CrashLoopBackOff", 2, ended(CUDA, began=602, seconds=5)), ready=("False", 600))
    assert reason(doing(610, gone)) == "out_of_memory", "that start never was ready"


@pytest.mark.parametrize("text", ["", CUDA])
def test_an_engine_that_served_again_and_ended_again_is_no_failed_start_however_long_the_kubelet_pauses(
    text: str,
) -> None:
    served = ended(text, began=30, seconds=570)
    paused = on_node(waiting("CrashLoopBackOff", 4, served), ready=("False", 600))
    assert doing(610, paused).what == "loading"
    assert reason(doing(690, paused)) == "load_too_long", "nobody waits for it any longer"
    untold = {key: value for key, value in served.items() if key != "startedAt"}
    assert doing(610, on_node(waiting("CrashLoopBackOff", 4, untold), ready=("False", 600))).what == "loading"
    assert reason(doing(610, on_node(waiting("CrashLoopBackOff", 2, served)))) in ("crash_loop", "out_of_memory")


def test_the_lease_counts_from_the_first_pod_and_not_from_the_last_start() -> None:
    evicted = pod("p0", 0, phase="Failed")
    fresh = pod("p1", 80, kit.condition("PodScheduled", "True", 80), started=81)
    assert doing(95, fresh).what == "loading"
    assert doing(91, evicted, on_node(running(1, ended()), created=0)).what == "failing"


def test_a_pod_on_its_way_out_is_part_of_no_wake() -> None:
    leaving = on_node(waiting("CrashLoopBackOff", 9, ended()))
    leaving["metadata"]["deletionTimestamp"] = kit.stamp(5)
    assert doing(9, leaving).what == "loading", "its successor is on its way"
    leaving_ready = on_node(running(), ready=("True", 30))
    leaving_ready["metadata"]["deletionTimestamp"] = kit.stamp(40)
    assert doing(41, leaving_ready, on_node(running())).what == "loading"


def test_no_message_repeats_what_a_log_said() -> None:
    for text in (CUDA, NO_WEIGHTS, SECRET):
        state = doing(9, on_node(waiting("CrashLoopBackOff", 2, ended(text))))
        assert state.cause is not None
        assert SECRET not in state.cause.message
    messages = {value.message for value in vars(causes).values() if isinstance(value, causes.Cause)}
    assert len(messages) == 12


PODS = st.lists(
    st.sampled_from(
        [
            on_node(running()),
            on_node(running(5, ended(CUDA))),
            on_node(waiting("ImagePullBackOff")),
            on_node(running(), ready=("True", 30)),
            pod("p", 0, unschedulable(0)),
            pod("q", 0),
            pod("r", 0, leaving=True),
            pod("s", 0, phase="Failed"),
        ]
    ),
    max_size=4,
)


@given(PODS, st.integers(0, 2000), st.sampled_from([FIXED, GROWABLE]))
def test_nothing_is_ever_failing_without_a_cause_nor_loading_beyond_its_lease(
    pods: list[dict[str, Any]], seconds: int, model: Model
) -> None:
    state = doing(seconds, *pods, model=model)
    assert (state.what == "failing") == (state.cause is not None)
    if state.what == "loading":
        assert state.since is not None
        assert at(seconds) - state.since < timedelta(seconds=model.hold_seconds)
    if any(kit.on_node(running(), ready=("True", 30)) == one for one in pods):
        assert state.what == "ready"
