"""The gateway's own process: its probes, its log and connections, the clients' example, and the way out."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.gateway_venv import gateway_python
from tests.unit import gateway_app_kit
from tests.unit import gateway_kit as kit
from tests.unit.gateway_app_kit import GROUPS, HOLD, KEYS, SECRET_PROMPT, ask, client, error, failure

pytestmark = pytest.mark.slow

upstream, kube, gateway, clean = gateway_app_kit.fixtures()


def test_the_watch_reads_with_the_pods_token(gateway: kit.Gateway, kube: kit.KubeApi) -> None:
    assert kube.tokens == {"Bearer pod-token"}
    assert kube.lists == 1, "changes come by watch, not by listing again"


def test_liveness_does_not_wait_for_the_cluster_and_readiness_does(upstream: kit.Upstream, tmp_path: Path) -> None:
    slow = kit.KubeApi()
    slow.answering = False
    settings = {
        "interceptorUrl": upstream.served.url,
        "models": [{"name": "small", "host": "small.ebbtide-models", "gpus": 1, "holdSeconds": HOLD}],
        "cluster": {"apiServer": slow.served.url},
    }
    starting = kit.start(gateway_python(), tmp_path, settings, kit.key_file(KEYS, GROUPS))
    try:
        kit.until(lambda: httpx.get(starting.url + "/health/liveness").status_code == 200, "liveness", 60)
        assert httpx.get(starting.url + "/health/readiness").status_code == 503
        refused = ask(starting)
        assert (refused.status_code, error(refused)["code"]) == (503, "starting")
        assert int(refused.headers["retry-after"]) > 0
        slow.answering = True
        kit.until(lambda: httpx.get(starting.url + "/health/readiness").status_code == 200, "readiness", 60)
        assert httpx.get(starting.url + "/health/readiness").json() == {"ok": True}
        assert ask(starting).status_code == 200
    finally:
        starting.process.kill()
        starting.process.wait(10)
        slow.served.stop()


def test_a_cluster_that_cannot_be_read_keeps_no_gateway_from_answering(upstream: kit.Upstream, tmp_path: Path) -> None:
    settings = {
        "interceptorUrl": upstream.served.url,
        "models": [{"name": "small", "host": "small.ebbtide-models", "gpus": 1, "holdSeconds": HOLD}],
        "cluster": {"apiServer": f"http://127.0.0.1:{kit.free_port()}"},
    }
    alone = kit.start(gateway_python(), tmp_path, settings, kit.key_file(KEYS, GROUPS))
    try:
        kit.until(lambda: httpx.get(alone.url + "/health/readiness").status_code == 200, "readiness", 60)
        assert ask(alone).status_code == 200
    finally:
        alone.process.kill()
        alone.process.wait(10)


def test_neither_keys_nor_bodies_are_in_the_log_and_every_line_of_it_is_a_record(
    gateway: kit.Gateway,
) -> None:
    assert ask(gateway).status_code == 200
    assert ask(gateway, key="sk-wrong").status_code == 401
    records = kit.until(lambda: [record for record in gateway.records() if record["key"] == "demo"], "its record")
    assert {"time", "key", "group", "model", "status", "ms", "wait_s"} <= set(records[-1])
    log = gateway.log()
    for secret in ("sk-demo-secret", "sk-intern-secret", "sk-wrong", SECRET_PROMPT, "Paris", "sk-"):
        assert secret not in log
    for line in log.splitlines():
        assert line.startswith("{") or " ebbtide." in line, line


def test_nothing_is_connected_to_but_loopback(gateway: kit.Gateway) -> None:
    assert ask(gateway).status_code == 200
    addresses = {line.split(" ", 1)[1] for line in (gateway.folder / "audit").read_text().splitlines()}
    assert addresses, "the audit notes no connection, not even to the engine"
    assert all("127.0.0.1" in address or "localhost" in address for address in addresses), addresses


def example(gateway: kit.Gateway, question: str = "capital?") -> subprocess.CompletedProcess[str]:
    """``docs/examples/ask.py`` as somebody runs it."""
    program = Path(__file__).parents[2] / "docs/examples/ask.py"
    env = {**os.environ, "EBBTIDE_URL": gateway.url, "EBBTIDE_KEY": "sk-demo-secret", "NO_PROXY": "127.0.0.1"}
    argv = [sys.executable, str(program), "small", question]
    return subprocess.run(argv, capture_output=True, text=True, env=env, timeout=60, check=False)


def test_the_clients_example_comes_back_to_a_full_engine_and_prints_the_whole_answer(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    full = kit.engine_error(503, "Service Unavailable", "busy", retry_after=1)
    upstream.script += [full, full, full, kit.streams(5)]
    done = example(gateway)
    assert (done.returncode, done.stdout, done.stderr) == (0, "01234\n", "")
    assert len(upstream.received) == 4, "more often than the library does by itself"


def test_the_clients_example_says_why_a_wake_failed_and_does_not_ask_again_at_once(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    kube.fail("small", failure(600, "quota"))
    kit.until(lambda: ask(gateway).status_code == 503, "the failure seen")
    done = example(gateway)
    assert (done.returncode, done.stdout) == (1, "")
    assert "503 - model 'small' cannot be woken" in done.stderr
    assert "[wake_failed quota], again in " in done.stderr
    assert "Traceback" not in done.stderr


def test_the_clients_example_does_not_pass_a_broken_answer_off_as_a_whole_one(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    upstream.script.append(kit.streams(5, cut_after=2))
    done = example(gateway)
    assert (done.returncode, done.stdout) == (1, "01")
    assert "broken off, not the whole answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_sigterm_lets_a_running_stream_finish_and_a_held_request_be_answered(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    """Last in the module: it ends the gateway."""
    go_on = threading.Event()

    async def until_up(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        return await kit.says(200, "")(request, body)

    upstream.knock_script = [until_up]
    pool = ThreadPoolExecutor()
    held = pool.submit(ask, gateway, "twin")
    kit.until(lambda: upstream.knocks, "held for its wake")
    upstream.script.append(kit.streams(4, gate=lambda number: number < 2 or go_on.is_set()))
    chat = client(gateway).chat.completions.create(model="small", messages=kit.HI, stream=True)
    parts = iter(chat)
    pieces = [next(parts).choices[0].delta.content]
    gateway.process.terminate()
    kit.until(lambda: _refused(gateway), "no new connections are taken", 5)
    go_on.set()
    pieces += [part.choices[0].delta.content for part in parts]
    assert [text for text in pieces if text] == ["0", "1", "2", "3"]
    assert held.result(10).status_code == 200
    assert gateway.process.wait(10) in (0, -15)


def _refused(gateway: kit.Gateway) -> bool:
    try:
        httpx.get(gateway.url + "/health/liveness")
    except httpx.ConnectError:
        return True
    return False
