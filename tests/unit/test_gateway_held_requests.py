"""A request for a model that sleeps is held: without a body, for room on the GPUs, and until the wake fails."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from aiohttp import web

from tests.unit import gateway_app_kit
from tests.unit import gateway_kit as kit
from tests.unit.gateway_app_kit import HOLD, ask, client, error, failure, wake

pytestmark = pytest.mark.slow

upstream, kube, gateway, clean = gateway_app_kit.fixtures()


def test_what_is_held_for_a_sleeping_model_has_no_body_and_the_prompt_goes_up_once(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    up = threading.Event()

    async def until_up(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        while not up.is_set():
            await asyncio.sleep(0.01)
        return await kit.says(200, "")(request, body)

    upstream.knock_script = [kit.says(502, "Bad Gateway"), until_up]
    with ThreadPoolExecutor() as pool:
        held = pool.submit(ask, gateway)
        kit.until(lambda: len(upstream.knocks) == 2, "asked again after the first 502")
        assert not upstream.received
        kube.scale("small", 1, ready=0)
        up.set()
        assert held.result(5).status_code == 200
    assert [(knock.host, knock.path) for knock in upstream.knocks] == [("small.ebbtide-models", "/health")] * 2
    assert len(upstream.received) == 1


def test_a_model_that_loads_is_asked_whether_it_is_there_and_one_that_is_ready_is_not(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    def knocks() -> int:
        upstream.reset()
        assert ask(gateway).status_code == 200
        return len(upstream.knocks)

    kube.scale("small", 1, ready=0)
    assert knocks() == 1
    kube.replicas("small", upstream.served.url.removeprefix("http://"))
    kit.until(lambda: knocks() == 0, "seen to be ready")
    kube.replicas("small")
    kit.until(lambda: knocks() == 1, "seen to be gone")


def test_a_second_model_waits_for_room_and_comes_up_when_the_first_is_gone(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    wake(gateway, upstream, kube, "big", gpus=2)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, gateway, "small")
        for _ in range(5):
            assert ask(gateway, "big").status_code == 200, "an awake model is not in the guard's way"
        assert {each.host for each in upstream.received + upstream.knocks} == {"big.ebbtide-models"}, (
            "or the scaler would try"
        )
        assert not waiting.done()
        kube.scale("big", 0, gpus=2)
        answer = waiting.result(5)
    assert answer.status_code == 200
    assert float(answer.headers["x-ebbtide-wait-seconds"]) > 0
    assert upstream.received[-1].host == "small.ebbtide-models"


def test_a_wait_for_room_ends_with_503_and_says_who_holds_the_gpus(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    wake(gateway, upstream, kube, "big", gpus=2)
    refused = ask(gateway, "small")
    assert (refused.status_code, error(refused)["code"]) == (503, "gpus_in_use")
    assert error(refused)["message"] == (
        "model 'small' sleeps and needs 1 GPU(s), but 2 of 2 are in use after waiting 3 s: held by big (2)"
    )
    assert int(refused.headers["retry-after"]) > 0
    assert upstream.untouched


def test_a_wake_under_way_holds_its_gpus_before_the_cluster_shows_them(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    upstream.knock_script += [kit.holds] * 2
    with ThreadPoolExecutor() as pool:
        first = pool.submit(_impatient, gateway, "small", 1.2)
        kit.until(lambda: upstream.knocks, "the first wake goes up")
        _impatient(gateway, "big", 0.4)
        assert {each.host for each in upstream.knocks} == {"small.ebbtide-models"}
        first.result(5)


def _impatient(gateway: kit.Gateway, model: str, seconds: float) -> None:
    body = {"model": model, "messages": kit.HI}
    headers = {"authorization": "Bearer sk-demo-secret"}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=seconds)


def test_a_request_for_a_model_that_cannot_be_woken_is_told_so_and_wakes_nobody(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    kube.fail("small", failure(40))
    response = kit.until(lambda: (answer := ask(gateway)).status_code == 503 and answer, "the failure seen")
    answer = error(response)
    assert (answer["code"], answer["param"], answer["type"]) == ("wake_failed", "weights", "server_error")
    assert answer["message"] == "model 'small' cannot be woken: its weights are missing"
    assert 30 < int(response.headers["retry-after"]) <= 40
    upstream.reset()
    with pytest.raises(openai.InternalServerError, match="cannot be woken"):
        client(gateway).chat.completions.create(model="small", messages=[{"role": "user", "content": "x"}])
    assert upstream.untouched
    assert ask(gateway, "twin").status_code == 200, "another model is none the worse"
    kube.fail("small", failure(-1))
    kit.until(lambda: ask(gateway).status_code == 200, "tried again once its time is over")


def test_a_held_request_ends_when_the_failure_becomes_visible_and_its_upstream_request_too(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    upstream.knock_script = [kit.holds]
    with ThreadPoolExecutor() as pool:
        held = pool.submit(ask, gateway)
        kit.until(lambda: upstream.knocks, "held by the interceptor")
        began = time.monotonic()
        kube.fail("small", failure(60, "out_of_memory"))
        response = held.result(10)
    assert time.monotonic() - began < HOLD, "well before the hold's own end"
    assert (response.status_code, error(response)["param"]) == (503, "out_of_memory")
    kit.until(lambda: upstream.knocks[0].cut_off, "the upstream request ended")
    record = kit.until(lambda: [r for r in gateway.records() if r.get("code") == "wake_failed"], "logged")[-1]
    assert record["status"] == 503


def test_a_request_that_waits_for_room_ends_too(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    wake(gateway, upstream, kube, "big", 2)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, gateway)
        time.sleep(0.3)
        assert not waiting.done()
        kube.fail("small", failure(60, "quota"))
        assert error(waiting.result(2))["param"] == "quota"


def test_an_answer_that_has_begun_goes_on_to_its_end(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    go = threading.Event()
    upstream.script = [kit.streams(3, gate=lambda number: number == 0 or go.is_set())]
    stream = client(gateway).chat.completions.create(
        model="small", messages=[{"role": "user", "content": "x"}], stream=True
    )
    first = next(iter(stream)).choices[0].delta.content
    kube.fail("small", failure(60))
    kit.until(lambda: ask(gateway).status_code == 503, "the failure seen")
    go.set()
    assert (first or "") + "".join(part.choices[0].delta.content or "" for part in stream) == "012"
