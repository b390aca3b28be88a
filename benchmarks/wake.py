"""How much longer a wake takes through everything than vLLM alone: one ratio, both sides measured in the same run.

``python -m benchmarks.wake [rounds]`` on the local stack. Bare: the same image with the same arguments, environment,
mounts and user as the model's pod, started by containerd on the same node without Kubernetes, from the start of the
process to the first streamed token, asked directly. Wake: a chat at zero pods through the gateway, from the request to
the first streamed token. Rounds alternate, so that a drift of the machine's speed meets both.
Results go to ``docs/results/wake.json``.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from infra.console import say
from infra.workspace import PROJECT, Paths, paths
from lab.ask import Access, ask
from lab.machine import namespaces
from tests.lab.conftest import FIRST, Lab, read_keys

PROMPT = "What is the capital of France?"
CONTAINER = "bench-bare"
NODE = "ebbtide-gpu"


def ctr(at: Paths, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    argv = ["ctr", "--address", f"/run/containerd-{NODE}/containerd.sock", "--namespace", "k8s.io", *args]
    return subprocess.run(namespaces.inside(at, argv), capture_output=True, text=True, check=check)


def bare_command(deployment: dict[str, Any], models: Path, caches: Path) -> list[str]:
    """`ctr run` for what the Deployment's pod would run, on the machine's own network and port 8000."""
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    # on the machine's own network there is no default route to tell vLLM its address by
    env = ["--env", "VLLM_HOST_IP=127.0.0.1"]
    env += [part for each in container["env"] for part in ("--env", f"{each['name']}={each['value']}")]
    mounts = [
        f"type=bind,src={models},dst=/models,options=rbind:ro",
        "type=bind,src=/dev/shm,dst=/dev/shm,options=rbind:rw",
    ]
    for mount in container["volumeMounts"]:
        if mount["name"] in ("cache", "tmp"):
            folder = caches / mount["name"]
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)
            mounts.append(f"type=bind,src={folder},dst={mount['mountPath']},options=rbind:rw")
    return [
        *("run", "--detach", "--net-host", "--read-only", "--cgroup", f"/ebbtide/{CONTAINER}", *env),
        *(part for mount in mounts for part in ("--mount", mount)),
        *(container["image"], CONTAINER, "serve", *container["args"]),
    ]


ASK_BARE = """
import http.client, json, sys, time
body = json.dumps({"model": sys.argv[1], "messages": [{"role": "user", "content": sys.argv[2]}], "stream": True,
                   "max_tokens": 16, "temperature": 0})
deadline = time.monotonic() + 300
while time.monotonic() < deadline:
    try:
        probe = http.client.HTTPConnection("127.0.0.1", 8000, timeout=5)
        probe.request("GET", "/health")
        if probe.getresponse().status == 200:
            break
    except OSError:
        time.sleep(0.05)
chat = http.client.HTTPConnection("127.0.0.1", 8000, timeout=120)
chat.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
answer = chat.getresponse()
for line in answer:
    if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
        sys.exit(0)
sys.exit(f"no token: {answer.status}")
"""


def bare(lab: Lab) -> float:
    """Seconds from the start of the process to its first token."""
    at = lab.paths
    ctr(at, "tasks", "kill", "-s", "SIGKILL", CONTAINER, check=False)
    ctr(at, "containers", "rm", CONTAINER, check=False)
    shutil.rmtree(at.state / "bench", ignore_errors=True)  # a pod starts with empty caches too
    command = bare_command(lab.deployment(FIRST), at.models, at.state / "bench")
    started = time.monotonic()
    ctr(at, *command)
    answer = subprocess.run(
        namespaces.inside(at, [sys.executable, "-c", ASK_BARE, FIRST, PROMPT], network_only=True),
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.monotonic() - started
    ctr(at, "tasks", "kill", "-s", "SIGKILL", CONTAINER, check=False)
    deadline = time.monotonic() + 30
    while ctr(at, "containers", "rm", CONTAINER, check=False).returncode and time.monotonic() < deadline:
        time.sleep(0.2)
    if answer.returncode:
        raise SystemExit(f"the bare engine did not answer: {answer.stderr[-500:]}")
    return took


def wake(lab: Lab) -> tuple[float, dict[str, float]]:
    """Seconds from the request to the first token, and the phases on the way."""
    lab.until_asleep(FIRST)
    answer = ask(lab.paths, lab.access, FIRST, PROMPT, lambda *_: None, lambda _: None, max_tokens=16)
    if answer.first_token is None:
        raise SystemExit("no token")
    return answer.first_token, answer.phases


def main(rounds: int) -> None:
    at = paths()
    access = Access.load(at)
    lab = Lab(at, access, read_keys(at))
    bares, wakes, phases = [], [], []
    for number in range(rounds):
        lab.until_asleep(FIRST)
        bares.append(bare(lab))
        seconds, passed = wake(lab)
        wakes.append(seconds)
        phases.append({name: round(value, 2) for name, value in passed.items()})
        ratio = wakes[-1] / bares[-1]
        say(f"  round {number + 1}: bare {bares[-1]:.1f} s, wake {wakes[-1]:.1f} s, ratio {ratio:.3f}")
    ratios = [w / b for w, b in zip(wakes, bares, strict=True)]
    result = {
        "what": "request at zero pods to first token through the gateway, over bare vLLM start to first token",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": {"cpus": os.cpu_count(), "processor": _processor(), "kernel": platform.release()},
        "bare_seconds": [round(b, 2) for b in bares],
        "wake_seconds": [round(w, 2) for w in wakes],
        "ratios": [round(r, 3) for r in ratios],
        "median_ratio": round(statistics.median(ratios), 3),
        "phases_seconds_since_request": phases,
    }
    file = PROJECT / "docs/results/wake.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n")
    say(f"  median ratio {result['median_ratio']} (goal: at most 1.15) → {file.relative_to(PROJECT)}")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
