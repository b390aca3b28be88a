"""Measurement of the levels. Two endpoints take turns and alternate in going first: machine drift meets both alike."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from infra.bench import document as doc
from infra.bench import yardstick
from infra.bench.client import Client, Endpoint, Reply
from infra.bench.load import Ask, closed_loop, open_loop, poisson
from infra.bench.options import Level, Options
from infra.bench.side import Side
from infra.bench.statistics import Summary, summary

Say = Callable[[str], None]
_REPORT_SECONDS = 5.0
_LEAST_REQUESTS, _ROUNDS_OF_ALL = 32, 4
_MOST_WARM_UP = 32


@dataclass
class Samples:
    """Replies and time of one side on one level so far."""

    replies: list[Reply] = field(default_factory=list)
    seconds: float = 0.0

    def summary(self) -> Summary:
        return summary(self.replies, self.seconds)


class Measurement:
    """Measurement of all levels. ``document`` is valid at any moment: after a cancellation it holds what was measured
    until then. ``keep`` is called after each level."""

    def __init__(self, options: Options, measured: Endpoint, against: Endpoint | None, say: Say, keep: Say) -> None:
        self.options, self.document, self._say, self._keep = options, doc.begun(options), say, keep
        self._sides = [Side("measured", Client(measured, options.limit_seconds))]
        if against is not None:
            self._sides.append(Side("against", Client(against, options.limit_seconds)))

    @property
    def measured(self) -> Endpoint:
        """Return the measured endpoint with its model's name, even where that had to be asked for."""
        return self._sides[0].client.endpoint

    async def run(self) -> None:
        try:
            for side in self._sides:
                self._say(f"  {side.name}: {side.client.endpoint.url}; it is woken if it sleeps")
                await side.prepare(self.options.exact)
                self.document["endpoints"][side.name] = doc.endpoint(side)
            for level in self.options.levels():
                await self._level(level)
            if self.options.yardstick:
                await self._yardstick()
        finally:
            for side in self._sides:
                await side.client.__aexit__()

    async def _level(self, level: Level) -> list[Summary]:
        samples = [Samples() for _ in self._sides]
        complete = False
        try:
            await self._warm_up(level)
            for turn in range(self.options.turns):
                order = list(zip(self._sides, samples, strict=True))
                for side, into in order if turn % 2 == 0 else reversed(order):
                    await self._turn(level, turn, side, into)
            complete = True
        finally:
            summaries = [each.summary() for each in samples]
            if any(each.sent for each in summaries):
                against = summaries[1] if len(summaries) > 1 else None
                self.document["levels"].append(doc.level(level, summaries[0], against, complete))
                self._keep("level")
        return summaries

    async def _warm_up(self, level: Level) -> None:
        """Warm up connections, caches and compiled shapes of this level; not counted."""
        count = self.options.warm_up
        if count is None:
            count = min(level.concurrency or 8, _MOST_WARM_UP)
        for side in self._sides if count else ():
            ask = self._asker(side, f"{level.description} warm-up")
            await closed_loop(ask, lambda _: None, min(count, level.concurrency or 8), count, None)

    async def _turn(self, level: Level, turn: int, side: Side, into: Samples) -> None:
        ask = self._asker(side, f"{level.description} turn {turn}")
        requests, seconds = self.amount(level, turn)
        began = time.monotonic()
        already = len(into.replies)
        try:
            async with self._progress(level, turn, side, into, already, requests):
                if level.concurrency is not None:
                    await closed_loop(ask, into.replies.append, level.concurrency, requests, seconds)
                else:
                    # both sides get the same times
                    due = poisson(
                        level.rate or 0.0, f"{self.options.seed} {level.description} {turn}", requests, seconds
                    )
                    await open_loop(ask, into.replies.append, due)
        finally:
            into.seconds += time.monotonic() - began

    def amount(self, level: Level, turn: int) -> tuple[int | None, float | None]:
        """Return the requests or seconds of one turn: its share of the level's."""
        if self.options.seconds is not None:
            return None, self.options.seconds / self.options.turns
        whole = self.options.requests or max(_LEAST_REQUESTS, _ROUNDS_OF_ALL * (level.concurrency or 0))
        share, more = divmod(whole, self.options.turns)
        return share + (turn < more), None

    def _asker(self, side: Side, part: str) -> Ask:
        options = self.options
        return side.asker(
            f"{options.seed} {part}", options.input_tokens, options.output_tokens, options.stream, options.exact
        )

    @contextlib.asynccontextmanager
    async def _progress(
        self, level: Level, turn: int, side: Side, into: Samples, already: int, requests: int | None
    ) -> AsyncIterator[None]:
        """Report a line at the end of the turn, and one every few seconds until then."""
        what = f"{level.description}, {side.name}, turn {turn + 1} of {self.options.turns}"
        began = time.monotonic()

        async def pulse() -> None:
            while True:
                await asyncio.sleep(_REPORT_SECONDS)
                of = "" if requests is None else f" of {requests}"
                self._say(f"    … {what}: {len(into.replies) - already}{of}, {time.monotonic() - began:.0f} s")

        ticking = asyncio.create_task(pulse())
        try:
            yield
        finally:
            ticking.cancel()
        figures = summary(into.replies[already:], time.monotonic() - began)
        first = f", first token p50 {1000 * figures.ttft.p50:.0f} ms" if figures.ttft else ""
        errors = f", errors {figures.errors}" if figures.errors else ""
        self._say(f"  ✓ {what}: {figures.whole} answers{first}, {figures.tokens_per_second:.1f} tokens/s{errors}")

    async def _yardstick(self) -> None:
        """Search on the measured side only: the yardstick is about people, not about the way."""
        options = self.options
        search: doc.Document = {
            "ttft_p90_below_seconds": options.ttft_limit,
            "tpot_p90_below_seconds": options.tpot_limit,
            "most": options.most,
            "concurrency": None,
            "tries": [],
        }
        self.document["yardstick"] = search
        sides, self._sides = self._sides, self._sides[:1]
        try:
            trying = yardstick.search(options.most)
            try:
                at = next(trying)
                while True:
                    summaries = await self._level(Level(concurrency=at))
                    verdict = yardstick.judge(at, summaries[0], options.ttft_limit, options.tpot_limit)
                    self._say(f"  {at} at once: {'served well' if verdict.good else '; '.join(verdict.why)}")
                    search["tries"].append({"concurrency": at, "good": verdict.good, "why": list(verdict.why)})
                    at = trying.send(verdict.good)
            except StopIteration as end:
                search["concurrency"] = end.value
        finally:
            self._sides = sides
