"""What takes longer than anybody wants to sit through: ``python -m benchmarks.long_waits [load] [idle]``.

Load: both models of the running local stack get ``idleTtl: 5m`` and a load made 15 minutes long (the engine's
interpreter sleeps before it reads a line of vLLM). One client waits for the first; the second's client goes away after
two minutes. Written down: what the one was answered and when, when the other's pod was gone, and by when it had to be
(two minutes and the TTL, and what a pod may take to go). Idle: nobody asks the second model for 45 minutes, then
somebody does. Results go to ``docs/results/long-waits.json``.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import httpx

from benchmarks.load_kit import about, keep
from benchmarks.load_kit import lab as running
from infra.console import say
from infra.workspace import PROJECT
from tests.lab.conftest import FIRST, SECOND, Lab, wait_until

TTL, COLD, HOLD = 300, 300, 1080
LOAD, GONE_AFTER, IDLE = 900.0, 120.0, 45 * 60.0


def stays(lab: Lab, record: dict[str, Any]) -> None:
    started = time.monotonic()
    with lab.client(timeout=HOLD + 120) as client:
        body = {"model": FIRST, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
        answer = client.post("/v1/chat/completions", json=body)
    record |= {"status": answer.status_code, "answered_after_seconds": round(time.monotonic() - started, 1)}
    if answer.status_code != 200:
        record["error"] = answer.text[:300]


def leaves(lab: Lab, record: dict[str, Any]) -> None:
    body = {"model": SECOND, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
    started = time.monotonic()
    try:
        with lab.client(timeout=GONE_AFTER) as client:
            client.post("/v1/chat/completions", json=body)
    except httpx.TimeoutException:
        record["left_after_seconds"] = round(time.monotonic() - started, 1)
    wait_until(lambda: lab.asleep(SECOND), HOLD + TTL + 300, f"{SECOND} gone", every=1)
    record["pod_gone_after_seconds"] = round(time.monotonic() - started, 1)
    record["bound_seconds"] = GONE_AFTER + TTL + 60


def load(lab: Lab) -> dict[str, Any]:
    def change(config: dict[str, Any]) -> None:
        for model in (FIRST, SECOND):
            config["ebbtide:models"][model] |= {"idleTtl": f"{TTL}s", "coldStart": f"{COLD}s", "hold": f"{HOLD}s"}

    for model in (FIRST, SECOND):
        lab.until_asleep(model)
    held: dict[str, Any] = {}
    left: dict[str, Any] = {}

    def measure() -> dict[str, Any]:
        clients = [
            threading.Thread(target=stays, args=(lab, held), daemon=True),
            threading.Thread(target=leaves, args=(lab, left), daemon=True),
        ]
        with lab.loads_for(FIRST, LOAD), lab.loads_for(SECOND, LOAD):
            for client in clients:
                client.start()
            began = time.monotonic()
            while any(client.is_alive() for client in clients):
                minutes = (time.monotonic() - began) / 60
                say(f"    … {minutes:.0f} min; held: {held or 'waits'}; left: {left or 'waits'}")
                for client in clients:
                    client.join(60)
        times = {"load_seconds": LOAD, "idle_ttl_seconds": TTL, "hold_seconds": HOLD}
        return {**times, "who_stays": held, "who_leaves": left}

    with lab.stack_with(change):
        return measure()


def idle(lab: Lab) -> dict[str, Any]:
    lab.until_asleep(SECOND)
    began = time.monotonic()
    while (left := IDLE - (time.monotonic() - began)) > 0:
        say(f"    … idle for another {left / 60:.0f} min")
        time.sleep(min(300.0, left))
    undisturbed = lab.asleep(SECOND)
    idle_for = round(time.monotonic() - began)
    began_asking = time.monotonic()
    answer = lab.chat(SECOND)
    return {
        "idle_seconds": idle_for,
        "asleep_until_asked": undisturbed,
        "status": answer.status_code,
        "answered_after_seconds": round(time.monotonic() - began_asking, 1),
    }


PARTS = {"load": load, "idle": idle}


def main(parts: list[str]) -> None:
    if unknown := sorted(set(parts) - set(PARTS)):
        raise SystemExit(f"unknown: {', '.join(unknown)}; allowed: {', '.join(PARTS)}")
    lab = running()
    file = PROJECT / "docs/results/long-waits.json"
    result: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for part in parts or PARTS:
        result[part] = {**PARTS[part](lab), **about()}
        say(f"  {part}: {json.dumps(result[part])}")
        keep("long-waits.json", result)
    lab.api.close()


if __name__ == "__main__":
    main(sys.argv[1:])
