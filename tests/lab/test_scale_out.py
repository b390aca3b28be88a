"""From one replica to two and back, under load: who comes is used, who goes finishes what it has begun."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from components.wake_keeper.access import DELETION_COST
from tests.lab.conftest import FIRST, WAKE_SECONDS, Lab, Steady, wait_until

_FINISHED = re.compile(r"^vllm:request_success_total(?:\{[^}]*\})? ([0-9.e+]+)$", re.M)
# a stream takes some seconds on any machine; one of 600 tokens took longer than the engine's grace on a slow one
CLIENTS, REQUESTS, STREAMS, TOKENS = 6, 24, 4, 120


def two(config: dict[str, Any]) -> None:
    config["ebbtide:models"][FIRST] |= {"max": 2, "concurrencyTarget": STREAMS}


def two_by_queue(config: dict[str, Any]) -> None:
    """So few run together that most of the clients wait in the engine; their number alone would start nobody."""
    config["ebbtide:models"][FIRST] |= {"max": 2, "maxSequences": 2, "concurrencyTarget": 1000, "queueTarget": 2}


def finished(lab: Lab) -> dict[str, int]:
    """Requests that each pod of the model says it has answered."""
    counts = {}
    for pod in lab.pods(FIRST):
        path = f"/api/v1/namespaces/ebbtide-models/pods/{pod['metadata']['name']}:8000/proxy/metrics"
        answer = lab.api.get(path)
        if answer.status_code == 200:
            counts[pod["metadata"]["name"]] = round(sum(float(value) for value in _FINISHED.findall(answer.text)))
    return counts


def to_go_first(lab: Lab) -> str | None:
    """The pod that is said to."""
    marked = [
        pod["metadata"]["name"]
        for pod in lab.pods(FIRST)
        if pod["metadata"].get("annotations", {}).get(DELETION_COST) == "-1"
    ]
    return marked[0] if len(marked) == 1 else None


def ready(lab: Lab) -> int:
    return int(lab.deployment(FIRST).get("status", {}).get("readyReplicas", 0))


@contextmanager
def load(lab: Lab) -> Iterator[None]:
    """Clients that ask again as soon as they were answered; all their answers have to be good."""
    clients = [Steady(0.01, lambda: lab.chat(FIRST, max_tokens=16)) for _ in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        for client in clients:
            client.__enter__()
        try:
            yield
        finally:
            list(pool.map(lambda client: client.__exit__(), clients))
    assert {answer.status_code for client in clients for answer in client.answers} == {200}


@pytest.mark.usefixtures("quick")
def test_a_new_replica_has_its_share_at_once_and_no_stream_is_cut_when_one_goes(sleeping: Lab) -> None:
    with sleeping.stack_with(two):
        (woken,) = (sleeping.wake(FIRST) and finished(sleeping)).keys()
        with load(sleeping):
            wait_until(lambda: ready(sleeping) == 2, WAKE_SECONDS + 60, "a second replica")
            before = wait_until(lambda: len(counts := finished(sleeping)) == 2 and counts, 30, "both tell their counts")

            def more() -> dict[str, int] | None:
                new = {name: count - before[name] for name, count in finished(sleeping).items()}
                return new if sum(new.values()) >= REQUESTS else None

            share = wait_until(more, 240, f"{REQUESTS} more answers")
        new = next(count for name, count in share.items() if name != woken)
        assert new >= 0.35 * sum(share.values()), share

        one_left = threading.Event()

        def streams(number: int) -> list[str | None]:
            """One after the other, so that some run at any moment."""
            ends = []
            while not one_left.is_set():
                more = {"max_tokens": TOKENS, "ignore_eos": True, "temperature": 0}
                ends.append(sleeping.stream(FIRST, f"Count from {number}.", lambda *_: None, **more))
            return ends

        with ThreadPoolExecutor(STREAMS) as pool:
            running = [pool.submit(streams, number) for number in range(STREAMS)]
            try:
                last = wait_until(lambda: to_go_first(sleeping), 30, "one of the two is said to go first")

                def one() -> bool:
                    nonlocal last
                    last = to_go_first(sleeping) or last
                    return sleeping.replicas(FIRST) == 1

                with sleeping.short_ttl(FIRST):
                    wait_until(one, 180, "back to one replica while streams run", every=0.5)
                wait_until(
                    lambda: last not in {pod["metadata"]["name"] for pod in sleeping.pods(FIRST)}, 20, f"{last} goes"
                )
                wait_until(lambda: len(sleeping.pods(FIRST, leaving=True)) == 1, 150, "the other's pod gone")
            finally:
                one_left.set()
            assert {end for each in running for end in each.result()} == {"length"}


@pytest.mark.usefixtures("quick")
def test_a_queue_in_the_engine_starts_a_second_replica_and_an_empty_one_lets_the_model_sleep(sleeping: Lab) -> None:
    with sleeping.stack_with(two_by_queue):
        with load(sleeping):
            wait_until(lambda: sleeping.replicas(FIRST) == 2, WAKE_SECONDS + 60, "a second replica")
        with sleeping.short_ttl(FIRST):
            sleeping.until_asleep(FIRST)
