"""Waking from zero, staying up while asked, going away when not: through the gateway. First with the real engine, then,
where it is not what is tested, with a stand-in that is ready at once.
"""

from __future__ import annotations

import itertools
import runpy
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from infra.workspace import PROJECT
from tests.lab.conftest import FIRST, SHORT, TTL, Lab, Steady, wait_until

LOAD = 10
"""Seconds: a load during which something can happen."""
LONG_STREAM = {"max_tokens": 1300, "ignore_eos": True, "temperature": 0}


def loading(lab: Lab, stage: str) -> str | None:
    """The path of a pod whose engine's log has come to ``stage``."""
    for pod in lab.pods(FIRST):
        states = [container["state"] for container in pod["status"].get("containerStatuses", [])]
        path = f"/api/v1/namespaces/ebbtide-models/pods/{pod['metadata']['name']}"
        if any("running" in state for state in states) and stage in lab.api.get(f"{path}/log").text:
            return path
    return None


def test_a_stream_at_zero_wakes_the_model_whose_pods_go_while_they_load_and_tokens_arrive_one_by_one(
    sleeping: Lab,
) -> None:
    """In neither stage, while it imports and while it waits for its core, does vLLM by itself hear a SIGTERM: such a
    pod is gone within seconds all the same, and who waits is answered by the next one.
    """
    times: list[float] = []
    text: list[str] = []

    def piece(part: str, at: float) -> None:
        text.append(part)
        times.append(at)

    options = {"max_tokens": 48, "ignore_eos": True, "temperature": 0}
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(sleeping.stream, FIRST, "What is the capital of France?", piece, **options)
        for stage in ("", "EngineCore"):
            path = wait_until(lambda stage=stage: loading(sleeping, stage), 120, f"a pod at stage {stage!r}", every=0.1)
            sleeping.api.delete(path).raise_for_status()
            wait_until(lambda path=path: sleeping.api.get(path).status_code == 404, 30, "the pod gone")
        assert not times
        finish = held.result()
    assert len("".join(text).split()) >= 10
    assert finish == "length"
    assert len(times) >= 24
    gaps = [after - before for before, after in itertools.pairwise(times)]
    # one lump would have no gap between its pieces; on a busy machine some come late, and then together
    assert sum(gap > 0.002 for gap in gaps) >= len(gaps) * 0.2, gaps


def test_it_is_a_model_that_answers(awake: Lab) -> None:
    """What the smallest of models knows depends on how the processor rounds, so one right answer of four will do."""
    known = {
        "What is the capital of France?": "Paris",
        "What is the capital of France? Answer in one word.": "Paris",
        "What is the capital of Italy?": "Rome",
        "What is 2+2?": "4",
    }
    replies = {asked: awake.chat(FIRST, asked, max_tokens=24, temperature=0).json() for asked in known}
    answers = {asked: answer["choices"][0]["message"]["content"] for asked, answer in replies.items()}
    assert any(right in answers[asked] for asked, right in known.items()), answers


def test_a_context_above_the_limit_is_a_400_that_says_so(awake: Lab) -> None:
    answer = awake.chat(FIRST, "word " * 4000)
    assert answer.status_code == 400
    assert "2048" in answer.text


@pytest.mark.usefixtures("quick")
def test_one_short_request_a_second_keeps_the_model_up(lab: Lab) -> None:
    before = lab.wake(FIRST)
    with lab.short_ttl(FIRST), Steady(1.0, lambda: lab.chat(FIRST, max_tokens=1)) as load:
        wait_until(lambda: len(load.answers) >= SHORT * 3, 150, "short requests for three times the TTL")
    assert {answer.status_code for answer in load.answers} == {200}
    assert {pod["metadata"]["uid"] for pod in lab.pods(FIRST)} == {before}, "the model was started anew"


@pytest.mark.usefixtures("quick")
def test_a_stream_longer_than_the_ttl_is_not_cut(awake: Lab) -> None:
    """Nothing but this one stream holds the model."""
    with awake.short_ttl(FIRST):
        times: list[float] = []
        finish = awake.stream(FIRST, "Count.", lambda _, at: times.append(at), **LONG_STREAM)
        assert finish == "length"
        assert times[-1] - times[0] > SHORT * 2, "too quick to show anything"
        # and it was this TTL that was in force
        wait_until(lambda: awake.replicas(FIRST) == 0, SHORT + 30, "scaled to zero by the short TTL")


