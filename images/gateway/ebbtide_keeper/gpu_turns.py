"""Loop over the cards that models share by turns: ask each engine for its state, decide, command it.

A card is a node: pools whose models take turns have one GPU a node. Each engine is asked for its own state, so a new
keeper knows as much as the last one did; it only counts the turns from its own beginning. While the API server is away
it goes on with the pods last listed: sleeping engines must be woken then, too.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import httpx
from ebbtide_kube.api import describe, model_of

from .in_flight import ENGINE_PORT, Load, Unknown, runs, url
from .metrics_text import samples
from .model_state import Object
from .settings import Model
from .turn_policy import Engine, Move, State, Turn, steps

_PAUSE_SECONDS = 0.5
_FRESH_SECONDS = 0.4
_ASK_SECONDS = 2.0
_LISTEN_SECONDS = 5.0  # for a new keeper: moves begun by the last one are under way and not visible yet
_REST_SECONDS = 5.0  # for an engine whose move failed
_WAKE_SECONDS = 120.0  # the largest weights of one card load from main memory in seconds
_SLEEP_STATE = "vllm:engine_sleep_state"
_TURN_WAITING = "ebbtide_turn_waiting"  # images/vllm/turn.py
# `wait`: running requests finish; those that come meanwhile are queued until it is awake again
_PATHS: Mapping[Move, str] = {
    "begin": "/wake_up",
    "wake": "/wake_up",
    "sleep": "/sleep?level=1&mode=wait",
}
_log = logging.getLogger("ebbtide.keeper.cards")


T = TypeVar("T")


def remembered(look: Callable[[], T | None]) -> Callable[[], T | None]:
    """Return a function that gives what ``look`` gives, or its last result while it gives nothing."""
    last: T | None = None

    def latest() -> T | None:
        nonlocal last
        result = look()
        last = last if result is None else result
        return last

    return latest


class TurnMetrics(Protocol):
    """Metrics sink."""

    def moved(self, model: str, move: str, seconds: float) -> None: ...
    def engines_asleep(self, model: str, count: int) -> None: ...


@dataclass(frozen=True)
class _EngineState:
    """Last observed state of an engine, and since when."""

    state: State
    since: float


class GpuTurns:
    """Turns of engines on their cards. ``pods`` returns the models' pods, or None while they are unknown; ``loads`` the
    gateway's load, at most as old as its argument says (seconds).
    """

    def __init__(
        self,
        models: Collection[Model],
        pods: Callable[[], Mapping[str, Object] | None],
        loads: Callable[[float], Any],
        metrics: TurnMetrics,
        client: httpx.AsyncClient | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = {model.name: model for model in models if model.turn_seconds is not None}
        self._pods = pods
        self._loads = loads
        self._metrics = metrics
        self._client = client or httpx.AsyncClient(trust_env=False, timeout=_ASK_SECONDS)
        self._clock = clock
        self._states: dict[str, _EngineState] = {}
        self._busy_since: dict[str, float] = {}
        self._load = Load({}, {})
        self._moving: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Run until cancelled; return at once where no models take turns."""
        try:
            if self._models:
                await asyncio.sleep(_LISTEN_SECONDS)
            while self._models:
                await self.reconcile()
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            for task in self._moving.values():
                task.cancel()
            await asyncio.gather(*self._moving.values(), return_exceptions=True)

    async def reconcile(self) -> None:
        """Look at every card once. While no engine runs, the gateways are not asked."""
        pods = self._pods()
        if pods is None:
            return
        running = {name: pod for name, pod in pods.items() if model_of(pod) in self._models and runs(pod)}
        for name in set(self._moving) - set(pods):
            self._moving[name].cancel()  # its engine will never answer
        states = dict(zip(running, await asyncio.gather(*map(self._state, running.values())), strict=True))
        now = self._clock()
        before = self._states
        self._states = {name: _since(before.get(name), state, now) for name, state in states.items()}
        self._count(running, states)
        if running:
            await self._ask_gateways(now)
        cards: dict[str, list[Engine]] = defaultdict(list)
        for name, pod in running.items():
            cards[pod["spec"]["nodeName"]].append(self._engine(name, pod))
        for card in cards.values():
            for step in steps(card, now):
                self._take(step, running[step.pod])

    async def _state(self, pod: Object) -> State:
        if _name(pod) in self._moving:
            return "moving"
        try:
            answer = await self._client.get(f"{url(pod, ENGINE_PORT)}/metrics", params={"name[]": _SLEEP_STATE})
        except httpx.HTTPError:
            return "moving"
        return parse_state(answer.text) if answer.status_code == 200 else "moving"

    async def _ask_gateways(self, now: float) -> None:
        try:
            self._load = await self._loads(_FRESH_SECONDS)
        except Unknown:
            return  # the last known load holds; a wrong turn cuts no answer
        busy = {model for model, count in self._load.in_flight.items() if count > 0}
        self._busy_since = {model: self._busy_since.get(model, now) for model in busy}

    def _engine(self, name: str, pod: Object) -> Engine:
        model, observation = self._models[model_of(pod)], self._states[name]
        return Engine(
            pod=name,
            state=observation.state,
            since=observation.since,
            busy_since=self._busy_since.get(model.name),
            idle=self._load.idle.get(model.name, math.inf),
            turn=model.turn_seconds or 0.0,
            sleep_after=model.sleep_seconds,
            leaving="deletionTimestamp" in pod["metadata"],
        )

    def _take(self, step: Turn, pod: Object) -> None:
        task = asyncio.create_task(self._tell(step.move, pod))
        self._moving[step.pod] = task
        task.add_done_callback(lambda _: self._moving.pop(step.pod, None))

    async def _tell(self, move: Move, pod: Object) -> None:
        began = self._clock()
        try:
            # an engine put to sleep first finishes its answers, which may take as long as they like
            seconds = None if move == "sleep" else _WAKE_SECONDS
            answer = await self._client.post(f"{url(pod, ENGINE_PORT)}{_PATHS[move]}", timeout=seconds)
            answer.raise_for_status()
        except httpx.HTTPError as problem:
            _log.warning("%s of %s: %s", move, _name(pod), describe(problem))
            await asyncio.sleep(_REST_SECONDS)
            return
        self._metrics.moved(model_of(pod), move, self._clock() - began)

    def _count(self, running: Mapping[str, Object], states: Mapping[str, State]) -> None:
        for model in self._models:
            mine = [states[name] for name, pod in running.items() if model_of(pod) == model]
            self._metrics.engines_asleep(model, mine.count("asleep"))


def parse_state(metrics: str) -> State:
    """Return the state that an engine's metrics report. An engine without that metric cannot be put to sleep either."""
    values = [*samples(metrics, _TURN_WAITING, _SLEEP_STATE)]
    if any(sample.name == _TURN_WAITING and sample.value == 1 for sample in values):
        return "waiting"
    awake = [sample.value for sample in values if sample.labels.get("sleep_state") == "awake"]
    if not awake:
        return "moving"
    return "awake" if 1 in awake else "asleep"


def _since(before: _EngineState | None, state: State, now: float) -> _EngineState:
    return before if before is not None and before.state == state else _EngineState(state, now)


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])
