"""Wake rights, budgets, what a wake costs and the metrics, on the real gateway's process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit as kit
from tests.unit.usage_keeper import UsageKeeper

pytestmark = pytest.mark.slow

KEYS = {name: (f"sk-{name}-secret", name) for name in ("ops", "guests", "once", "slow", "few")}
GROUPS = {"ops": ["*"], "guests": ["*"], "once": ["*"], "slow": ["*"], "few": ["*"]}
RIGHTS: dict[str, dict[str, Any]] = {
    "guests": {"wake": []},
    "once": {"maxWakesPerDay": 1},
    "slow": {"requestsPerMinute": 2},
    "few": {"tokensPerMinute": 8},
}


upstream, kube, gateway = kit.fixtures(
    [
        {
            "name": "small",
            "host": "small.ebbtide-models",
            "gpus": 1,
            "holdSeconds": 10,
            "usdPerHour": 1.2,
            "mostWaiting": 3,
        },
        {"name": "big", "host": "big.ebbtide-models", "gpus": 2, "holdSeconds": 10},
    ],
    kit.key_file(KEYS, GROUPS, RIGHTS),
    replicas={"small": 0, "big": 0},
    scope="function",
    guard={"maxGpus": 2, "whenFull": "refuse"},
)


def ask(gateway: kit.Gateway, who: str, model: str = "small") -> httpx.Response:
    headers = {"authorization": f"Bearer {KEYS[who][0]}"}
    body = {"model": model, "messages": kit.HI}
    return httpx.post(gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=20)


def code(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json()["error"]["code"]


def metrics(gateway: kit.Gateway) -> dict[str, float]:
    lines = httpx.get(gateway.metrics_url).text.splitlines()
    return {name: float(value) for name, _, value in (x.rpartition(" ") for x in lines if not x.startswith("#"))}


def test_a_group_without_the_right_wakes_nothing_and_is_answered_once_the_model_is_awake(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    refused = ask(gateway, "guests")
    assert code(refused) == (403, "wake_not_allowed")
    assert "ask somebody with a key of group few or once or ops or slow" in refused.json()["error"]["message"]
    assert upstream.untouched
    kube.scale("small", 1)
    kit.until(lambda: ask(gateway, "guests").status_code == 200, "an awake model answers")


def test_the_wakes_of_a_day_are_used_up_and_an_awake_model_still_answers(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    assert ask(gateway, "once").headers["x-ebbtide-woken"] == "true"
    refused = ask(gateway, "once")
    assert code(refused) == (429, "wake_budget")
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert len(upstream.received) == 1
    kube.scale("small", 1)
    kit.until(lambda: ask(gateway, "once").status_code == 200, "an awake model answers")


class Several:
    """Gateways' processes, and the part of the wake keeper that tells each what the others have used."""

    def __init__(self, upstream: kit.Upstream, kube: kit.KubeApi, folders: pytest.TempPathFactory) -> None:
        self._upstream, self._kube, self._folders = upstream, kube, folders
        self.keeper = UsageKeeper()

    @contextmanager
    def another(self) -> Iterator[kit.Gateway]:
        settings = {
            "interceptorUrl": self._upstream.served.url,
            "keeperUrl": self.keeper.served.url,
            "models": [{"name": "small", "host": "small.ebbtide-models", "gpus": 1, "holdSeconds": 10}],
            "cluster": {"apiServer": self._kube.served.url},
        }
        folder = self._folders.mktemp("gateway")
        started = kit.start(gateway_python(), folder, settings, kit.key_file(KEYS, GROUPS, RIGHTS))
        self.keeper.gateways.append(started)
        try:
            with kit.serving(started):
                yield started
        finally:
            self.keeper.gateways.remove(started)


@pytest.fixture
def several(upstream: kit.Upstream, kube: kit.KubeApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Several]:
    stack_of_gateways = Several(upstream, kube, tmp_path_factory)
    yield stack_of_gateways
    stack_of_gateways.keeper.stop()


def test_the_wakes_of_a_day_outlive_the_gateway_and_a_keeper_that_is_away_keeps_nobody_asleep(
    several: Several,
) -> None:
    with several.another() as first:
        assert ask(first, "once").headers["x-ebbtide-woken"] == "true"
        several.keeper.served.run(several.keeper.used.reconcile())
    with several.another() as second:
        assert code(ask(second, "once")) == (429, "wake_budget")
        assert ask(second, "ops").status_code == 200
    several.keeper.stop()
    with several.another() as third:
        assert ask(third, "once").status_code == 200
        assert "the wake keeper does not say" in third.log()


