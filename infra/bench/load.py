"""Two kinds of load: a number of clients, each asking again when answered; or requests at given times."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from infra.bench.client import Reply

# takes the number of a request and when it is due; never raises
Ask = Callable[[int, float], Awaitable[Reply]]
Report = Callable[[Reply], None]


async def closed_loop(ask: Ask, report: Report, concurrency: int, requests: int | None, seconds: float | None) -> None:
    """Send ``requests`` in all, or as many as start within ``seconds``; return when the last is answered."""
    until = None if seconds is None else time.monotonic() + seconds
    numbers = itertools.count()

    async def one_after_the_other() -> None:
        for number in numbers:
            now = time.monotonic()
            if (requests is not None and number >= requests) or (until is not None and now >= until):
                return
            report(await ask(number, now))

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(one_after_the_other())


async def open_loop(ask: Ask, report: Report, due: Sequence[float]) -> None:
    """Send each request at its time, ``due`` seconds from now, however many wait; return when the last is answered."""
    began = time.monotonic()

    async def one(number: int, at: float) -> None:
        report(await ask(number, at))

    async with asyncio.TaskGroup() as group:
        for number, offset in enumerate(due):
            await asyncio.sleep(max(0.0, began + offset - time.monotonic()))
            group.create_task(one(number, began + offset))


# When the requests of an open loop are due, even if earlier ones are unanswered. Pure: the same seed, the same times.


def poisson(rate: float, seed: str, requests: int | None, seconds: float | None) -> list[float]:
    """Return times in seconds since the start, ``rate`` per second on average, as independent people ask: ``requests``
    of them, or those within ``seconds``."""
    chance, at, times = random.Random(seed), 0.0, list[float]()  # noqa: S311 - chance for load, not for secrets
    while requests is None or len(times) < requests:
        at += chance.expovariate(rate)
        if seconds is not None and at >= seconds:
            break
        times.append(at)
    return times
