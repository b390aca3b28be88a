"""A gateway with ten thousand keys in its database: ``python -m benchmarks.many_keys [keys] [rounds]``.

Each key is asked with once (``first``: looked up in the database), then ``rounds`` times more (``known``), by eight
clients at once, against an upstream that answers at once. Written down: p50 and p99 of both and of as many requests
with one key of the stack file, and the memory of the gateway before and after. Results go to
``docs/results/many-keys.json``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import secrets
import sys
import time
from typing import Any

import aiohttp

from benchmarks.gateway_overhead import KEY, MODEL, gateway, percentile, resident_mib, upstream
from benchmarks.load_kit import about, keep
from tests.unit import gateway_kit as kit
from tests.unit import postgres
from tests.unit.postgres import Postgres

KEYS, ROUNDS, AT_ONCE = 10_000, 3, 8
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "word"}]}


def insert(database: Postgres, count: int) -> list[str]:
    """Put keys into the database as the gateway would have, and return them."""
    keys = ["sk-" + secrets.token_urlsafe(32) for _ in range(count)]
    file = database.folder / "keys.csv"
    digests = (hashlib.sha256(key.encode()).hexdigest() for key in keys)
    rows = (f"id{number},key-{number},all,\\x{digest},last,root\n" for number, digest in enumerate(digests))
    file.write_text("".join(rows))
    file.chmod(0o644)
    columns = "id, name, group_name, sha256, last_four, made_by"
    database.ask(f"COPY ebbtide.keys ({columns}) FROM '{file}' WITH (FORMAT csv)")
    return keys


async def times(url: str, keys: list[str]) -> list[float]:
    """Seconds of one request with each key, ``AT_ONCE`` at a time."""
    left, seconds = iter(keys), []

    async def client(session: aiohttp.ClientSession) -> None:
        for key in left:
            began = time.perf_counter()
            headers = {"authorization": f"Bearer {key}"}
            async with session.post(url + "/v1/chat/completions", json=BODY, headers=headers) as answer:
                assert answer.status == 200, (answer.status, await answer.text())
                await answer.read()
            seconds.append(time.perf_counter() - began)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(AT_ONCE)))
    return seconds


def summary(seconds: list[float]) -> dict[str, Any]:
    """Milliseconds."""
    shares = {"p50_ms": 0.5, "p99_ms": 0.99}
    return {"requests": len(seconds)} | {name: round(percentile(seconds, share), 2) for name, share in shares.items()}


def main() -> int:
    """Measure and write."""
    numbers = [int(word) for word in sys.argv[1:]]
    count, rounds = [*numbers, *(KEYS, ROUNDS)[len(numbers) :]]
    kube = kit.KubeApi()
    kube.scale(MODEL, 1)
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(upstream())
        kube.replicas(MODEL, url.removeprefix("http://"))
        database = stack.enter_context(postgres.running())
        target = stack.enter_context(gateway("this", kit.IMAGE, url, kube, database))
        assert target.process is not None
        keys = insert(database, count)
        asyncio.run(times(target.url, [KEY] * 1000))
        before = resident_mib(target.process)
        measured = {
            "stack_file": summary(asyncio.run(times(target.url, [KEY] * count))),
            "first": summary(asyncio.run(times(target.url, keys))),
        }
        again = keys * rounds
        random.Random(0).shuffle(again)
        measured["known"] = summary(asyncio.run(times(target.url, again)))
        after = resident_mib(target.process)
        written = "SELECT count(*) FROM ebbtide.usage WHERE key_name LIKE 'key-%'"
        kit.until(lambda: database.ask(written) == [str(count * (rounds + 1))], "all usage is written", 60)
    kube.served.stop()
    result = {"keys": count, "requests": measured, "memory_mib": {"before": round(before, 1), "after": round(after, 1)}}
    keep("many-keys.json", about() | result)
    print(result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
