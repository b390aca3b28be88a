"""Cycles 0→N→0 under load: is a request lost, answered twice, cut? ``python -m benchmarks.cycles [cycles] [requests]``

On the local stack, 30 cycles and 3,000 requests in all unless told otherwise, with two replicas allowed and an
``idleTtl`` that waits no longer than it has to. In each, the model sleeps, without a pod; then requests come on their
own times (an open loop with pauses, so that some meet a sleeping model, some a loading one, some one that is awake),
half of them streamed; then nobody asks until it sleeps again. Each request asks for a number of tokens of its own, so
that an answer that belongs to another one is seen. Answered twice is one id on two answers, or two ids or two endings
in one answer; beside it stands how many requests the engine finished beyond those answered.
Results go to ``docs/results/cycles.json``, after each cycle; the command ends with 1 where anything was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from benchmarks.load_kit import about, gateway, keep, lab
from infra.bench.client import Client, Question, Reply
from infra.bench.document import rounded
from infra.bench.load import open_loop
from infra.bench.side import prompt
from infra.bench.statistics import spread
from infra.console import say
from lab.ask import NAMESPACE
from tests.lab.conftest import FIRST, Lab

_TOKENS = 24
_WORDS = 30
_FINISHED = re.compile(r"^vllm:request_success_total(?:\{[^}]*\})? ([0-9.e+]+)$", re.M)


@dataclass(frozen=True)
class Count:
    """Of the replies to ``sent`` requests. ``lost``: no answer, or one of the server's errors; ``refused``: told to
    come again, which a stack with room for all never says; ``foreign``: an answer of another length than asked."""

    sent: int
    answered: int
    lost: int
    refused: int
    cut: int
    duplicated: int
    foreign: int
    faults: dict[str, int]


def tokens(number: int) -> int:
    """How much request ``number`` asks for: its neighbours ask for something else."""
    return 1 + (number * 7) % _TOKENS


def due(requests: int, seed: str) -> list[float]:
    """Bursts at random moments: the times of a crowd that comes, goes silent for some seconds, comes again."""
    chance = random.Random(seed)
    at, times = 0.0, []
    for number in range(requests):
        # the silences are shorter than any idleTtl: the model stays up from its first request to its last
        pause = chance.uniform(2, 12) if number and chance.random() < 0.04 else 0.0
        at += chance.expovariate(4.0) + pause
        times.append(at)
    return times


def count(sent: int, replies: Sequence[Reply]) -> Count:
    whole = [reply for reply in replies if reply.whole]
    refused = [r for r in replies if r.fault in ("429", "503") and r.retry_after]
    cut = [r for r in replies if r.fault in ("cut off", "error in the stream")]
    ids = Counter(name for reply in whole for name in set(reply.ids))
    twice = sum(times - 1 for times in ids.values())
    numbers = Counter(reply.number for reply in replies)
    twice += sum(times - 1 for times in numbers.values())
    twice += sum(1 for reply in whole if len(reply.ids) > 1 or reply.endings > 1)
    return Count(
        sent=sent,
        answered=len(whole),
        lost=sent - len(whole) - len(refused) - len(cut),
        refused=len(refused),
        cut=len(cut),
        duplicated=twice,
        foreign=sum(1 for reply in whole if reply.tokens is not None and reply.tokens != tokens(reply.number)),
        faults=dict(Counter(reply.fault for reply in replies if reply.fault)),
    )


def clean(counts: dict[str, Any]) -> bool:
    """Of a cycle or of their sum. What the engine finished beyond what was answered is told, but is no failure by
    itself: a request that was sent anew before its first byte is run twice and answered once."""
    return counts["answered"] == counts["sent"] and not counts["duplicated"] and not counts["foreign"]


def finished(metrics: str) -> int:
    """Requests that an engine says it brought to an end, whatever the reason."""
    return round(sum(float(value) for value in _FINISHED.findall(metrics)))


def engine_count(at: Lab) -> int | None:
    """Over the model's pods, whose counters began with the cycle; None where one does not tell that may have some."""
    whole = 0
    for pod in at.pods(FIRST, leaving=True):
        name, status = pod["metadata"]["name"], pod.get("status", {})
        if "deletionTimestamp" not in pod["metadata"] and not any(
            condition["type"] == "Ready" and condition["status"] == "True" for condition in status.get("conditions", [])
        ):
            continue  # it still loads
        try:
            answer = at.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/{name}:8000/proxy/metrics")
        except httpx.HTTPError:
            return None
        if answer.status_code != 200:
            return None
        whole += finished(answer.text)
    return whole


