"""What the gateway costs a request to a warm model: through it and past it, in the same run on the same upstream.

``python -m benchmarks.gateway_overhead [--against NAME=FOLDER]... [--database]``. The upstream is a process
of its own that answers as vLLM does, at once (``chat``) or as a stream of tokens some milliseconds apart (``stream``,
timed to its first byte).
FOLDER is the ``images/gateway`` of another checkout: that build is measured beside this one, in turns, so that a drift
of the machine's speed meets all. This one watches for silence as a stack deploys it, another as its own default is.
``--database`` measures this one once more, asked by a key that was made at run time, with a real PostgreSQL that its
usage is written to. Results go to ``docs/results/gateway.json``, or to ``--out``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
from aiohttp import web

from components.gateway.config import GatewaySettings
from infra.workspace import PROJECT
from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit as kit
from tests.unit import postgres
from tests.unit.postgres import Postgres

# requests by shape and by how many are under way at once
REQUESTS = {"chat": {1: 150, 8: 400, 32: 640, 128: 1280}, "stream": {1: 30, 8: 120, 32: 320, 128: 640}}
TOKENS, TOKEN_SECONDS = 32, 0.005
MODEL, KEY, ADMIN_KEY = "small", "sk-bench", "sk-root"
USAGE_EVENT = (
    b'data: {"id":"r","choices":[],"usage":{"prompt_tokens":200,"completion_tokens":32,"total_tokens":232}}\n\n'
)
RESULTS = PROJECT / "docs" / "results" / "gateway.json"


async def _upstream(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    if not body.get("stream"):
        return await kit.answers(request, body)
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for number in range(TOKENS):
        await response.write(kit.chunk(request, body, f" token{number}"))
        await asyncio.sleep(TOKEN_SECONDS)
    if (body.get("stream_options") or {}).get("include_usage"):
        await response.write(USAGE_EVENT)
    await response.write(b"data: [DONE]\n\n")
    return response


@dataclass
class Target:
    """One address that is asked: the upstream itself, or a gateway with its process."""

    name: str
    url: str
    process: int | None = None
    start_seconds: float | None = None
    key: str = KEY
    latencies: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    rates: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    cpu: dict[tuple[str, int], list[float]] = field(default_factory=dict)

    def cpu_seconds(self) -> float:
        parts = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


async def load(target: Target, shape: str, at_once: int) -> None:
    """Closed loop: ``at_once`` clients, each with its next request when the last is answered."""
    left = REQUESTS[shape][at_once]
    times: list[float] = []
    body = {"model": MODEL, "messages": [{"role": "user", "content": "word " * 200}], "stream": shape == "stream"}
    headers = {"authorization": f"Bearer {target.key}"}

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            began = time.perf_counter()
            async with session.post(target.url + "/v1/chat/completions", json=body, headers=headers) as answer:
                assert answer.status == 200, (target.name, answer.status, await answer.text())
                begun = await answer.content.readany()
                first = time.perf_counter()
                whole = begun + await answer.content.read()
                times.append((first if shape == "stream" else time.perf_counter()) - began)
                assert shape == "chat" or whole.endswith(b"[DONE]\n\n")

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        used = target.cpu_seconds() if target.process else 0.0
        began = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(at_once)))
        spent = time.perf_counter() - began
    where = (shape, at_once)
    target.latencies.setdefault(where, []).extend(times)
    target.rates.setdefault(where, []).append(len(times) / spent)
    if target.process:
        target.cpu.setdefault(where, []).append((target.cpu_seconds() - used) / len(times))


@contextlib.contextmanager
def upstream() -> Iterator[str]:
    """The fake engine in a process of its own."""
    port = kit.free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.gateway_overhead", "--upstream", str(port)])
    try:
        kit.until(lambda: kit.listens(port), "the upstream listens", 30)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def gateway(
    name: str, image: Path, upstream_url: str, kube: kit.KubeApi, database: Postgres | None = None
) -> Iterator[Target]:
    """A build of the gateway, ready."""
    python = gateway_python(image / "requirements.txt")
    settings = {
        "interceptorUrl": upstream_url,
        "models": [{"name": MODEL, "host": "small.ebbtide-models", "gpus": 1, "holdSeconds": 60}],
        "cluster": {"apiServer": kube.served.url},
        **({"limits": {"silenceSeconds": GatewaySettings.silence_seconds}} if image == kit.IMAGE else {}),
        **({"database": {"folder": str(database.mounted)}} if database is not None else {}),
    }
    # twice: the first start writes nothing but warms the disk's cache, as an image that has run on a node before
    for attempt in range(2):
        with tempfile.TemporaryDirectory() as folder:
            owners = {"bench": (KEY, "all"), "root": (ADMIN_KEY, "owners")}
            keys = kit.key_file(owners, {"all": ["*"], "owners": []}, {"owners": {"admin": True}})
            running = kit.start(python, Path(folder), settings, keys, image, ("-m", "ebbtide_gateway"))
            try:
                kit.until(lambda run=running: _ready(run), f"{name} is ready", 120)
                took = time.monotonic() - running.started
                if attempt == 1:
                    key = KEY if database is None else _key_made_at(running)
                    yield Target(name, running.url, running.process.pid, took, key)
            finally:
                running.stop()


def _ready(running: kit.Gateway) -> bool:
    return httpx.get(running.url + "/health/readiness").status_code == 200


def _key_made_at(running: kit.Gateway) -> str:
    kit.until(lambda: kit.has_database(running), "the database is followed", 60)
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    answer = httpx.post(running.url + "/admin/keys", json={"name": "bench-made", "group": "all"}, headers=headers)
    answer.raise_for_status()
    return str(answer.json()["secret"])


def resident_mib(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def percentile(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1000


def result(direct: Target, target: Target) -> dict[str, Any]:
    """One gateway against the upstream itself."""
    summary: dict[str, Any] = {"name": target.name, "start_s": target.start_seconds, "loads": []}
    if target.process:
        summary["resident_mib"] = round(resident_mib(target.process), 1)
        summary["start_s"] = round(target.start_seconds or 0, 2)
    for where, times in target.latencies.items():
        row: dict[str, Any] = {"shape": where[0], "at_once": where[1], "requests": len(times)}
        for share, label in ((0.5, "p50_ms"), (0.99, "p99_ms")):
            row[label] = round(percentile(times, share), 2)
            if target is not direct:
                row[f"added_{label}"] = round(percentile(times, share) - percentile(direct.latencies[where], share), 2)
        row["requests_per_s"] = round(statistics.median(target.rates[where]), 1)
        if target is not direct:
            row["cpu_ms_per_request"] = round(statistics.median(target.cpu[where]) * 1000, 2)
        summary["loads"].append(row)
    return summary


def main() -> int:
    """Measure and write."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--against", action="append", default=[], metavar="NAME=FOLDER")
    arguments.add_argument("--database", action="store_true")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--out", type=Path, default=RESULTS)
    arguments.add_argument("--upstream", type=int)
    options = arguments.parse_args()
    if options.upstream:
        app = web.Application()
        app.router.add_post("/{path:.*}", _upstream)
        web.run_app(app, host="127.0.0.1", port=options.upstream, access_log=None, print=None)
        return 0
    others = [(name, Path(folder).resolve()) for name, _, folder in (each.partition("=") for each in options.against)]
    kube = kit.KubeApi()
    kube.scale(MODEL, 1)
    before = os.getloadavg()[0]
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(upstream())
        direct = Target("direct", url)
        kube.replicas(MODEL, url.removeprefix("http://"))
        builds = [
            stack.enter_context(gateway(name, image, url, kube)) for name, image in [*others, ("this", kit.IMAGE)]
        ]
        if options.database:
            database = stack.enter_context(postgres.running())
            builds.append(stack.enter_context(gateway("this, with a database", kit.IMAGE, url, kube, database)))
        targets = [direct, *builds]
        for target in targets:
            asyncio.run(load(target, "chat", 8))
            target.latencies.clear(), target.rates.clear(), target.cpu.clear()
        for number in range(options.rounds):
            for shape, loads in REQUESTS.items():
                for at_once in loads:
                    for target in targets if number % 2 == 0 else reversed(targets):
                        asyncio.run(load(target, shape, at_once))
        rows = [result(direct, target) for target in targets]
    kube.served.stop()
    document = {
        "what": "a request to a warm model through the gateway against the same upstream asked directly, same run",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "load_before": round(before, 1)},
        "settings": {"rounds": options.rounds, "tokens": TOKENS, "token_ms": TOKEN_SECONDS * 1000},
        "targets": rows,
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
