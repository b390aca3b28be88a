"""Which request ended an engine: the rule itself, and the real gateway with engines that die."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit as kit

from ebbtide_gateway.upstream_call import Call  # isort: skip
from ebbtide_gateway.engine_deaths import (  # isort: skip
    REFUSED_SECONDS,
    SETTLED_SECONDS,
    TRIALS_SECONDS,
    EndsEngines,
    EngineDeaths,
    MustWait,
    normalised,
)
from ebbtide_gateway.settings import Model  # isort: skip

SMALL = Model(name="small", host="small.ebbtide-models", gpus=1, holdSeconds=60)
CHAT = "/v1/chat/completions"
A, B = "10.0.0.1:8000", "10.0.0.2:8000"


class World:
    """Replicas and time as the rule sees them."""

    def __init__(self, *ready: str) -> None:
        self.now = 1000.0
        self.ready = list(ready)
        self.died: list[str] = []
        self.deaths = EngineDeaths(lambda: self.now, self.died.append)

    def call(self, prompt: str, **more: Any) -> Call:
        body = {"model": "small", "messages": [{"role": "user", "content": prompt}], **more}
        return Call(SMALL, CHAT, body=json.dumps(body).encode())

    def choose(self, call: Call) -> str | None:
        def pick(without: Collection[str]) -> str | None:
            return next((at for at in self.ready if at not in without), None)

        return self.deaths.choose(call, self.ready, pick)

    def send(self, *calls: Call) -> None:
        for call in calls:
            at = self.choose(call)
            assert at is not None
            self.deaths.sent(call, at)

    def waits(self, *calls: Call) -> bool:
        for call in calls:
            with pytest.raises(MustWait):
                self.choose(call)
        return True

    def dies(self, at: str, *inside: Call) -> None:
        """Each that was in it finds it out, as the transport does."""
        for call in inside:
            self.deaths.died(at, "small")
            self.deaths.left(call, at)

    def answers(self, at: str, call: Call) -> None:
        self.deaths.begun(call, at)
        self.deaths.answered(call)
        self.deaths.left(call, at)
        self.deaths.leave(call)


def test_a_request_that_was_alone_in_two_engines_that_died_is_refused_by_every_client_for_a_while() -> None:
    world = World(A)
    poison = world.call("poison")
    for _ in range(2):
        world.send(poison)
        world.dies(A, poison)
    with pytest.raises(EndsEngines) as refused:
        world.choose(poison)
    assert (refused.value.status, refused.value.code) == (422, "request_ends_engine")
    again = world.call("poison", stream=True, user="somebody else", request_id="r2")
    with pytest.raises(EndsEngines):
        world.deaths.check(again)
    world.deaths.check(world.call("poison", temperature=0.5))
    world.now += REFUSED_SECONDS
    world.deaths.check(again)
    assert world.died == ["small", "small"]


def test_of_many_in_an_engine_that_died_each_is_tried_alone_and_only_the_one_that_ends_the_next_is_refused() -> None:
    world = World(A)
    calls = [world.call(f"bystander {number}") for number in range(3)]
    poison = world.call("poison")
    world.send(*calls, poison)
    world.dies(A, *calls, poison)
    for number, call in enumerate(calls):
        later = calls[number + 1 :]
        world.send(call)
        assert world.waits(*later, poison, world.call("somebody new"))
        world.answers(A, call)
    world.send(poison)
    assert world.waits(world.call("somebody new"))
    world.dies(A, poison)
    with pytest.raises(EndsEngines):
        world.choose(poison)
    for call in (*calls, world.call("somebody new")):
        world.send(call)
    assert world.died == ["small"] * 2


def test_whoever_is_new_goes_to_the_other_replicas_while_one_is_kept_for_a_trial() -> None:
    world = World(A, B)
    suspect = world.call("suspect")
    world.send(suspect)
    world.dies(A, suspect)
    world.send(suspect)
    assert [world.choose(world.call(f"new {number}")) for number in range(3)] == [B] * 3
    world.answers(A, suspect)
    assert world.choose(world.call("new")) == A


def test_what_went_through_the_interceptor_may_be_in_any_replica() -> None:
    world = World(A)
    suspect, stranger = world.call("suspect"), world.call("stranger")
    world.send(suspect)
    world.dies(A, suspect)
    world.deaths.sent(stranger, None)
    assert world.waits(suspect)
    world.now += SETTLED_SECONDS
    world.send(suspect)
    world.deaths.died(None, "small")
    assert world.deaths.is_suspect(stranger)
    world.deaths.check(stranger)


def test_a_suspect_is_not_sent_shortly_after_another_whom_nobody_knows_yet() -> None:
    world = World(A)
    suspect = world.call("suspect")
    world.send(suspect)
    world.dies(A, suspect)
    stranger = world.call("stranger")
    world.deaths.sent(stranger, A)
    assert world.waits(suspect, world.call("another"))
    world.now += SETTLED_SECONDS
    world.send(suspect)


def test_two_poisons_in_a_row_do_not_convict_a_bystander_who_was_in_both_engines() -> None:
    world = World(A)
    bystander, first, second = (world.call(name) for name in ("bystander", "first", "second"))
    world.send(bystander, first)
    world.dies(A, bystander, first)
    world.now += TRIALS_SECONDS
    world.send(bystander)  # its trial; then another poison comes to the same engine, as if by another gateway
    world.deaths.sent(second, A)
    world.dies(A, bystander, second)
    for call in (bystander, first, second):
        world.deaths.check(call)


def test_a_client_that_sends_and_leaves_at_once_is_a_suspect_as_well() -> None:
    world = World(A)
    bystander, poison = world.call("bystander"), world.call("poison")
    for _ in range(2):
        world.now += 10
        world.send(poison)
        world.deaths.left(poison, A)
        world.deaths.leave(poison)
        world.dies(A, poison)
        poison = world.call("poison")
    world.deaths.check(bystander)
    with pytest.raises(EndsEngines):
        world.deaths.check(poison)


def test_who_had_begun_to_be_answered_is_blamed_only_where_nobody_else_can_be() -> None:
    world = World(A)
    streaming, poison = world.call("streaming"), world.call("poison")
    world.send(streaming, poison)
    world.deaths.begun(streaming, A)
    world.dies(A, streaming, poison)
    world.send(poison)
    assert world.waits(world.call("streaming")), "the poison is tried, and the stream comes again as somebody new"
    world.dies(A, poison)
    with pytest.raises(EndsEngines):
        world.choose(poison)


def test_a_suspect_that_is_answered_whole_is_none_any_more() -> None:
    world = World(A)
    call = world.call("slow")
    world.send(call)
    world.dies(A, call)
    world.send(call)
    world.answers(A, call)
    world.send(again := world.call("slow"))
    world.dies(A, again)
    world.deaths.check(again)


def test_trials_end_after_a_while_and_keep_nobody_longer() -> None:
    world = World(A)
    suspects = [world.call(f"slow {number}") for number in range(2)]
    world.send(*suspects)
    world.dies(A, *suspects)
    world.send(suspects[0])
    new = world.call("new")
    assert world.waits(suspects[1], new)
    world.now += TRIALS_SECONDS
    world.send(suspects[1], new)


def test_a_suspect_whose_client_leaves_keeps_nobody_waiting() -> None:
    world = World(A)
    gone, other = world.call("gone"), world.call("other")
    world.send(gone, other)
    world.dies(A, gone, other)
    world.send(gone)
    assert world.waits(other)
    world.deaths.left(gone, A)
    world.deaths.leave(gone)
    world.send(other)
    world.answers(A, other)
    world.send(world.call("new"))


def test_one_death_is_counted_once_whoever_tells_of_it_and_memory_is_bounded() -> None:
    world = World(A)
    same = [world.call("the same") for _ in range(3)]
    world.send(*same)
    world.dies(A, *same)
    world.deaths.check(world.call("the same"))
    for call in same:
        world.deaths.leave(call)
    for number in range(1100):
        world.send(call := world.call(f"call {number}"))
        world.dies(A, call)
        world.deaths.leave(call)
    assert len(world.deaths._records) == 1024
    assert not world.deaths._sent
    assert not world.deaths._trials


def test_the_same_request_is_known_again_whatever_clients_change_between_tries() -> None:
    first = {"model": "small", "messages": [], "stream": False, "logprobs": True}
    second = {"logprobs": True, "stream": True, "user": "u", "messages": [], "model": "small"}
    assert normalised(json.dumps(first).encode()) == normalised(json.dumps(second).encode())
    assert normalised(json.dumps({**first, "logprobs": False}).encode()) != normalised(json.dumps(first).encode())
    large = json.dumps({"prompt": "x" * 300_000}).encode()
    assert normalised(large) == large


# The real process with an engine that dies of one request, and comes back.

KEY = "sk-demo-secret"
START_SECONDS = 3.0
DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."


class DyingEngine:
    """Answers after a moment. A request with the word poison ends it with all that are in it; it starts again then.
    Until then it holds every bystander, so that each came before the poison and is to be tried before it.
    """

    def __init__(self, upstream: kit.Upstream, interceptor: kit.Upstream, kube: kit.KubeApi) -> None:
        self.deaths, self.held, self.upstream = 0, 0, upstream
        self._kube, self._address = kube, upstream.served.url.removeprefix("http://")
        self._up = True
        for each in (upstream, interceptor):
            each.script = [self._answer] * 10_000
        interceptor.knock_script = [self._hold] * 10_000
        kube.replicas("small", self._address)

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        born = self.deaths
        self.held += "bystander" in json.dumps(body)
        while "bystander" in json.dumps(body) and self.deaths == 0:
            await asyncio.sleep(0.01)
        for _ in range(20):
            await asyncio.sleep(0.01)
            if "poison" in json.dumps(body) and self._up and born == self.deaths:
                self._die()
            if not self._up or born != self.deaths:
                return await kit.engine_error(500, "InternalServerError", DEAD)(request, body)
        return await kit.answers(request, body)

    async def _hold(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        while not self._up:
            await asyncio.sleep(0.02)
        return await kit.says(200, "")(request, body)

    def _die(self) -> None:
        self.deaths, self._up = self.deaths + 1, False
        threading.Thread(target=self._start_again).start()

    def _start_again(self) -> None:
        self._kube.replicas("small", self._address, ready=False)
        time.sleep(START_SECONDS)  # what is waited for here is the start itself
        self._up = True
        self._kube.replicas("small", self._address)


@pytest.fixture
def gateway_and_engine(tmp_path: Path) -> Iterator[tuple[kit.Gateway, DyingEngine]]:
    interceptor, upstream, kube = kit.Upstream(), kit.Upstream(), kit.KubeApi()
    kube.scale("small", 1)
    engine = DyingEngine(upstream, interceptor, kube)
    settings = {
        "interceptorUrl": interceptor.served.url,
        "models": [{"name": "small", "host": "small.ebbtide-models", "gpus": 1, "holdSeconds": 30}],
        "cluster": {"apiServer": kube.served.url},
    }
    keys = kit.key_file({"demo": (KEY, "everyone")}, {"everyone": ["*"]})
    with kit.serving(kit.start(gateway_python(), tmp_path, settings, keys), 60) as gateway:
        kit.until(lambda: ask(gateway, "hello").status_code == 200 and upstream.received, "the replica is known", 20)
        yield gateway, engine
    for each in (interceptor.served, upstream.served, kube.served):
        each.stop()


def ask(gateway: kit.Gateway, prompt: str, **more: Any) -> httpx.Response:
    body = {"model": "small", "messages": [{"role": "user", "content": prompt}], **more}
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.post(gateway.url + CHAT, json=body, headers=headers, timeout=60)


@pytest.mark.slow
def test_a_poison_ends_two_engines_and_no_more_and_the_bystanders_are_all_answered(
    gateway_and_engine: tuple[kit.Gateway, DyingEngine],
) -> None:
    gateway, engine = gateway_and_engine
    poisoned = threading.Event()

    def stand_by(number: int) -> list[tuple[int, int]]:
        waits = []
        while not poisoned.is_set():
            before = engine.deaths
            waits.append((ask(gateway, f"bystander {number}").status_code, engine.deaths - before))
        return waits

    with ThreadPoolExecutor(4) as pool:
        bystanders = [pool.submit(stand_by, number) for number in range(3)]
        try:
            kit.until(lambda: engine.held >= len(bystanders), "the bystanders are in the engine", 20)
            tries = [ask(gateway, "poison", stream=number % 2 == 0, user=str(number)) for number in range(4)]
        finally:
            poisoned.set()
        waits = [each for bystander in bystanders for each in bystander.result(60)]
    assert [(each.status_code, each.json()["error"]["code"]) for each in tries] == [(422, "request_ends_engine")] * 4
    assert engine.deaths == 2
    assert {status for status, _ in waits} == {200}
    assert max(deaths for _, deaths in waits) == 1, "nobody waits for a second start"
    metrics = httpx.get(gateway.metrics_url).text
    assert 'ebbtide_gateway_engine_deaths_total{model="small"} 2.0' in metrics
    assert 'ebbtide_gateway_refusals_total{code="request_ends_engine",group="everyone",model="small"} 4.0' in metrics
    assert "poison" not in gateway.log()


@pytest.mark.slow
def test_a_500_that_the_engine_survives_is_the_requests_fault_where_it_carries_a_grammar(
    gateway_and_engine: tuple[kit.Gateway, DyingEngine],
) -> None:
    gateway, engine = gateway_and_engine
    fails = kit.engine_error(500, "InternalServerError", "Internal server error")
    engine.upstream.script[:0] = [fails, fails]
    refused = ask(gateway, "hello", structured_outputs={"regex": "x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unusable_constraint")
    assert refused.json()["error"]["param"] == "structured_outputs"
    assert ask(gateway, "hello").status_code == 500
