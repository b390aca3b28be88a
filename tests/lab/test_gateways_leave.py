"""Gateways come and go under load, behind the cluster's own Service and behind a balancer that hears of it late."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from tests.lab.balancer import Balancer
from tests.lab.conftest import FIRST, MERGE, SECOND, Lab, deployment_of, wait_until
from tests.on_request import on_request

STREAMS, HELD = 50, 20
TOKENS, TOKEN_SECONDS = 32, 0.25
FORGOTTEN_AFTER = 20.0  # seconds from a pod's end in the endpoints to the balancer's last new connection
LEAVE_SECONDS = 30  # as a place whose balancer is that late says it to the gateway
GRACE = {"terminationGracePeriodSeconds": 600}
LOAD_SECONDS = 75.0  # of the model that is asked while it sleeps: all comes and goes while it loads


class Clients:
    """Streams that are asked again and again, and requests held for a wake; half of each through the balancer."""

    def __init__(self, lab: Lab, balancer: str) -> None:
        self._lab, self._doors = lab, [lab.access.url, balancer]
        self.streams: list[str] = []
        self.held: list[str] = []
        self._stop = threading.Event()
        asking = [threading.Thread(target=self._stream_on, args=(n,), daemon=True) for n in range(STREAMS)]
        self._held = [threading.Thread(target=self._wait, args=(n,), daemon=True) for n in range(HELD)]
        self._threads = [*asking, *self._held]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def until_held_are_answered(self) -> None:
        wait_until(lambda: len(self.held) == HELD, LOAD_SECONDS + 60, "every held request is over")

    def _stream_on(self, number: int) -> None:
        while not self._stop.is_set():
            self.streams.append(self._ask(number, FIRST, stream=True))

    def _wait(self, number: int) -> None:
        self.held.append(self._ask(number, SECOND, stream=number % 4 < 2))

    def _ask(self, number: int, model: str, *, stream: bool) -> str:
        """Return ``whole``, or what became of the answer."""
        body = {"model": model, "messages": [{"role": "user", "content": "Count."}], "max_tokens": TOKENS}
        try:
            with self._lab.client() as client:
                client.base_url = httpx.URL(self._doors[number % 2])
                answer = client.post("/v1/chat/completions", json={**body, "stream": stream})
        except httpx.HTTPError as problem:
            return f"{model} by {self._doors[number % 2]}: {problem!r}"
        if stream:
            whole = answer.text.count('"content": "word') == TOKENS and answer.text.endswith("data: [DONE]\n\n")
        else:
            whole = answer.is_success and answer.json()["usage"]["completion_tokens"] == TOKENS
        return "whole" if whole else f"{model} by {self._doors[number % 2]}: {answer.status_code} {answer.text[-200:]}"


def two_gateways(config: dict[str, Any]) -> None:
    """Change the stack: as many at once as a busy day brings, and time enough to see gateways come and go."""
    config["ebbtide:gateway"]["replicas"] = 2
    first, second = config["ebbtide:models"].values()
    first |= {"maxSequences": 64}
    second |= {"maxSequences": 16, "maxQueued": 32, "coldStart": "3m", "idleTtl": "3m"}


def roll_out(lab: Lab) -> None:
    lab.roll("gateway", "again")


def drain(lab: Lab) -> None:
    """Evict each gateway, as the drain of its node does; the budget lets one go at a time."""
    for name in lab.gateways():
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "ebbtide"}}
        path = f"/api/v1/namespaces/ebbtide/pods/{name}/eviction"
        wait_until(lambda: lab.api.post(path, json=body).is_success, 60, f"{name} may go")  # noqa: B023
    lab.until_current("gateway")


def scale_down(lab: Lab) -> None:
    scale = f"{deployment_of('gateway')}/scale"
    lab.api.patch(scale, content='{"spec": {"replicas": 1}}', headers=MERGE).raise_for_status()
    lab.disown(deployment_of("gateway"))
    lab.until_current("gateway")


@on_request
@pytest.mark.usefixtures("quick")
def test_no_request_is_lost_when_gateways_come_and_go(sleeping: Lab) -> None:
    with (
        sleeping.quick(FIRST, token_seconds=TOKEN_SECONDS),
        sleeping.quick(SECOND, load_seconds=LOAD_SECONDS),
        sleeping.stack_with(two_gateways),
        sleeping.with_setting("gateway", "leaveSeconds: 5\n", f"leaveSeconds: {LEAVE_SECONDS}\n", **GRACE),
        Balancer(sleeping, FORGOTTEN_AFTER) as balancer,
    ):
        sleeping.wake(FIRST)
        with Clients(sleeping, balancer.url) as clients:
            wait_until(lambda: sleeping.counted(SECOND)["Concurrency"] > 0, 30, "the wake has begun")
            for change in (roll_out, drain, scale_down):
                change(sleeping)
            assert not clients.held, "answered before all gateways had gone: the load is too short for this machine"
            clients.until_held_are_answered()
        lost = [each for each in clients.streams + clients.held if each != "whole"]
        assert not lost, (len(lost), lost[:5])
        assert len(clients.streams) > STREAMS * 3
        assert balancer.late > 20, "hardly a request came to a gateway that was told to go"
        assert balancer.refused == 0
