"""What a client sees when a part dies: each part, in each moment of a request, on the running local stack.

``python -m benchmarks.faults [VICTIM …]``. Parts are killed without warning (a pod with grace 0, a process with
SIGKILL); the API server is away for a minute (SIGSTOP: it answers nobody, and nobody is told so). Moments: ``hold``,
the request is in, its pod is not there yet; ``load``, the engine starts; ``stream``, tokens are on their way. The
client sends one streamed chat and does not try again by itself; where it gets no answer, it asks once more, as the
``openai`` client would, and that answer is written down too. Results go to ``docs/results/faults.json``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import httpx

from benchmarks.load_kit import about, keep
from benchmarks.load_kit import lab as running
from infra.console import say
from infra.workspace import PROJECT, Paths
from lab.ask import NAMESPACE
from lab.machine import namespaces
from tests.lab.conftest import FIRST, Lab, wait_until

Moment = Literal["hold", "load", "stream"]
MOMENTS: tuple[Moment, ...] = ("hold", "load", "stream")
AWAY_SECONDS = 60.0
LONG = {"max_tokens": 400, "ignore_eos": True, "temperature": 0}


@dataclass
class RequestOutcome:
    """One request as its client saw it. Seconds count from the request."""

    status: int | None = None
    error: str | None = None
    pieces: int = 0
    complete: bool = False
    first_seconds: float | None = None
    seconds: float = 0.0

    @property
    def answered(self) -> bool:
        return self.status == 200 and self.complete


@dataclass
class Case:
    """One part, one moment."""

    victim: str
    moment: Moment
    first: RequestOutcome = field(default_factory=RequestOutcome)
    again: RequestOutcome | None = None
    settled_seconds: float = 0.0
    """From the strike until the part is there again and a fresh request is answered."""


def request(lab: Lab, outcome: RequestOutcome) -> None:
    """One streamed chat; what comes of it goes into ``outcome`` as it comes."""
    body = {"model": FIRST, "messages": [{"role": "user", "content": "Count."}], "stream": True, **LONG}
    started = time.monotonic()
    try:
        with lab.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
            outcome.status = answer.status_code
            if answer.status_code != 200:
                outcome.error = answer.read().decode()[:300]
                return
            for line in answer.iter_lines():
                if line == "data: [DONE]":
                    outcome.complete = True
                elif line.startswith("data: "):
                    outcome.pieces += 1
                    outcome.first_seconds = outcome.first_seconds or round(time.monotonic() - started, 2)
    except httpx.HTTPError as problem:
        outcome.error = type(problem).__name__
    finally:
        outcome.seconds = round(time.monotonic() - started, 2)


def processes(at: Paths, program: str, word: str = "") -> list[int]:
    """Pids, as the host counts them, of one program of the machine. What runs in a container is not among them."""
    first = namespaces.running(at)
    if first is None:
        raise SystemExit("the lab machine does not run")
    space = os.readlink(f"/proc/{first.pid}/ns/pid")
    pids = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "ns/pid") == space:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if program == Path(words[0]).name and any(word in each for each in words):
                    pids.append(int(entry.name))
        except OSError:
            continue
    if not pids:
        raise SystemExit(f"no {program} {word} runs in the machine")
    return pids


def kill_kubelet(lab: Lab) -> None:
    for pid in processes(lab.paths, "kubelet", "ebbtide-gpu"):
        os.kill(pid, signal.SIGKILL)


def api_away(lab: Lab) -> None:
    (pid,) = processes(lab.paths, "kube-apiserver")
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(AWAY_SECONDS, lambda: os.kill(pid, signal.SIGCONT)).start()


VICTIMS: dict[str, Callable[[Lab], None]] = {
    "interceptor": lambda lab: lab.kill("keda", "interceptor"),
    "scaler": lambda lab: lab.kill("keda", "scaler"),
    "keda-operator": lambda lab: lab.kill("keda", "keda-operator"),
    "gateway": lambda lab: lab.kill("ebbtide", "gateway-"),
    "engine": lambda lab: lab.kill(NAMESPACE, FIRST),
    "kubelet": kill_kubelet,
    "apiserver away 60 s": api_away,
}


ABSENT = {("engine", "hold")}
"""Who is not there yet in that moment."""


def reach(lab: Lab, moment: Moment, outcome: RequestOutcome) -> None:
    """Returns once the request that is under way is in this moment."""
    if moment == "hold":
        time.sleep(0.3)  # it is in, and its pod is not: waking takes longer than this at every step
    elif moment == "load":

        def loading() -> bool:
            states = [c["state"] for p in lab.pods(FIRST) for c in p["status"].get("containerStatuses", [])]
            return any("running" in state for state in states)

        wait_until(loading, 120, "the engine's container runs")
    else:
        wait_until(lambda: outcome.pieces > 20, 240, "tokens on their way", every=0.02)


def run(lab: Lab, victim: str, moment: Moment) -> Case:
    case = Case(victim, moment)
    if moment == "stream":
        lab.wake(FIRST)
    else:
        lab.until_asleep(FIRST)
    asking = threading.Thread(target=request, args=(lab, case.first))
    asking.start()
    reach(lab, moment, case.first)
    struck = time.monotonic()
    VICTIMS[victim](lab)
    asking.join()
    if not case.first.answered:
        case.again = RequestOutcome()
        wait_until(lab.gateway_listens, 120, "the gateway takes connections again")
        request(lab, case.again)
    wait_until(lambda: answered(lab), 300, f"answered again after {victim} died", every=1)
    case.settled_seconds = round(time.monotonic() - struck, 1)
    return case


def answered(lab: Lab) -> bool:
    try:
        return lab.chat(FIRST).status_code == 200
    except httpx.HTTPError:
        return False


def describe(outcome: RequestOutcome) -> str:
    if outcome.answered:
        return f"200, first piece after {outcome.first_seconds} s, complete"
    status, error = outcome.status or "no status", outcome.error or "broke off"
    return f"{status}, {outcome.pieces} pieces, {error} after {outcome.seconds} s"


def main(victims: list[str]) -> None:
    if unknown := sorted(set(victims) - set(VICTIMS)):
        raise SystemExit(f"unknown: {', '.join(unknown)}; allowed: {', '.join(VICTIMS)}")
    lab = running()
    file = PROJECT / "docs/results/faults.json"
    earlier = json.loads(file.read_text())["cases"] if victims and file.exists() else []
    cases: list[Case] = []
    for victim in victims or VICTIMS:
        for moment in MOMENTS:
            if (victim, moment) in ABSENT:
                continue
            cases.append(run(lab, victim, moment))
            again = f"; again: {describe(cases[-1].again)}" if cases[-1].again else ""
            say(f"  {victim}, {moment}: {describe(cases[-1].first)}{again}")
            done = {(case.victim, case.moment) for case in cases}
            result = {
                "what": "one streamed chat while a part dies; no retry of the client's own",
                **about(),
                "cases": [c for c in earlier if (c["victim"], c["moment"]) not in done] + [asdict(c) for c in cases],
            }
            keep("faults.json", result)
    lab.api.close()


if __name__ == "__main__":
    main(sys.argv[1:])