@pytest.mark.usefixtures("quick")
def test_twenty_requests_at_once_at_zero_get_twenty_answers(sleeping: Lab) -> None:
    answers = sleeping.at_once(20, lambda n: sleeping.chat(FIRST, f"Say the number {n}."))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert all(answer.json()["choices"][0]["message"]["content"] for answer in answers)


@pytest.mark.usefixtures("quick")
def test_a_stream_outlives_whoever_held_its_wake_and_whoever_counts_it(awake: Lab) -> None:
    """The interceptor is not on its way; a keeper that is away means that the count is not known, and not that it is
    0.
    """
    times: list[float] = []

    def piece(_: str, at: float) -> None:
        times.append(at)
        if len(times) == 20:
            awake.kill("keda", "interceptor")
            awake.kill("ebbtide", "wake-keeper")

    with awake.short_ttl(FIRST):
        assert awake.stream(FIRST, "Count.", piece, **LONG_STREAM) == "length"
        assert times[-1] - times[20] > SHORT * 2, "too quick to show anything"
        wait_until(lambda: awake.replicas(FIRST) == 0, SHORT + 60, "scaled to zero once both are back")


@pytest.mark.usefixtures("quick")
def test_a_client_that_leaves_during_the_wake_leaves_no_pod_and_no_lost_slot(sleeping: Lab) -> None:
    body = {"model": FIRST, "messages": [{"role": "user", "content": "hello " * 50}], "max_tokens": 8}
    with sleeping.short_ttl(FIRST), sleeping.quick(FIRST, load_seconds=LOAD):
        for stream in (False, True):
            with sleeping.client(timeout=3.0) as client:
                try:
                    client.post("/v1/chat/completions", json={**body, "stream": stream})
                    raise AssertionError("the model answered from zero within 3 s")
                except httpx.ReadTimeout:
                    pass
        assert wait_until(lambda: sleeping.replicas(FIRST), 10, "the wake goes on") == 1
        # nobody waits any more, whether it is loaded by now or not: one TTL later the pod is gone
        sleeping.until_asleep(FIRST, seconds=SHORT + 60)
    answer = sleeping.chat(FIRST)
    assert answer.status_code == 200, "a slot was lost"


@pytest.mark.usefixtures("quick")
def test_the_pod_is_gone_within_the_ttl_and_thirty_seconds(lab: Lab) -> None:
    lab.wake(FIRST)
    answered = time.monotonic()
    wait_until(lambda: lab.replicas(FIRST) == 0, TTL + 30, "scaled to zero")
    assert time.monotonic() - answered >= TTL * 0.9, "gone before its TTL"
    lab.until_asleep(FIRST, seconds=30)


@pytest.mark.usefixtures("quick")
def test_who_waits_at_a_gateway_that_is_killed_is_answered_by_the_other(
    sleeping: Lab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clients' example, whose library tells when it asks again."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    example = runpy.run_path(str(PROJECT / "docs/examples/ask.py"))

    def two_gateways(config: dict[str, Any]) -> None:
        config["ebbtide:gateway"]["replicas"] = 2

    with (
        sleeping.quick(FIRST, load_seconds=LOAD),
        sleeping.stack_with(two_gateways),
        example["connect"](sleeping.access.url, sleeping.keys["demo"]) as client,
        caplog.at_level("INFO", "openai"),
        ThreadPoolExecutor(12) as pool,
    ):
        wait_until(lambda: len(sleeping.gateways()) == 2, 60, "two gateways")
        asked = [pool.submit(list, example["ask"](client, FIRST, f"Say the number {n}.", 8)) for n in range(12)]
        wait_until(lambda: sleeping.pods(FIRST), 30, "its wake begun")
        assert "Retrying request" not in caplog.text
        sleeping.kill("ebbtide", "gateway-")
        assert all(any(each.result()) for each in asked)
        assert "Retrying request" in caplog.text, "nobody waited at the one that was killed"


@pytest.mark.usefixtures("quick")
def test_a_load_longer_than_the_ttl_is_not_killed_by_it(sleeping: Lab) -> None:
    with sleeping.short_ttl(FIRST), sleeping.quick(FIRST, load_seconds=SHORT + 15):
        started = time.monotonic()
        answer = sleeping.chat(FIRST)
        took = time.monotonic() - started
        assert answer.status_code == 200, answer.text
        assert took > SHORT + 15
        (woken,) = sleeping.pods(FIRST)
        restarts = woken["status"]["containerStatuses"][0]["restartCount"]
        assert restarts == 0
    # the old pod still answers while it leaves, and is then no longer there to be looked at
    sleeping.until_rolled_out(FIRST)
