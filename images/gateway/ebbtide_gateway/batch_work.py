"""Work on batches: each gateway takes lines of the queue and asks them as their key would, on replicas that are awake
and idle, or by a wake where a deadline is near.

Imported only where a stack has a database. People come first: lines in a model's replicas are broken off and given back
as soon as somebody asks that model here, and within a round where somebody asks another gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import statistics
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ebbtide_accounts.connection import PROBLEMS, describe
from ebbtide_batch import jobs, lines, results
from ebbtide_batch.lines import Line

from .access_log import Record
from .accounts import Accounts
from .batch_turns import FIRST_GUESS_SECONDS, Forecast, ModelNow, Turn, again_after, forecasts, turns
from .errors import ApiError
from .keys import Caller, KeyFile
from .relay import KeptReply
from .replicas import Replicas
from .settings import Model

if TYPE_CHECKING:
    import asyncpg

_BUSY_SECONDS = 3.0
_HEARD_SECONDS = 2.0
_MOST_TAKES = 10
_TURN_SECONDS = 5.0
_READ_SECONDS = 600.0
_FORGET_SECONDS = 3600.0
_LATELY = 50
_log = logging.getLogger("ebbtide.gateway.batches")

Ask = Callable[[str, bytes, Caller, Record, KeptReply, bool], Awaitable[None]]
"""Asks one line as a request of its key; the last argument: only where a replica is awake and idle."""


class BatchWork:
    """Lines that this process works on. ``models`` by every name; ``pause_seconds`` between two looks at the queue."""

    def __init__(
        self,
        accounts: Accounts,
        keys: KeyFile,
        models: Callable[[], Mapping[str, Model]],
        replicas: Replicas,
        pause_seconds: float,
    ) -> None:
        self._accounts, self._keys, self._models, self._replicas = accounts, keys, models, replicas
        self._pause = pause_seconds
        self._worker = uuid.uuid4()
        self._lines: dict[tuple[str, int], Line] = {}
        self._slots: defaultdict[str, set[asyncio.Task[None]]] = defaultdict(set)
        self._riding: defaultdict[str, set[asyncio.Task[None]]] = defaultdict(set)
        self._lately: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_LATELY))
        self._forecasts: dict[str, Forecast] = {}
        self._beside: dict[str, asyncio.Task[None]] = {}
        self._forgot = -math.inf
        self._people: defaultdict[str, int] = defaultdict(int)
        self._running: asyncio.Task[None] | None = None
        self._ask: Ask | None = None

    def start(self, ask: Ask) -> None:
        """Begin to look at the queue."""
        self._ask = ask
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Give back what is not answered: another gateway goes on with it at once."""
        tasks = [task for slots in self._slots.values() for task in slots]
        tasks += self._beside.values()
        if self._running is not None:
            tasks.append(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @contextlib.contextmanager
    def person(self, model: str) -> Iterator[None]:
        """Note that somebody asks a model: no line of a batch is in its way."""
        self._people[model] += 1
        self._make_way(model)
        try:
            yield
        finally:
            self._people[model] -= 1

    def _make_way(self, model: str) -> None:
        """Break off what rides in a model: it is given back."""
        for task in self._riding.pop(model, ()):
            task.cancel()

    def forecast(self, batch: str) -> Forecast | None:
        """Return when a batch's models are woken for it at the latest, as this gateway last saw it."""
        return self._forecasts.get(batch)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            try:
                connections = self._accounts.connections()
            except ApiError:
                continue
            try:
                await self._look(connections)
            except PROBLEMS as problem:
                _log.warning("batches wait: %s", describe(problem))

    async def _look(self, connections: asyncpg.Pool) -> None:
        for batch, group in await jobs.unread(connections):
            self._do_beside(batch, self._read(batch, group))
        for batch in await results.ended(connections):
            self._do_beside(batch, self._conclude(connections, batch))
        if time.monotonic() - self._forgot >= _FORGET_SECONDS:
            await jobs.forget(connections)
            self._forgot = time.monotonic()
        if self._lines:
            await lines.go_on(connections, list(self._lines), self._worker)
        waiting = await lines.waiting(connections)
        if not waiting:
            self._forecasts = {}
            return
        wanted = {each.model for each in waiting}
        here = {model for model in wanted if self._people[model]}
        busy = await lines.say_busy(connections, here, _BUSY_SECONDS)
        for model in busy:
            self._make_way(model)
        models = self._now(wanted, busy)
        self._forecasts = forecasts(waiting, models)
        for turn in turns(waiting, models, datetime.now(UTC)):
            for _ in range(turn.most):
                self._begin(connections, turn)

    def _now(self, wanted: set[str], busy: set[str]) -> dict[str, ModelNow]:
        models = self._models()
        return {
            name: ModelNow(
                # an engine that takes turns is ready without its card, and nobody gives it one for what rides
                awake=self._replicas.any(name) and not models[name].takes_turns,
                busy=name in busy,
                at_once=models[name].batch_at_once,
                in_flight=len(self._slots[name]),
                wake_seconds=sum(models[name].wake_seconds.values()),
                line_seconds=statistics.fmean(self._lately[name]) if self._lately[name] else FIRST_GUESS_SECONDS,
                usd_per_hour=models[name].usd_per_hour,
            )
            for name in wanted
            if name in models
        }

    def _do_beside(self, batch: str, work: Coroutine[None, None, None]) -> None:
        """Do what takes long for a batch, unless it is being done; whoever looks at the queue goes on."""
        if batch in self._beside:
            work.close()
            return
        task = self._beside[batch] = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._beside.pop(batch))

    async def _read(self, batch: str, group: str) -> None:
        """Have a batch's input read by a process of its own."""
        try:
            asked = self._asked(batch, group)
            if asked is not None:
                async with asyncio.timeout(_READ_SECONDS):
                    await self._accounts.run("ebbtide_batch.intake", json.dumps(asked).encode())
        except PROBLEMS as problem:
            _log.warning("a batch could not be read: %s", describe(problem))

    async def _conclude(self, connections: asyncpg.Pool, batch: str) -> None:
        try:
            await results.conclude(connections, batch)
        except PROBLEMS as problem:
            _log.warning("a batch could not be ended: %s", describe(problem))

    def _asked(self, batch: str, group: str) -> dict[str, object] | None:
        """Return what the reader of a batch's input has to know; None: not yet."""
        ring = self._keys.ring()
        if ring is None:
            return None
        rights = self._accounts.group(group, ring)
        names = {name: model for name, model in self._models().items() if model.asked_as is None}
        allowed = {
            name: model.name
            for name, model in names.items()
            if rights is not None and rights.may_use(model.public_name)
        }
        return {"batch": batch, "models": allowed, "others": sorted(names.keys() - allowed.keys())}

    def _begin(self, connections: asyncpg.Pool, turn: Turn) -> None:
        """Have one more of a turn's lines worked on, and then the next, until the turn is over."""
        task = asyncio.create_task(self._work_on(connections, turn, time.monotonic() + _TURN_SECONDS))
        self._slots[turn.model].add(task)
        if turn.rides:
            self._riding[turn.model].add(task)
        task.add_done_callback(self._slots[turn.model].discard)
        task.add_done_callback(lambda _: self._riding[turn.model].discard(task))

    async def _work_on(self, connections: asyncpg.Pool, turn: Turn, until: float) -> None:
        try:
            while time.monotonic() < until and (line := await self._next(connections, turn)) is not None:
                self._lines[line.place] = line
                try:
                    await self._work(connections, line, turn)
                finally:
                    del self._lines[line.place]
        except PROBLEMS as problem:
            # the lease of a line ends by itself, and then it is asked once more
            _log.warning("a line of a batch waits: %s", describe(problem))

    async def _next(self, connections: asyncpg.Pool, turn: Turn) -> Line | None:
        """Take the next line of a turn; None: there is none, or somebody asks the model."""
        for batch in turn.batches:
            line = await lines.take(connections, turn.model, batch, self._worker)
            if line is not None and turn.rides and self._people[turn.model]:
                await self._give_back(connections, line)
                return None
            if line is not None:
                return line
        return None

    async def _work(self, connections: asyncpg.Pool, line: Line, turn: Turn) -> None:
        """Answer one line, and note what came of it; or give it back. Raises one of ``PROBLEMS``."""
        started = time.monotonic()
        if line.attempts > _MOST_TAKES:
            gave_up = ApiError(502, "given_up", f"{_MOST_TAKES} gateways ended while they worked on this line")
            await lines.end(connections, line.place, gave_up.status, gave_up.body(), line.batch)
            return
        try:
            reply = await self._answered(line, turn)
        except asyncio.CancelledError:
            with contextlib.suppress(*PROBLEMS):
                await asyncio.shield(self._give_back(connections, line))
            raise
        again = again_after(reply.status, reply.code, reply.retry_after, line.attempts)
        if again is None:
            await lines.end(connections, line.place, reply.status, reply.body, reply.request_id)
            if reply.status < 400:
                self._lately[turn.model].append(time.monotonic() - started)
        else:
            after, counted = again
            await lines.put_back(connections, line.place, self._worker, after, counted=counted)

    async def _give_back(self, connections: asyncpg.Pool, line: Line) -> None:
        """Give a line back, for later than the others hear that somebody asks its model."""
        await lines.put_back(connections, line.place, self._worker, _HEARD_SECONDS)

    async def _answered(self, line: Line, turn: Turn) -> KeptReply:
        record = Record("POST", line.endpoint, f"{line.batch}-{line.number}")
        reply = KeptReply(record)
        assert self._ask is not None
        try:
            caller = await self._accounts.caller_of(line.key_id, line.group, self._keys.ring())
            await self._ask(line.endpoint, line.body, caller, record, reply, turn.rides)
        except ApiError as refusal:
            record.code = refusal.code
            await reply.send(refusal.status, refusal.headers(), refusal.body())
        return reply