async def ask_all(client: Client, first: int, times: list[float], at: Lab) -> tuple[list[Reply], int]:
    """The replies, and the most replicas that were seen."""
    replies: list[Reply] = []
    most = 0

    async def ask(number: int, when: float) -> Reply:
        mine = first + number
        text = f"Request {mine}: {prompt(_WORDS, f'cycles {mine}')}"
        return await client.ask(Question(text, tokens(mine), stream=mine % 2 == 0), mine, when)

    async def watch_replicas() -> None:
        nonlocal most
        while True:
            with contextlib.suppress(httpx.HTTPError):  # a moment without an answer tells nothing
                most = max(most, await asyncio.to_thread(at.replicas, FIRST))
            say(f"    … {len(replies)} of {len(times)} answered")
            await asyncio.sleep(5)

    looking = asyncio.create_task(watch_replicas())
    try:
        await open_loop(ask, replies.append, times)
    finally:
        looking.cancel()
    return replies, most


def cycle(at: Lab, number: int, first: int, requests: int) -> tuple[dict[str, Any], list[Reply]]:
    at.until_asleep(FIRST)

    async def run() -> tuple[list[Reply], int]:
        async with gateway(at, FIRST) as client:
            return await ask_all(client, first, due(requests, f"cycle {number}"), at)

    began = time.monotonic()
    replies, most = asyncio.run(run())
    took = time.monotonic() - began
    by_engine = engine_count(at)
    at.until_asleep(FIRST)
    tally = count(requests, replies)
    extra = None if by_engine is None else by_engine - tally.answered
    return {
        **asdict(tally),
        "seconds": round(took, 1),
        "replicas": most,
        "finished_by_engine": by_engine,
        "finished_beyond_answered": extra,
        "longest_wait_seconds": round(max((reply.latency for reply in replies), default=0.0), 2),
    }, replies


def total(cycles: list[dict[str, Any]]) -> dict[str, Any]:
    """Over all cycles. The engine's count is whole only where every cycle has one."""
    keys = ("sent", "answered", "lost", "refused", "cut", "duplicated", "foreign")
    extra = [each["finished_beyond_answered"] for each in cycles]
    faults: Counter[str] = Counter()
    for each in cycles:
        faults.update(each["faults"])
    return {
        **{key: sum(each[key] for each in cycles) for key in keys},
        "faults": dict(faults),
        "finished_beyond_answered": None if None in extra else sum(extra),
    }


def brisk(config: dict[str, Any]) -> None:
    # a queue for all that come during a wake: a full one refuses, and this is not about that
    long = {"maxQueued": 1000, "hold": "5m"}
    config["ebbtide:models"][FIRST] |= {"max": 2, "coldStart": "45s", "idleTtl": "45s", **long}


def main(cycles: int, requests: int) -> int:
    at = lab()
    at.until_asleep(FIRST)
    with at.stack_with(brisk):
        clear = measured(at, cycles, requests)
    at.api.close()
    return 0 if clear else 1


def measured(at: Lab, cycles: int, requests: int) -> bool:
    """Whether no request was lost, cut, answered twice or by another's answer."""
    shares = [requests // cycles + (number < requests % cycles) for number in range(cycles)]
    result: dict[str, Any] = {
        "what": "cycles 0→N→0 with an open loop at random moments: lost, duplicated and cut requests",
        **about(),
        "complete": False,
        "cycles_wanted": cycles,
        "requests_wanted": requests,
        "total": {},
        "latency_seconds": None,
        "cycles": [],
    }
    latencies: list[float] = []
    first = 0
    for number, share in enumerate(shares):
        entry, replies = cycle(at, number, first, share)
        first += share
        latencies += [reply.latency for reply in replies if reply.whole]
        result["cycles"].append(entry)
        of = spread(latencies)
        result |= {
            "complete": number + 1 == cycles,
            "total": total(result["cycles"]),
            "latency_seconds": rounded(asdict(of), 3) if of else None,
        }
        keep("cycles.json", result)
        say(
            f"  cycle {number + 1} of {cycles}: {entry['answered']} of {entry['sent']} answered, lost {entry['lost']}, "
            f"refused {entry['refused']}, cut {entry['cut']}, duplicated {entry['duplicated']}, "
            f"foreign {entry['foreign']}, engine {entry['finished_by_engine']}, "
            f"longest {entry['longest_wait_seconds']} s"
        )
    say(f"  {result['total']} → docs/results/cycles.json")
    return clean(result["total"])


if __name__ == "__main__":
    arguments = [int(each) for each in sys.argv[1:]]
    cycle_count = arguments[0] if arguments else 30
    sys.exit(main(cycle_count, arguments[1] if len(arguments) > 1 else 100 * cycle_count))
