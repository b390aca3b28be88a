"""The loop over shared cards, against engines that sleep and wake as vLLM 0.32.0 does (``entrypoints/serve/dev/sleep``,
``v1/metrics/loggers.py``) and the door of those that wait to start (``images/vllm/turn.py``)."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from tests.unit import keeper_kit

from ebbtide_keeper import gpu_turns as module  # isort: skip
from ebbtide_keeper.gpu_turns import GpuTurns, parse_state, remembered  # isort: skip
from ebbtide_keeper.in_flight import Load, Unknown  # isort: skip
from ebbtide_keeper.metrics import Metrics  # isort: skip
from ebbtide_keeper.settings import Model  # isort: skip

assert keeper_kit

NODE = "node-1"


def sleep_state(awake: bool) -> str:
    """As vLLM writes it, of one engine core."""
    return "# TYPE vllm:engine_sleep_state gauge\n" + "".join(
        f'vllm:engine_sleep_state{{engine="0",model_name="m",sleep_state="{name}"}} {float(value)}\n'
        for name, value in (("awake", awake), ("weights_offloaded", not awake), ("discard_all", False))
    )


class Card:
    """Engines by address, and what each was told. ``busy`` ones finish their answers only when told so."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.log: list[tuple[str, str]] = []
        self.busy: dict[str, asyncio.Event] = {}
        self.in_flight: Counter[str] = Counter()
        self.idle: dict[str, float] = {}
        self.silent = False
        self.broken: set[str] = set()
        self.now = 1000.0
        self.asked = 0

    def put(self, model: str, state: str, node: str = NODE, leaving: bool = False) -> str:
        name, host = f"{model}-1", f"10.0.0.{len(self.pods) + 1}"
        pod = keeper_kit.pod(name, 0, container=keeper_kit.running(), phase="Running", leaving=leaving)
        pod["metadata"]["labels"]["ebbtide.dev/model"] = model
        pod["spec"]["nodeName"] = node
        pod["status"]["podIP"] = host
        self.pods[name] = pod
        self.states[host] = state
        return host

    async def answer(self, request: httpx.Request) -> httpx.Response:
        host, path = request.url.host, request.url.path
        state = self.states[host]
        if request.method == "GET":
            self.asked += 1
            assert path == "/metrics"
            if state == "waiting":
                return httpx.Response(200, text="# TYPE ebbtide_turn_waiting gauge\nebbtide_turn_waiting 1\n")
            if state == "loading":
                raise httpx.ConnectError("refused")
            assert request.url.params["name[]"] == "vllm:engine_sleep_state"
            return httpx.Response(200, text=sleep_state(state == "awake"))
        self.log.append((host, path))
        if host in self.broken:
            return httpx.Response(500, text="no")
        if path == "/wake_up":
            self.states[host] = "loading" if state == "waiting" else "awake"
        else:
            assert (path, request.url.params["level"], request.url.params["mode"]) == ("/sleep", "1", "wait")
            if host in self.busy:
                await self.busy[host].wait()
            self.states[host] = "asleep"
        return httpx.Response(200, json={})

    async def load(self, fresh: float) -> Load:
        assert fresh < 1
        if self.silent:
            raise Unknown("a pod of the gateway does not answer")
        return Load(dict(self.in_flight), self.idle)

    def moves(self) -> list[tuple[str, str]]:
        """What was told since the last time."""
        moves, self.log = self.log, []
        return moves


Test = Callable[[Card, GpuTurns], Coroutine[Any, Any, None]]


def play(test: Test, **models: float | None) -> str:
    """Run ``test``; ``models`` by name with their ``sleepTtl``. What Prometheus would read at its end."""
    metrics = Metrics(models, ())

    async def run() -> None:
        card = Card()
        client = httpx.AsyncClient(transport=httpx.MockTransport(card.answer))
        declared = [
            Model(name=name, holdSeconds=90, coldStartSeconds=60, turnSeconds=30, sleepSeconds=sleep)
            for name, sleep in models.items()
        ]
        cards = GpuTurns(declared, lambda: card.pods, card.load, metrics, client, lambda: card.now)
        await test(card, cards)

    asyncio.run(run())
    return metrics.text().decode()


async def look(card: Card, cards: GpuTurns, seconds: float = 1.0) -> list[tuple[str, str]]:
    """One look, some seconds later, and what came of it."""
    card.now += seconds
    await cards.reconcile()
    for _ in range(20):
        await asyncio.sleep(0)
    return card.moves()


def test_an_engine_that_waits_to_start_starts_once_the_other_sleeps() -> None:
    async def test(card: Card, cards: GpuTurns) -> None:
        first, second = card.put("a", "awake"), card.put("b", "waiting")
        assert await look(card, cards) == []
        assert await look(card, cards, 10) == [(first, "/sleep")]
        assert await look(card, cards) == [(second, "/wake_up")]
        card.in_flight["a"] = 1
        assert await look(card, cards) == [], "b loads"
        card.states[second] = "awake"
        assert await look(card, cards) == [], "who has just come is about to be asked"
        assert await look(card, cards, 6) == [(second, "/sleep")]
        assert await look(card, cards) == [(first, "/wake_up")]

    numbers = play(test, a=None, b=None)
    assert 'ebbtide_engine_move_seconds_count{model="a",move="wake"} 1.0' in numbers
    assert 'ebbtide_engines_asleep{model="b"} 1.0' in numbers


