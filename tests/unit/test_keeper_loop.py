"""The keeper's loop against a Kubernetes API that lists, watches, merges patches and takes Events."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tests.unit import gateway_kit, keeper_kit
from tests.unit.keeper_kit import running, waiting
from tests.unit.keeper_stage import PAUSE, Stage

from ebbtide_kube.wake_failure import ANNOTATION  # isort: skip
from ebbtide_kube.wake_progress import ANNOTATION as WAKE  # isort: skip
from ebbtide_kube.wake_progress import LAST_WAKES, current_wake, last_wakes  # isort: skip
from ebbtide_keeper.app import LIVE, LOAD, METRICS, WAITING, WAKES, KeeperApp  # isort: skip
from ebbtide_keeper.engine_end import ANNOTATION as ENGINE_END  # isort: skip
from ebbtide_keeper.in_flight import Unknown  # isort: skip
from ebbtide_keeper.settings import load  # isort: skip

WEIGHTS = "RuntimeError: Cannot find any model weights with `/models/secret`"
BROKEN = waiting("CrashLoopBackOff", 2, keeper_kit.ended(WEIGHTS))


def judgements(stage: Stage) -> list[dict[str, Any]]:
    """What was written beside how far a wake has got."""
    return [patch for patch in stage.kube.patches if set(patch["metadata"]["annotations"]) - {WAKE, LAST_WAKES}]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    (tmp_path / "token").write_text("pod-token")
    kube = gateway_kit.KubeApi()
    kube.put("deployments", keeper_kit.deployment(0))
    kube.put("scaledobjects", keeper_kit.scaled_object({"other": "kept"}))
    stage = Stage(kube, tmp_path / "token")
    stage.sees("asleep")
    yield stage
    stage.close()
    kube.served.stop()


def test_a_wake_that_fails_is_paused_told_tried_again_and_forgotten_once_it_succeeds(stage: Stage) -> None:
    stage.pod(running())
    stage.sees("loading")
    stage.pod(BROKEN)
    stage.sees("held_off")
    assert stage.annotations[PAUSE] == "0"
    assert json.loads(stage.annotations[ANNOTATION])["reason"] == "weights"
    ended, event = gateway_kit.until(lambda: len(stage.kube.events) == 2 and stage.kube.events, "the Events")
    assert (event["reason"], event["involvedObject"]["name"]) == ("WakeFailed", "small")
    assert (ended["reason"], ended["involvedObject"]["name"]) == ("EngineEnded", "small")
    assert "RuntimeError: Cannot find any model weights with …" in ended["message"]
    assert "secret" not in json.dumps([ended, event, stage.annotations])
    stage.two_ticks()
    assert len(judgements(stage)) == 1, "one failure is one write while its pod is still there"
    stage.asleep()
    stage.now = stage.until
    gateway_kit.until(lambda: PAUSE not in stage.annotations, "resumed when its time was over")
    assert json.loads(stage.annotations[ANNOTATION])["failures"] == 1
    stage.pod(running(), ready=("True", 40))
    gateway_kit.until(lambda: ANNOTATION not in stage.annotations, "forgotten")
    stage.sees("ready")
    # pod and Deployment come by two watches: whether it was seen to load in between is chance
    assert stage.annotations.keys() - {LAST_WAKES} == {"other", ENGINE_END}
    assert (stage.told.wakes, stage.told.failures) == (["small", "small"], [("small", "weights")])
    assert stage.kube.tokens == {"Bearer pod-token"}


def test_each_phase_of_a_wake_is_told_and_the_wake_is_remembered_once_it_is_over(stage: Stage) -> None:
    def phase() -> str | None:
        wake = current_wake(stage.annotations)
        return wake.phase if wake is not None else None

    scheduled = keeper_kit.condition("PodScheduled", "True", 30)
    steps: list[tuple[str, dict[str, Any] | None]] = [
        ("decision", None),
        ("node", keeper_kit.pod("small-7d9f-1", 0, keeper_kit.unschedulable(1))),
        ("image", keeper_kit.pod("small-7d9f-1", 0, scheduled, container=waiting("ContainerCreating"))),
        ("engine", keeper_kit.on_node(running())),
    ]
    stage.kube.put("deployments", keeper_kit.deployment(1))
    for number, (name, pod) in enumerate(steps):
        if pod is not None:
            stage.later(1)
            stage.kube.put("pods", pod)
        gateway_kit.until(lambda name=name: phase() == name, name)
        if number == 1:
            stage.end()  # a keeper that is replaced in the middle goes on with what it finds
            stage.start()
            stage.sees("loading")
    stage.later(2)
    stage.pod(running(), ready=("True", 40))
    gateway_kit.until(lambda: WAKE not in stage.annotations, "over")
    assert last_wakes(stage.annotations) == ({"decision": 1.0, "node": 1.0, "image": 1.0, "engine": 2.0},)
    assert len(stage.kube.patches) == 5, "one write for each phase, and one at the end"


def test_a_wake_that_fails_teaches_nothing_and_is_told_no_longer(stage: Stage) -> None:
    stage.pod(running())
    gateway_kit.until(lambda: WAKE in stage.annotations, "told")
    stage.pod(BROKEN)
    gateway_kit.until(lambda: PAUSE in stage.annotations, "given up")
    assert WAKE not in stage.annotations
    assert LAST_WAKES not in stage.annotations


def test_an_engine_that_comes_back_after_its_end_is_told_and_teaches_nothing(stage: Stage) -> None:
    stage.end()
    stage.pod(running(), ready=("True", 40))
    stage.start()  # finds it ready; seen by one that runs, pod and Deployment come one after the other, as in a wake
    stage.sees("ready")
    stage.pod(running(1), ready=("False", 60))
    gateway_kit.until(lambda: WAKE in stage.annotations, "it loads again")
    stage.pod(running(1), ready=("True", 80))
    gateway_kit.until(lambda: WAKE not in stage.annotations, "it is back")
    assert LAST_WAKES not in stage.annotations


def test_a_load_that_says_nothing_is_ended_by_the_clock(stage: Stage) -> None:
    stage.pod(running())
    stage.sees("loading")
    stage.later(89)
    stage.two_ticks()
    assert not judgements(stage)
    stage.later(1)
    stage.sees("held_off")
    assert json.loads(stage.annotations[ANNOTATION])["reason"] == "load_too_long"


def test_a_model_that_waits_for_anothers_pod_to_go_is_not_given_up(stage: Stage) -> None:
    other = keeper_kit.pod("other-1", 0, leaving=True)
    other["metadata"]["labels"] = {"ebbtide.dev/model": "other"}
    stage.kube.put("pods", other)
    stage.kube.put("pods", keeper_kit.pod("small-1", 0, keeper_kit.unschedulable(0)))
    stage.kube.put("deployments", keeper_kit.deployment(1))
    stage.later(60)
    stage.sees("loading")
    stage.two_ticks()
    assert not judgements(stage)
    stage.kube.put("pods", other, "DELETED")
    stage.two_ticks()
    stage.later(6)
    stage.sees("held_off")
    assert json.loads(stage.annotations[ANNOTATION])["reason"] == "unschedulable"


def test_a_new_keeper_goes_on_where_the_last_one_stopped(stage: Stage) -> None:
    stage.pod(BROKEN)
    stage.sees("held_off")
    stage.end()
    stage.asleep()
    before, until = stage.annotations, stage.until
    stage.told.states.clear()
    stage.start()
    stage.sees("held_off")
    assert stage.annotations == before
    stage.now = until
    gateway_kit.until(lambda: PAUSE not in stage.annotations, "resumed by the new one")
    stage.pod(BROKEN)
    gateway_kit.until(lambda: PAUSE in stage.annotations, "paused again")
    assert json.loads(stage.annotations[ANNOTATION])["failures"] == 2
    assert stage.until - stage.now == timedelta(seconds=60)


def test_a_pause_of_somebody_else_stays_as_it_is(stage: Stage) -> None:
    stage.kube.put("scaledobjects", keeper_kit.scaled_object({PAUSE: "0"}))
    stage.pod(BROKEN)
    stage.sees("failing")
    stage.later(10_000)
    stage.two_ticks()
    assert stage.annotations.keys() == {PAUSE, ENGINE_END}
    assert len(stage.kube.patches) == 1, "how its engine ended is told all the same, and nothing is paused"


def test_how_an_engine_that_served_ended_is_kept_when_its_pod_is_gone_and_the_next_end_takes_its_place(
    stage: Stage,
) -> None:
    line = "(EngineCore pid=7) ERROR 03-01 12:00:20 [core.py:1] RuntimeError: Worker failed with error 'InvalidCxx: no'"
    stage.pod(running(1, keeper_kit.ended(line)), ready=("True", 40))
    kept = gateway_kit.until(lambda: stage.annotations.get(ENGINE_END), "kept")
    document = json.loads(kept)
    assert document["errors"] == ["RuntimeError: Worker failed with error 'InvalidCxx: no'"]
    assert (document["exit_code"], document["pod"], document["at"]) == (1, "small-7d9f-1", keeper_kit.stamp(20))
    stage.asleep()
    stage.two_ticks()
    assert stage.annotations[ENGINE_END] == kept
    stage.pod(running(2, keeper_kit.ended("OSError: again", began=100)), ready=("True", 140))
    gateway_kit.until(lambda: "again" in stage.annotations[ENGINE_END], "the later one")
    gateway_kit.until(lambda: len(stage.kube.events) == 2, "an Event for each")
    assert {event["reason"] for event in stage.kube.events} == {"EngineEnded"}
    assert not stage.told.failures


def test_one_object_nobody_can_read_does_not_end_the_keeping(stage: Stage) -> None:
    broken = keeper_kit.pod("odd", 0)
    broken["metadata"]["creationTimestamp"] = "yesterday"
    stage.kube.put("pods", broken)
    stage.kube.put("deployments", keeper_kit.deployment(1))
    stage.two_ticks()
    assert stage.keeper.alive
    stage.kube.put("pods", broken, "DELETED")
    stage.pod(BROKEN)
    stage.sees("held_off")


def test_a_keeper_that_is_to_end_when_the_cluster_moves_ends(stage: Stage) -> None:
    async def end() -> bool:
        stage.keeper._moved.set()
        stage._running.cancel()
        await asyncio.wait((stage._running,), timeout=3)
        return stage._running.done()

    assert asyncio.run_coroutine_threadsafe(end(), stage._loop).result(5)


def test_liveness_tells_of_a_loop_that_stands_and_metrics_have_their_own_path() -> None:
    async def ask(path: str, keeper: Any) -> tuple[int, bytes]:
        app = KeeperApp(keeper, lambda: b"numbers", "text/plain", load, waiting, {"small"}, {"/wakes": wakes})
        async with TestClient(TestServer(app.application())) as client:
            answer = await client.get(path)
            return answer.status, await answer.read()

    class Keeper:
        def __init__(self, alive: bool) -> None:
            self.alive = alive

        async def run(self) -> None:
            await asyncio.Event().wait()

    async def waiting(_: str) -> float:
        return 3.0

    async def wakes() -> dict[str, object]:
        return {"day": 20_000, "wakes": {"p": {"ci": 2}}}

    async def load(model: str) -> float:
        if model == "unknown":
            raise Unknown("a pod of the gateway does not answer")
        return 2.0

    def answer(path: str, *, alive: bool = True) -> tuple[int, bytes]:
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(ask(path, Keeper(alive)))
        finally:
            loop.close()

    assert answer(LIVE) == (200, b"ok\n")
    assert answer(LIVE, alive=False)[0] == 503
    assert answer(METRICS) == (200, b"numbers")
    assert answer(WAKES) == (200, b'{"day": 20000, "wakes": {"p": {"ci": 2}}}')
    assert answer(WAITING + "small") == (200, b'{"waiting": 3.0}')
    assert answer(WAITING + "other")[0] == 404, "its engines are not this program's to ask"
    assert answer(LOAD + "small") == (200, b'{"inFlight": 2.0}')
    assert answer(LOAD + "unknown") == (503, b"a pod of the gateway does not answer\n")
    assert answer("/")[0] == 404


def test_the_gateways_pods_are_looked_at_beside_the_models(stage: Stage) -> None:
    metadata = {"name": "gateway-1", "labels": {"app.kubernetes.io/name": "gateway"}}
    status = {"phase": "Running", "podIP": "10.0.0.7", "containerStatuses": [{"state": {"running": {}}}]}
    gateway_kit.until(lambda: stage.keeper.gateways() == [], "seen, and none there")
    stage.kube.put("gateways", {"metadata": metadata, "status": status})
    gateway_kit.until(lambda: stage.keeper.gateways() == ["http://10.0.0.7:9090"], "the one that came")


def test_the_numbers_are_there_from_the_start() -> None:
    from ebbtide_keeper.metrics import Metrics

    metrics = Metrics(["small"], ["quota"])
    metrics.woken("small")
    metrics.state("small", "loading")
    lines = Counter(metrics.text().decode().splitlines())
    assert lines['ebbtide_wakes_total{model="small"} 1.0'] == 1
    assert lines['ebbtide_wake_failures_total{model="small",reason="quota"} 0.0'] == 1
    assert lines['ebbtide_model_state{model="small",state="loading"} 1.0'] == 1
    assert lines['ebbtide_model_state{model="small",state="ready"} 0.0'] == 1


def test_settings_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    file = tmp_path / "keeper.yaml"
    file.write_text("models: [{name: small, holdSeconds: 90, coldStartSeconds: 60, hold: 3}]")
    with pytest.raises(ValueError, match="hold"):
        load(file)
