"""Two models that share a card by turns: real vLLM falls asleep behind its answers, queues, and wakes when asked.

On the CPU it frees no memory when it sleeps; who may have the card when, and that nobody's answer is cut, is as on a
GPU.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.lab.conftest import FIRST, SECOND, WAKE_SECONDS, Lab, wait_until

# a stream lasts longer than a turn: two at once get ten tokens a second each, or fewer
TURN, SLEEP_AFTER, STREAMS, TOKENS = 10, 30, 3, 150
_AWAKE = re.compile(r'^vllm:engine_sleep_state{[^}]*sleep_state="awake"[^}]*} ([01])', re.M)


def turns(config: dict[str, Any]) -> None:
    config["ebbtide:pools"]["gpu-1xa10"]["sharing"] = {"turns": {"models": 2, "turn": f"{TURN}s"}}
    for model in (FIRST, SECOND):
        config["ebbtide:models"][model] |= {"idleTtl": "15m", "hold": "5m"}
    config["ebbtide:models"][FIRST]["sleepTtl"] = f"{SLEEP_AFTER}s"


def doing(lab: Lab, model: str) -> str | None:
    """``waiting`` to start, ``awake`` or ``asleep``; None: it has no pod or does not say."""
    for pod in lab.pods(model):
        metrics = f"/api/v1/namespaces/ebbtide-models/pods/{pod['metadata']['name']}:8000/proxy/metrics"
        try:
            answer = lab.api.get(metrics)
        except httpx.TimeoutException:  # two engines on two cores
            continue
        if answer.status_code == 200 and "ebbtide_turn_waiting 1" in answer.text:
            return "waiting"
        if answer.status_code == 200 and (match := _AWAKE.search(answer.text)):
            return "awake" if match[1] == "1" else "asleep"
    return None


def engines(lab: Lab) -> dict[str, tuple[str, int]]:
    """Of each model the pod and how often its engine was started again."""
    engines_now = {}
    for model in (FIRST, SECOND):
        (pod,) = lab.pods(model)
        engines_now[model] = (pod["metadata"]["name"], pod["status"]["containerStatuses"][0]["restartCount"])
    return engines_now


@pytest.fixture(scope="module")
def shared(lab: Lab) -> Iterator[Lab]:
    """Both models loaded, one after the other; the first asleep."""
    lab.put_to_sleep(FIRST, SECOND)
    with lab.stack_with(turns):
        lab.wake(FIRST)
        asked = ThreadPoolExecutor(1).submit(lab.chat, SECOND)
        wait_until(lambda: doing(lab, SECOND) == "waiting", 60, "the second waits for its turn to start")
        wait_until(lambda: doing(lab, FIRST) == "asleep", 30, "the first gives way, nobody asks it")
        assert asked.result(WAKE_SECONDS + 60).status_code == 200
        yield lab


def test_who_is_asked_gets_the_card_and_nothing_is_loaded_again(shared: Lab) -> None:
    before = engines(shared)
    for model, other in ((FIRST, SECOND), (SECOND, FIRST), (FIRST, SECOND)):
        assert shared.chat(model).status_code == 200
        assert (doing(shared, model), doing(shared, other)) == ("awake", "asleep")
    assert engines(shared) == before


def test_both_asked_at_once_have_their_turns_and_no_stream_is_cut(shared: Lab) -> None:
    before, over = engines(shared), threading.Event()
    states: list[tuple[str | None, str | None]] = []

    def look() -> None:
        while not over.wait(0.5):
            first, second = doing(shared, FIRST), doing(shared, SECOND)
            if first == doing(shared, FIRST):  # else the card went over between the two questions
                states.append((first, second))

    def streams(number: int) -> list[str | None]:
        model = (FIRST, SECOND)[number % 2]
        more = {"max_tokens": TOKENS, "ignore_eos": True, "temperature": 0}
        return [shared.stream(model, f"Count from {number}.", lambda *_: None, **more) for _ in range(STREAMS)]

    with ThreadPoolExecutor(5) as pool:
        looking = pool.submit(look)
        running = [pool.submit(streams, number) for number in range(4)]
        try:
            ends = [end for each in running for end in each.result(600)]
        finally:
            over.set()
        looking.result(120)  # three questions, each with the client's own patience
    assert ends == ["length"] * 4 * STREAMS
    assert {("awake", "asleep"), ("asleep", "awake")} <= set(states), "each had the card"
    assert ("awake", "awake") not in states
    assert engines(shared) == before


def test_an_idle_model_sleeps_after_its_own_time_and_stays_a_pod(shared: Lab) -> None:
    assert shared.chat(FIRST).status_code == 200
    before = engines(shared)
    wait_until(lambda: doing(shared, FIRST) == "asleep", SLEEP_AFTER + 15, "asleep by itself")
    assert engines(shared) == before


def test_nobody_outside_can_put_a_model_to_sleep(shared: Lab) -> None:
    with shared.client() as client:
        for path in ("/sleep", "/wake_up", "/v1/../sleep", "/collective_rpc", "/v1/chat/completions/../../../sleep"):
            answer = client.post(path, params={"level": "1"}, json={"model": FIRST})
            assert answer.status_code == 404, (path, answer.text)