def test_the_requests_of_a_minute_are_counted_over_all_gateways_and_one_alone_counts_for_itself(
    several: Several, upstream: kit.Upstream
) -> None:
    with several.another() as first, several.another() as second:
        assert [ask(first, "slow").status_code for _ in range(2)] == [200, 200]
        # what it hears first may be as old as the keeper keeps an answer
        kit.until(lambda: ask(second, "slow").status_code == 429, "the second gateway has heard of the first's")
        assert len(upstream.received) <= 2 * 2, "no more than each would let pass alone"
        refused = ask(second, "slow")
        assert code(refused) == (429, "request_limit")
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert ask(second, "ops").status_code == 200
    several.keeper.stop()
    with several.another() as alone:
        assert [ask(alone, "slow").status_code for _ in range(3)] == [200, 200, 429]


def test_tokens_of_a_minute_are_counted_without_a_database_and_a_stream_looks_as_it_was_asked_for(
    gateway: kit.Gateway, kube: kit.KubeApi
) -> None:
    kube.scale("small", 1)
    headers = {"authorization": f"Bearer {KEYS['few'][0]}"}
    body = {"model": "small", "messages": kit.HI, "stream": True}
    url = gateway.url + "/v1/chat/completions"
    streams = [httpx.post(url, json=body, headers=headers, timeout=20) for _ in range(2)]
    assert [('"usage"' in each.text, "[DONE]" in each.text) for each in streams] == [(False, True)] * 2
    refused = ask(gateway, "few")
    assert code(refused) == (429, "token_limit")
    text = "group 'few' may use 8 token(s) a minute, and has used 10"
    assert refused.json()["error"]["message"] == text
    assert 0 < int(refused.headers["retry-after"]) <= 60
    of_anthropic = httpx.post(gateway.url + "/v1/messages", json={**body, "max_tokens": 9}, headers=headers)
    assert of_anthropic.json()["error"]["type"] == "rate_limit_error"
    assert of_anthropic.json()["type"] == "error"
    assert ask(gateway, "ops").status_code == 200


def test_a_refused_wake_takes_nothing_from_the_budget(gateway: kit.Gateway, kube: kit.KubeApi) -> None:
    kube.scale("big", 1, gpus=2)
    kit.until(lambda: ask(gateway, "ops", "big").headers["x-ebbtide-woken"] == "false", "big seen awake")
    assert code(ask(gateway, "once")) == (503, "gpus_in_use")
    kube.scale("big", 0, gpus=2)
    kit.until(lambda: ask(gateway, "once").status_code == 200, "the wake it had left")


