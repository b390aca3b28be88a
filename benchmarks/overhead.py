"""What the way through the gateway adds to an awake engine: ``python -m benchmarks.overhead [turns]``.

``ebbtide bench`` in the local stack's network, from inside which both are reached alike: the gateway by its Service,
the engine by its pod, in turns. All that are asked at once run at once, or half of the times would be the queue's. The
model sleeps only after an hour meanwhile: nobody counts what asks an engine directly. Results go to
``docs/results/overhead.json`` and ``.html``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from benchmarks.load_kit import lab as running
from infra.workspace import PROJECT
from lab.ask import NAMESPACE
from lab.machine import namespaces
from tests.lab.conftest import FIRST, Lab

RESULTS = PROJECT / "docs/results"
GATEWAY = "/api/v1/namespaces/ebbtide/services/gateway"
KEY = "EBBTIDE_BENCH_KEY"
LOAD = ("--concurrency", "1,8,32", "--seconds", "160", "--input-tokens", "60", "--output-tokens", "32")


def addresses(lab: Lab) -> tuple[str, str]:
    """The gateway's and the engine's, in the cluster's network."""
    service = lab.get(GATEWAY)["spec"]
    (pod,) = lab.pods(FIRST)
    engine = lab.get(f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}")["status"]["podIP"]
    return f"http://{service['clusterIP']}:{service['ports'][0]['port']}", f"http://{engine}:8000"


def main(turns: str) -> None:
    lab = running()

    def change(config: dict[str, Any]) -> None:
        config["ebbtide:models"][FIRST] |= {"idleTtl": "1h", "maxSequences": 32, "maxTokens": 512}

    lab.until_asleep(FIRST)
    with lab.stack_with(change):
        lab.wake(FIRST)
        gateway, engine = addresses(lab)
        outputs = ("--out", str(RESULTS / "overhead.json"), "--plot", str(RESULTS / "overhead.html"))
        argv = (sys.executable, "-m", "infra.cli", "bench", "--url", gateway, "--model", FIRST, "--key-env", KEY)
        argv += ("--against", engine, "--turns", turns, *LOAD, *outputs)
        command = namespaces.inside(lab.paths, argv, network_only=True)
        subprocess.run(command, cwd=PROJECT, env={**os.environ, KEY: lab.access.key}, check=True)
    lab.api.close()


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["8"]))
