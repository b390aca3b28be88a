"""How long a bystander waits beside wild requests: ``python -m benchmarks.wild_requests [how many]``.

On the running local stack. One client sends 100 of the requests of ``tests/lab/request_options.py``, one after another,
as the ``openai`` client would: twice more after a 5xx. A bystander asks a short chat all the time, without retries.
What came of both goes to ``docs/results/wild-requests.json``; the command ends with 1 where the bystander was refused
or waited longer than one start of the engine takes, which is measured first.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from typing import Any

import httpx

from benchmarks.load_kit import about, keep
from benchmarks.load_kit import lab as running
from infra.console import say
from tests.lab.conftest import FIRST, Lab
from tests.lab.request_options import CHAT, COMPLETIONS, OPTIONS, bodies

HOW_MANY = 100
TRIES = 3


class Bystander:
    """Asks again as soon as it is answered, until it is told to stop."""

    def __init__(self, lab: Lab) -> None:
        self.waits: list[float] = []
        self.refusals: list[str] = []
        self._lab, self._stop = lab, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            answer = self._lab.chat(FIRST, max_tokens=4)
            self.waits.append(time.monotonic() - began)
            if answer.status_code != 200:
                self.refusals.append(f"{answer.status_code} {answer.text[:200]}")

    def __enter__(self) -> Bystander:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def wild(count: int) -> list[tuple[str, dict[str, Any]]]:
    """Of all requests as many as asked for, spread evenly over the options."""
    names = frozenset(OPTIONS)
    every = [
        (path, body) for path in (CHAT, COMPLETIONS) for _, body in bodies(path, names, frozenset(), thorough=True)
    ]
    return [every[number * len(every) // count] for number in range(count)]


def send(client: httpx.Client, path: str, body: dict[str, Any]) -> str:
    """As a client library would; the last status."""
    status = "no answer"
    for _ in range(TRIES):
        try:
            answer = client.post(path, content=json.dumps({"model": FIRST, **body}))
        except httpx.HTTPError as problem:
            status = type(problem).__name__
            continue
        status = str(answer.status_code)
        if answer.status_code < 500:
            break
    return status


def main(count: int) -> int:
    lab = running()
    lab.until_asleep(FIRST)
    began = time.monotonic()
    lab.wake(FIRST)
    start = time.monotonic() - began
    statuses: Counter[str] = Counter()
    with Bystander(lab) as bystander, lab.client(timeout=300) as client:
        client.headers["content-type"] = "application/json"
        for path, body in wild(count):
            statuses[send(client, path, body)] += 1
    longest = max(bystander.waits)
    result = {
        "what": "a bystander's waits while another client sends wild requests",
        **about(),
        "wild_requests": count,
        "wild_statuses": dict(sorted(statuses.items())),
        "engine_start_seconds": round(start, 1),
        "bystander_requests": len(bystander.waits),
        "bystander_longest_seconds": round(longest, 1),
        "bystander_refusals": bystander.refusals,
    }
    keep("wild-requests.json", result)
    say(f"  {len(bystander.waits)} requests beside {count} wild ones: longest {longest:.1f} s, one start {start:.1f} s")
    lab.api.close()
    return 1 if bystander.refusals or longest > start else 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else HOW_MANY))