def test_who_has_a_stream_to_finish_finishes_it_and_the_next_waits_for_that() -> None:
    async def test(card: Card, cards: GpuTurns) -> None:
        first, second = card.put("a", "awake"), card.put("b", "asleep")
        card.in_flight["a"] = card.in_flight["b"] = 1
        card.busy[first] = asyncio.Event()
        assert await look(card, cards) == []
        assert await look(card, cards, 29) == []
        assert await look(card, cards, 2) == [(first, "/sleep")]
        for _ in range(5):
            assert await look(card, cards, 60) == [], "it still answers"
        card.busy.pop(first).set()
        await look(card, cards)
        await look(card, cards)
        assert card.states == {first: "asleep", second: "awake"}

    play(test, a=None, b=None)


def test_an_idle_engine_sleeps_after_its_own_time_and_wakes_when_it_is_asked() -> None:
    async def test(card: Card, cards: GpuTurns) -> None:
        only = card.put("a", "awake")
        card.idle["a"] = 1.0
        assert await look(card, cards) == []
        card.idle["a"] = 70.0
        assert await look(card, cards, 70) == [(only, "/sleep")]
        assert await look(card, cards) == []
        card.in_flight["a"] = 2
        assert await look(card, cards) == [(only, "/wake_up")]
        card.in_flight["a"] = 0
        assert await look(card, cards, 10) == [], "it was awake again for less than that"

    play(test, a=60)


def test_cards_do_not_get_in_each_others_way_and_other_models_are_left_alone() -> None:
    async def test(card: Card, cards: GpuTurns) -> None:
        card.put("a", "awake", "node-1")
        second = card.put("b", "waiting", "node-2")
        card.put("other", "waiting", "node-1")
        assert await look(card, cards, 60) == [(second, "/wake_up")]

    play(test, a=None, b=None)


def test_a_gateway_that_is_silent_changes_nothing_of_what_was_known_of_it() -> None:
    async def test(card: Card, cards: GpuTurns) -> None:
        first, second = card.put("a", "awake"), card.put("b", "asleep")
        card.in_flight["b"] = 1
        await look(card, cards)
        card.silent = True
        assert await look(card, cards, 10) == [(first, "/sleep")]
        assert await look(card, cards) == [(second, "/wake_up")]

    play(test, a=None, b=None)


def test_an_engine_that_refuses_is_told_again_later_and_holds_the_card_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_REST_SECONDS", 0.2)

    async def test(card: Card, cards: GpuTurns) -> None:
        first, second = card.put("a", "awake"), card.put("b", "waiting")
        card.broken.add(first)
        await look(card, cards)
        assert await look(card, cards, 10) == [(first, "/sleep")]
        assert await look(card, cards) == []
        await asyncio.sleep(0.3)
        card.broken.clear()
        assert await look(card, cards) == []
        assert await look(card, cards, 10) == [(first, "/sleep")]
        assert await look(card, cards) == [(second, "/wake_up")]

    play(test, a=None, b=None)


def test_a_pod_that_is_gone_is_waited_for_no_longer() -> None:
    async def test(card: Card, cards: GpuTurns) -> None:
        first, second = card.put("a", "awake"), card.put("b", "asleep")
        card.in_flight["b"] = 1
        card.busy[first] = asyncio.Event()
        await look(card, cards)
        assert await look(card, cards, 10) == [(first, "/sleep")]
        del card.pods["a-1"]
        await look(card, cards)
        assert card.states[second] == "awake"

    play(test, a=None, b=None)


def test_without_an_engine_that_runs_nobody_is_asked() -> None:
    async def test(card: Card, cards: GpuTurns) -> None:
        card.silent = True
        card.put("a", "loading")
        card.pods["a-1"]["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "ContainerCreating"}}
        await look(card, cards)
        card.pods["a-1"]["status"].pop("containerStatuses")
        await look(card, cards)
        assert card.asked == 0

    play(test, a=None)


def test_the_loop_is_over_at_once_where_no_models_take_turns() -> None:
    async def run() -> None:
        models = [Model(name="a", holdSeconds=90, coldStartSeconds=60)]
        await asyncio.wait_for(GpuTurns(models, lambda: None, Card().load, Metrics(["a"], ())).run(), 1)

    asyncio.run(run())


def test_while_the_api_server_is_away_turns_go_on_with_what_was_seen_last() -> None:
    states: list[str | None] = [None, "first", None, "second", None]
    look = remembered(lambda: states.pop(0))
    assert [look() for _ in range(5)] == [None, "first", "first", "second", "second"]


def test_a_new_keeper_listens_before_it_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LISTEN_SECONDS", 0.3)

    async def test(card: Card, cards: GpuTurns) -> None:
        first = card.put("a", "waiting")
        running = asyncio.create_task(cards.run())
        await asyncio.sleep(0.1)
        assert card.moves() == [], "the last one may just have told another engine"
        async with asyncio.timeout(5):
            while not card.log:
                await asyncio.sleep(0.02)
        assert card.moves() == [(first, "/wake_up")]
        running.cancel()

    play(test, a=None)


def test_what_an_engine_says_of_itself() -> None:
    assert parse_state(sleep_state(True)) == "awake"
    assert parse_state(sleep_state(False)) == "asleep"
    assert parse_state("") == "moving", "one that keeps no count cannot be put to sleep"
    assert parse_state(sleep_state(False).replace('engine="0"', 'engine="1"') + sleep_state(True)) == "awake"
    assert math.isinf(Load({}, {}).idle.get("a", math.inf))
