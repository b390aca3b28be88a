"""Three times more than the model can do, for minutes: ``python -m benchmarks.overload [seconds] [times]``.

On the local stack, 300 seconds at 3 times its capacity unless told otherwise. Capacity is measured first: answers a
second with as many at once as the model runs. Then an open loop at a multiple of it. Who is accepted must see a
first token within a bound that follows from the queue: all who may wait and run before one, at the measured pace,
half as much again, and the first token of an empty engine. The rest must get a 503 with Retry-After. Afterwards one
request a second tells when the first token is back to what it was. Results go to ``docs/results/overload.json``; the
command ends with 1 where something else happened.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import yaml

from benchmarks.load_kit import about, gateway, keep, lab, platform_pods, restarts
from infra.bench.client import Client, Question, Reply
from infra.bench.document import rounded
from infra.bench.load import closed_loop, open_loop, poisson
from infra.bench.side import prompt
from infra.bench.statistics import percentile, spread
from infra.console import say
from infra.workspace import PROJECT
from lab.ask import NAMESPACE
from tests.lab.conftest import FIRST, Lab

CAPACITY_SECONDS = 45.0
RECOVERY_SECONDS, RECOVERY_LIMIT = 30.0, 300.0
_TOKENS, _WORDS = 32, 60


def bound(running: int, queued: int, per_second: float, unloaded: float) -> float:
    """Seconds in which an accepted request sees its first token: those before it leave at ``per_second``."""
    return 1.5 * (running + queued) / per_second + unloaded


def judged(replies: Sequence[Reply], limit: float) -> dict[str, Any]:
    """Accepted, refused in the way that was promised, and everything else."""
    accepted = [reply for reply in replies if reply.whole]
    refused = [reply for reply in replies if _as_promised(reply)]
    other = [reply for reply in replies if not reply.whole and not _as_promised(reply)]
    first = spread(reply.to_first for reply in accepted)
    refusal = spread(reply.latency for reply in refused)
    retry = Counter(reply.retry_after for reply in refused)
    return {
        "sent": len(replies),
        "accepted": len(accepted),
        "refused": len(refused),
        "other": dict(Counter(_outcome(reply) for reply in other)),
        "accepted_ttft_seconds": first and asdict(first),
        "accepted_over_bound": sum(1 for reply in accepted if (reply.to_first or 0.0) > limit),
        "refusal_seconds": refusal and asdict(refusal),
        "retry_after_seconds": {
            str(key): count for key, count in sorted(retry.items(), key=lambda each: int(each[0] or 0))
        },
        "client_late_seconds": max((reply.late for reply in replies), default=0.0),
    }


def _as_promised(reply: Reply) -> bool:
    return reply.fault == "503" and (reply.retry_after or "").isdecimal()


def _outcome(reply: Reply) -> str:
    if reply.fault == "503":
        return "503 without Retry-After"
    return reply.fault or "?"


def recovered(probes: Sequence[tuple[float, Reply]], usual: float) -> float | None:
    """Seconds after the load's end at which answers were back to ``usual`` and stayed there; None if they were not."""
    back: float | None = None
    for at, reply in probes:
        good = reply.whole and (reply.to_first or 0.0) <= usual
        back = (at if back is None else back) if good else None
    return back


def limits(model: str) -> tuple[int, int]:
    """What the stack file lets run and wait."""
    config = yaml.safe_load((PROJECT / "stacks/Pulumi.local.yaml").read_text())["config"]["ebbtide:models"][model]
    return int(config["maxSequences"]), int(config["maxQueued"])


async def _ask(client: Client, part: str, number: int, due: float) -> Reply:
    return await client.ask(Question(prompt(_WORDS, f"overload {part} {number}"), _TOKENS), number, due)


async def capacity(client: Client, running: int) -> tuple[float, float]:
    """Answers a second of a full engine, and the p99 of the first token of an empty one."""
    calm: list[Reply] = []
    await closed_loop(lambda n, due: _ask(client, "calm", n, due), calm.append, 1, 20, None)
    full: list[Reply] = []
    began = time.monotonic()
    await closed_loop(lambda n, due: _ask(client, "capacity", n, due), full.append, running, None, CAPACITY_SECONDS)
    took = time.monotonic() - began
    waits = sorted(reply.to_first for reply in calm if reply.whole and reply.to_first is not None)
    whole = sum(1 for reply in full if reply.whole)
    if not waits or not whole:
        raise SystemExit(f"no capacity to be measured: {Counter(reply.fault for reply in [*calm, *full])}")
    return whole / took, percentile(waits, 99)


