"""What the running local stack does with nobody asking: a window opens and closes, a wedged engine is started again.

``python -m benchmarks.unattended [window] [wedge]``. Window: two minutes from now a keep-warm window of two minutes
opens for the sleeping first model; written down: when it was scaled up, ready and gone, by the window's own times.
Wedge: the engine's core process is stopped (SIGSTOP) in an awake model with ``stall: 2m``; written down: that
``/health`` still says 200, when the kubelet started the engine again, and that it answers. Results go to
``docs/results/unattended.json``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.load_kit import about, keep
from benchmarks.load_kit import lab as running
from infra.console import say
from infra.workspace import PROJECT
from lab.ask import NAMESPACE
from tests.lab.conftest import FIRST, TTL, WAKE_SECONDS, Lab, wait_until

OPEN_SECONDS = 120
RESTART_SECONDS = 8 * 60.0
CORE = "VLLM::Engine"
Result = dict[str, Any]


def window(lab: Lab) -> Result:
    lab.until_asleep(FIRST)
    opens = (dt.datetime.now(dt.UTC) + dt.timedelta(minutes=2)).replace(second=0, microsecond=0)
    closes = opens + dt.timedelta(seconds=OPEN_SECONDS)

    def change(config: dict[str, Any]) -> None:
        schedule = {"from": opens.strftime("%H:%M"), "to": closes.strftime("%H:%M"), "timezone": "UTC", "ahead": "1s"}
        config["ebbtide:models"][FIRST]["schedules"] = {"bench": schedule}

    def after(moment: dt.datetime) -> float:
        return round((dt.datetime.now(dt.UTC) - moment).total_seconds(), 1)

    def measure() -> Result:
        if dt.datetime.now(dt.UTC) > opens:
            raise SystemExit("the deployment took longer than the two minutes before the window: run it again")
        wait_until(lambda: lab.replicas(FIRST) == 1, 180, "scaled up by the window")
        up = after(opens)
        lab.until_awake(FIRST)
        ready = after(opens)
        wait_until(lambda: lab.replicas(FIRST) == 0, OPEN_SECONDS + TTL + 60, "gone after the window")
        return {
            "window": f"{opens:%H:%M} to {closes:%H:%M} UTC",
            "scaled_up_seconds_after_opening": up,
            "ready_seconds_after_opening": ready,
            "gone_seconds_after_closing": after(closes),
            "idle_ttl_seconds": TTL,
        }

    with lab.stack_with(change):
        return measure()


def wedge(lab: Lab) -> Result:
    def change(config: dict[str, Any]) -> None:
        config["ebbtide:models"][FIRST] |= {"stall": "2m", "idleTtl": "15m"}

    def restarts() -> int:
        (pod,) = lab.pods(FIRST)
        return int(pod["status"]["containerStatuses"][0]["restartCount"])

    def measure() -> Result:
        lab.until_rolled_out(FIRST)
        lab.wake(FIRST)
        before = restarts()
        (pod,) = lab.pods(FIRST)
        for pid in engine_cores(pod["metadata"]["uid"]):
            os.kill(pid, signal.SIGSTOP)
        stopped = time.monotonic()
        name = pod["metadata"]["name"]
        health = lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/{name}:8000/proxy/health").status_code
        wait_until(lambda: restarts() > before, RESTART_SECONDS, "the engine started again", every=1)
        again = round(time.monotonic() - stopped, 1)
        wait_until(lambda: lab.ready(FIRST), WAKE_SECONDS, "ready again")
        answer = lab.chat(FIRST)
        return {
            "health_while_wedged": health,
            "stall_seconds": 120,
            "started_again_seconds_after_the_stop": again,
            "answered_afterwards": answer.status_code,
        }

    with lab.stack_with(change):
        return measure()


def engine_cores(pod: str) -> list[int]:
    """vLLM's engine cores in the pod of this UID, as the host counts them. A container's processes are in a pid
    namespace of their own, so they are found by their cgroup; vLLM names them itself (the kernel keeps 15 bytes)."""
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"pod{pod}" in (entry / "cgroup").read_text() and (entry / "comm").read_text().startswith(CORE):
                pids.append(int(entry.name))
    if not pids:
        raise SystemExit("no engine core runs")
    return pids


PARTS = {"window": window, "wedge": wedge}


def main(parts: list[str]) -> None:
    if unknown := sorted(set(parts) - set(PARTS)):
        raise SystemExit(f"unknown: {', '.join(unknown)}; allowed: {', '.join(PARTS)}")
    lab = running()
    file = PROJECT / "docs/results/unattended.json"
    result: Result = json.loads(file.read_text()) if file.exists() else {}
    for part in parts or PARTS:
        result[part] = {**PARTS[part](lab), **about()}
        say(f"  {part}: {json.dumps(result[part])}")
        keep("unattended.json", result)
    lab.api.close()


if __name__ == "__main__":
    main(sys.argv[1:])