def test_no_more_wait_for_a_model_than_its_engines_take_and_who_is_refused_does_not_cost_a_place(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    up = threading.Event()

    async def until_up(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        while not up.is_set():
            await asyncio.sleep(0.01)
        return await kit.says(200, "")(request, body)

    upstream.knock_script = [until_up] * 3
    with ThreadPoolExecutor() as pool:
        held = [pool.submit(ask, gateway, "ops") for _ in range(3)]
        kit.until(lambda: len(upstream.knocks) == 3, "three are held")
        for _ in range(2):
            refused = ask(gateway, "ops")
            assert code(refused) == (503, "queue_full")
            assert int(refused.headers["retry-after"]) > 0
        assert len(upstream.knocks) == 3
        up.set()
        assert [each.result(10).status_code for each in held] == [200] * 3
    assert ask(gateway, "ops").status_code == 200, "a place was lost"
    refusals = 'ebbtide_gateway_refusals_total{code="queue_full",group="ops",model="small"}'
    assert metrics(gateway)[refusals] == 2


def test_requests_above_the_limit_get_429_with_retry_after(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    assert [ask(gateway, "slow").status_code for _ in range(2)] == [200, 200]
    refused = ask(gateway, "slow")
    assert code(refused) == (429, "request_limit")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert (ask(gateway, "ops").status_code, len(upstream.received)) == (200, 3)


def test_of_two_requests_for_a_sleeping_model_one_woke_it_and_is_told_the_price(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    go_on = threading.Event()
    upstream.script += [kit.streams(1, gate=lambda _: go_on.is_set())] * 2
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(ask, gateway, "ops") for _ in range(2)]
        kit.until(lambda: len(upstream.received) == 2, "both are held")
        assert metrics(gateway)['ebbtide_gateway_held_requests{model="small"}'] == 2
        go_on.set()
        answers = [each.result(10) for each in both]
    woke = [answer for answer in answers if answer.headers.get("x-ebbtide-woken") == "true"]
    assert [answer.headers["x-ebbtide-usd-per-hour"] for answer in woke] == ["1.20"]
    assert all("x-ebbtide-wait-seconds" in answer.headers for answer in answers)
    big = ask(gateway, "ops", "big")
    assert big.headers["x-ebbtide-woken"] == "true"
    assert "x-ebbtide-usd-per-hour" not in big.headers, "its price is unknown"
    kube.scale("small", 1)
    kit.until(lambda: "x-ebbtide-wait-seconds" not in ask(gateway, "ops").headers, "small seen awake")
    assert "x-ebbtide-usd-per-hour" not in ask(gateway, "ops").headers


def test_who_joins_a_wake_is_held_too_and_told_how_long(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    up = threading.Event()

    async def until_up(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        while not up.is_set():
            await asyncio.sleep(0.01)
        return await kit.says(200, "")(request, body)

    held = 'ebbtide_gateway_held_requests{model="small"}'
    upstream.knock_script = [until_up] * 3
    with ThreadPoolExecutor() as pool:
        first = pool.submit(ask, gateway, "ops")
        kit.until(lambda: metrics(gateway).get(held) == 1, "the first is held")
        kube.scale("small", 1, ready=0)  # the wake goes on: a pod is there and loads
        joined = [pool.submit(ask, gateway, "ops") for _ in range(2)]
        kit.until(lambda: metrics(gateway)[held] == 3, "all three are held")
        up.set()
        answers = [each.result(30) for each in (first, *joined)]
    assert [float(each.headers["x-ebbtide-wait-seconds"]) > 0 for each in answers] == [True] * 3

    def waits() -> list[float]:
        return [record["wait_s"] for record in gateway.records() if record["status"] == 200]

    kit.until(lambda: len(waits()) == 3, "a record of each answer")
    assert min(waits()) > 0
    assert metrics(gateway)[held] == 0


def test_a_hopeless_request_is_answered_while_its_model_sleeps(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    hopeless = [
        ("chat/completions", {"messages": []}, 400),
        ("chat/completions", {"messages": kit.HI, "n": 0}, 400),
        ("completions", {"prompt": ""}, 400),
        ("embeddings", {"input": "a"}, 400),
    ]
    for path, body, status in hopeless:
        headers = {"authorization": f"Bearer {KEYS['ops'][0]}"}
        refused = httpx.post(f"{gateway.url}/v1/{path}", json={"model": "small", **body}, headers=headers)
        assert (refused.status_code, refused.json()["error"]["message"] != "") == (status, True), path
    assert upstream.untouched


def test_the_metrics_tell_requests_wakes_and_refusals_and_no_key(gateway: kit.Gateway, kube: kit.KubeApi) -> None:
    ask(gateway, "ops")
    ask(gateway, "guests")
    httpx.post(gateway.url + "/v1/chat/completions", json={"model": "x"}, headers={"authorization": "Bearer sk-none"})
    figures = metrics(gateway)
    requests = "ebbtide_gateway_requests_total"
    assert figures[f'{requests}{{group="ops",model="small",status="200"}}'] == 1
    assert figures[f'{requests}{{group="guests",model="small",status="403"}}'] == 1
    assert figures[f'{requests}{{group="",model="",status="401"}}'] == 1
    assert figures['ebbtide_gateway_wake_seconds_count{model="small"}'] == 1
    assert figures['ebbtide_gateway_held_requests{model="small"}'] == 0
    refusals = 'ebbtide_gateway_refusals_total{code="wake_not_allowed",group="guests",model="small"}'
    assert figures[refusals] == 1
    assert "sk-" not in json.dumps(figures)
    assert httpx.get(gateway.url + "/metrics").status_code == 404, "not where clients are"