async def load(client: Client, rate: float, seconds: float) -> list[Reply]:
    replies: list[Reply] = []
    due = poisson(rate, "overload", None, seconds)

    async def tell() -> None:
        while True:
            await asyncio.sleep(15)
            kinds = Counter(reply.fault or "accepted" for reply in replies)
            say(f"    … {len(replies)} of {len(due)} over: {dict(kinds)}")

    telling = asyncio.create_task(tell())
    try:
        await open_loop(lambda n, at: _ask(client, "load", n, at), replies.append, due)
    finally:
        telling.cancel()
    return replies


async def recovery(client: Client, usual: float, ended: float) -> list[tuple[float, Reply]]:
    """One request a second, until ten in a row are as quick as usual."""
    probes: list[tuple[float, Reply]] = []
    row = 0
    while row < 10 and time.monotonic() - ended < RECOVERY_LIMIT:
        at = time.monotonic() - ended
        reply = await _ask(client, "after", len(probes), time.monotonic())
        probes.append((at, reply))
        row = row + 1 if reply.whole and (reply.to_first or 0.0) <= usual else 0
        await asyncio.sleep(max(0.0, 1.0 - reply.latency))
    return probes


def every_pod(at: Lab) -> list[dict[str, Any]]:
    return [*platform_pods(at), *at.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]]


def changed(before: dict[str, int], after: dict[str, int]) -> dict[str, str]:
    """Pods that started anew, are gone or came: nothing of it should happen under load."""
    changes = {
        name: f"{after[name] - count} restarts" for name, count in before.items() if after.get(name, count) > count
    }
    changes |= {name: "gone" for name in before if name not in after}
    return changes | {name: "new" for name in after if name not in before}


async def run(at: Lab, seconds: float, times: float) -> dict[str, Any]:
    running, queued = limits(FIRST)
    async with gateway(at, FIRST) as client:
        say("  waking the model and measuring what it can do")
        await client.ask(Question("Hello.", 4), 0)
        per_second, unloaded = await capacity(client, running)
        limit = bound(running, queued, per_second, unloaded)
        say(f"  {per_second:.2f} answers a second; at {times:g} times that for {seconds:.0f} s, bound {limit:.1f} s")
        before = restarts(every_pod(at))
        began = time.monotonic()
        replies = await load(client, times * per_second, seconds)
        # those that were accepted last are answered by now: the load's end is when the last one was due
        ended = max([began, *(reply.sent for reply in replies)])
        usual = 2 * unloaded
        probes = await recovery(client, usual, ended)
        after = restarts(every_pod(at))
    back = recovered(probes, usual)
    return {
        "seconds": seconds,
        "times_capacity": times,
        "capacity_requests_per_second": per_second,
        "rate_requests_per_second": times * per_second,
        "unloaded_ttft_p99_seconds": unloaded,
        "bound_seconds": limit,
        **judged(replies, limit),
        "recovered_after_seconds": back,
        "restarts": changed(before, after),
    }


def failures(figures: dict[str, Any]) -> list[str]:
    messages = []
    if figures["other"]:
        messages.append(f"neither accepted nor refused with Retry-After: {figures['other']}")
    if figures["accepted_over_bound"]:
        messages.append(
            f"{figures['accepted_over_bound']} accepted requests waited beyond {figures['bound_seconds']:.1f} s"
        )
    if not figures["refused"]:
        messages.append("nobody was refused: this was no overload")
    if figures["recovered_after_seconds"] is None or figures["recovered_after_seconds"] > RECOVERY_SECONDS:
        messages.append(f"recovered after {figures['recovered_after_seconds']} s, not within {RECOVERY_SECONDS:.0f} s")
    if figures["restarts"]:
        messages.append(f"pods changed: {figures['restarts']}")
    return messages


def main(seconds: float, times: float) -> int:
    at = lab()
    where = about()
    figures = asyncio.run(run(at, seconds, times))
    at.api.close()
    wrong = failures(figures)
    result = {"what": "an open loop beyond what the model can do", **where, **rounded(figures, 4), "failures": wrong}
    keep("overload.json", result)
    say(
        f"  accepted {figures['accepted']}, refused {figures['refused']}, other {figures['other']}, "
        f"recovered after {figures['recovered_after_seconds']} s → docs/results/overload.json"
    )
    for each in wrong:
        say(f"  not as promised: {each}")
    return 1 if wrong else 0


if __name__ == "__main__":
    arguments = [float(each) for each in sys.argv[1:]]
    sys.exit(main(arguments[0] if arguments else 300.0, arguments[1] if len(arguments) > 1 else 3.0))
