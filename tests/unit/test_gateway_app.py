"""The real gateway's process against a fake interceptor and a fake Kubernetes API.

The first run makes the gateway's virtual environment; after that the module takes well under a minute.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from aiohttp import web

from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit as kit

pytestmark = pytest.mark.slow

KEYS = {"demo": ("sk-demo-secret", "everyone"), "intern": ("sk-intern-secret", "small-only")}
GROUPS = {"everyone": ["*"], "small-only": ["small"]}
HOLD = 3.0
SECRET_PROMPT = "the password of the vault"


upstream, kube, gateway = kit.fixtures(
    [
        {"name": "small", "host": "small.ebbtide-models", "gpus": 1, "holdSeconds": HOLD, "aliases": ["tiny"]},
        {"name": "twin", "host": "twin.ebbtide-models", "gpus": 1, "holdSeconds": HOLD},
        {"name": "big", "host": "big.ebbtide-models", "gpus": 2, "holdSeconds": HOLD},
        {"name": "vectors", "host": "vectors.ebbtide-models", "gpus": 0, "holdSeconds": HOLD, "task": "embed"},
    ],
    kit.key_file(KEYS, GROUPS),
    replicas={"small": 0, "twin": 0, "big": 0},
    guard={"maxGpus": 2, "whenFull": "wait", "waitLimitSeconds": 3},
    limits={"maxBodyBytes": 100_000, "shutdownSeconds": 5},
)


@pytest.fixture(autouse=True)
def clean(upstream: kit.Upstream, kube: kit.KubeApi, gateway: kit.Gateway) -> None:
    upstream.reset()
    for model in ("small", "twin", "big"):
        kube.scale(model, 0)
        kube.fail(model, None)


def ask(gateway: kit.Gateway, model: str = "small", key: str = "sk-demo-secret", **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": SECRET_PROMPT}]} | more
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.post(gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=20)


def wake(gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi, model: str, gpus: int) -> None:
    """Scale a model up and wait until the gateway has seen it: an awake model's answer names no wait."""
    kube.scale(model, 1, gpus)
    kit.until(lambda: "x-ebbtide-wait-seconds" not in ask(gateway, model).headers, f"{model} seen awake")
    upstream.reset()


def client(gateway: kit.Gateway, key: str = "sk-demo-secret") -> openai.OpenAI:
    return openai.OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0, timeout=20)


def error(response: httpx.Response) -> dict[str, Any]:
    found = response.json()["error"]
    assert {"message", "type", "code"} <= set(found)
    return dict(found)


def test_a_chat_is_answered_through_the_openai_library(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    raw = client(gateway).chat.completions.with_raw_response.create(
        model="small", messages=[{"role": "user", "content": "capital?"}], extra_body={"top_k": 3}
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "Paris"
    assert answer.model == "small"
    assert raw.headers["x-ebbtide-model"] == "small"
    assert float(raw.headers["x-ebbtide-wait-seconds"]) >= 0
    (seen,) = upstream.seen
    assert (seen.host, seen.path) == ("small.ebbtide-models", "/v1/chat/completions")
    assert seen.body["top_k"] == 3
    assert "authorization" not in {name.lower() for name in seen.headers}


def test_a_raw_completion_stays_raw_and_carries_the_models_own_name(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    answer = client(gateway).completions.create(model="tiny", prompt="The capital of France is")
    assert (answer.choices[0].text, answer.model) == (" Paris", "small")
    assert (upstream.seen[0].path, upstream.seen[0].body["model"]) == ("/v1/completions", "small")
    assert upstream.seen[0].body["prompt"] == "The capital of France is"
    chunks = list(client(gateway).completions.create(model="small", prompt="x", stream=True))
    assert "".join(part.choices[0].text or "" for part in chunks) == "01234"
    assert {part.model for part in chunks} == {"small"}


def test_embeddings_are_passed(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    answer = client(gateway).embeddings.create(model="vectors", input=["a"], encoding_format="float")
    assert answer.data[0].embedding == [0.25, 0.5]
    assert upstream.seen[0].path == "/v1/embeddings"


def test_an_alias_reaches_its_model_by_the_models_host(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    assert ask(gateway, "tiny").status_code == 200
    assert (upstream.seen[0].host, upstream.seen[0].body["model"]) == ("small.ebbtide-models", "small")


@pytest.mark.parametrize("key", ["", "sk-wrong", "sk-demo-secre", "é"])
def test_no_key_or_a_wrong_one_gets_401(gateway: kit.Gateway, upstream: kit.Upstream, key: str) -> None:
    headers = {b"authorization": b"Bearer " + key.encode()} if key else {}
    for path in ("/v1/chat/completions", "/v1/models"):
        method = "GET" if path.endswith("models") else "POST"
        refused = httpx.request(method, gateway.url + path, headers=headers, content=b"{}")
        assert (refused.status_code, error(refused)["type"]) == (401, "authentication_error")
    assert upstream.untouched


def test_a_group_may_not_use_another_model_and_does_not_wake_it(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    refused = ask(gateway, "big", "sk-intern-secret")
    assert (refused.status_code, error(refused)["code"]) == (403, "model_not_allowed")
    assert "small-only" in error(refused)["message"]
    assert upstream.untouched
    with pytest.raises(openai.PermissionDeniedError):
        client(gateway, "sk-intern-secret").chat.completions.create(model="big", messages=kit.HI)


@pytest.mark.parametrize(
    "steering",
    [
        {"extra_headers": {"Host": "big.ebbtide-models"}},
        {"api_base": "http://169.254.169.254"},
        {"fallbacks": ["big"]},
        {"mock_response": "free"},
        {"num_retries": 5},
        {"chat_template": "{% for _ in range(10 ** 12) %}{% endfor %}"},
        {"chat_template_kwargs": {"chat_template": "x"}},
        {"chat_template_kwargs": {"tokenize": True}},
        {"kv_transfer_params": {"remote_host": "169.254.169.254", "remote_port": 80}},
        {"vllm_xargs": {"kv_transfer_params": "x"}},
        {"logits_processors": ["os.system"]},
        {"prompt_embeds": "AAAA"},
    ],
)
def test_a_body_cannot_steer_anything_elsewhere(
    gateway: kit.Gateway, upstream: kit.Upstream, steering: dict[str, Any]
) -> None:
    refused = ask(gateway, "small", "sk-intern-secret", **steering)
    assert (refused.status_code, error(refused)["code"]) == (400, "unsupported_parameter")
    assert upstream.untouched


def test_the_engines_own_parameters_go_up_as_they_are(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    own: dict[str, Any] = {
        "top_k": 3,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "stop_token_ids": [2],
        "chat_template_kwargs": {"enable_thinking": False},
        "guided_json": {"type": "object"},
        "structured_outputs": {"regex": "[a-z]+"},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "logit_bias": {"5": -100},
        "seed": 2**63,
        "metadata": {"team": "a"},
        "user": "u\u00e9\ud800",
        "priority": 0,
    }
    content = json.dumps({"model": "tiny", "messages": kit.HI} | own)
    headers = {"authorization": "Bearer sk-demo-secret"}
    assert httpx.post(gateway.url + "/v1/chat/completions", content=content, headers=headers).status_code == 200
    assert upstream.seen[0].body == {"model": "small", "messages": kit.HI} | own


def test_a_name_given_twice_goes_up_once_with_the_admitted_models_name(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    content = b'{"model": "big", "messages": [{"role": "user"}], "model": "small"}'
    headers = {"authorization": "Bearer sk-intern-secret"}
    answer = httpx.post(gateway.url + "/v1/chat/completions", content=content, headers=headers)
    assert (answer.status_code, answer.headers["x-ebbtide-model"]) == (200, "small")
    assert upstream.seen[0].body == {"model": "small", "messages": [{"role": "user"}]}


def test_an_unknown_model_gets_404_with_the_names_the_caller_may_use(gateway: kit.Gateway) -> None:
    message = error(ask(gateway, "nope"))["message"]
    assert message == "there is no model 'nope'; models you may use: big, small, twin, vectors"
    refused = ask(gateway, "nope", "sk-intern-secret")
    assert refused.status_code == 404
    assert error(refused)["message"].endswith("models you may use: small")


def test_the_models_list_shows_what_the_group_may_use(gateway: kit.Gateway) -> None:
    assert [model.id for model in client(gateway).models.list()] == ["big", "small", "twin", "vectors"]
    assert [model.id for model in client(gateway, "sk-intern-secret").models.list()] == ["small"]
    found = client(gateway).models.retrieve("tiny")
    assert found.id == "small"
    told = (found.model_extra or {})["ebbtide"]
    assert (told["state"], told["usd_per_hour"], told["last_wakes_seconds"]) == ("asleep", None, [])
    with pytest.raises(openai.PermissionDeniedError):
        client(gateway, "sk-intern-secret").models.retrieve("big")


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/metrics", "/docs", "/key/generate", "/model/info", "/chat/completions", "/v1/realtime"),
        *("/v1/models/", "/v1//models", "/health", "/v1/chat/completions/", "/ui", "/v1/../key/info"),
    ],
)
def test_every_path_that_is_not_listed_is_404(gateway: kit.Gateway, path: str) -> None:
    refused = httpx.get(gateway.url + path, headers={"authorization": "Bearer sk-demo-secret"})
    assert (refused.status_code, error(refused)["code"]) == (404, "unknown_path")


def test_a_listed_path_takes_its_own_method_only(gateway: kit.Gateway) -> None:
    assert httpx.get(gateway.url + "/v1/chat/completions").status_code == 405
    assert httpx.post(gateway.url + "/v1/models").status_code == 405


def test_malformed_and_oversized_bodies_are_refused(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    def post(content: Any) -> httpx.Response:
        headers = {"authorization": "Bearer sk-demo-secret", "content-type": "application/json"}
        return httpx.post(gateway.url + "/v1/chat/completions", content=content, headers=headers)

    for bad in (b"{", b"", b"[1]", b'"x"', b'{"messages": 1}', b'{"model": 3}', b"[" * 50_000, b"\xff"):
        assert post(bad).status_code == 400, bad[:20]
    assert post(b"x" * 100_001).status_code == 413
    chunked = post(b"x" * 20_000 for _ in range(6))
    assert (chunked.status_code, error(chunked)["code"]) == (413, "body_too_large")
    assert upstream.untouched


@pytest.mark.parametrize("path", ["chat/completions", "completions", "embeddings"])
def test_a_body_without_what_its_path_needs_is_refused_in_openais_shape_and_wakes_nothing(
    gateway: kit.Gateway, upstream: kit.Upstream, path: str
) -> None:
    refused = httpx.post(
        f"{gateway.url}/v1/{path}",
        json={"model": "vectors" if path == "embeddings" else "small"},
        headers={"authorization": "Bearer sk-demo-secret"},
    )
    assert refused.status_code == 400
    assert (error(refused)["type"], error(refused)["code"]) == ("invalid_request_error", "missing_parameter")
    assert upstream.untouched


def test_a_key_file_swapped_in_counts_at_once(gateway: kit.Gateway) -> None:
    folder = gateway.folder / "keys"
    changed = KEYS | {"demo": ("sk-new-secret", "everyone")}
    try:
        kit.swap(folder, kit.key_file(changed, GROUPS))
        assert ask(gateway, key="sk-new-secret").status_code == 200
        assert ask(gateway, key="sk-demo-secret").status_code == 401
        kit.swap(folder, "{ not json")
        assert ask(gateway, key="sk-new-secret").status_code == 200
    finally:
        kit.swap(folder, kit.key_file(KEYS, GROUPS))
    assert ask(gateway).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_failures_of_the_hop_are_retried_until_the_model_is_up(
    gateway: kit.Gateway, upstream: kit.Upstream, stream: bool
) -> None:
    down = [kit.says(502, "Bad Gateway"), kit.resets, kit.says(504, "Gateway Timeout"), kit.says(503, "busy")]
    upstream.script += [*down, kit.streams(5, cut_after=0)] if stream else down
    answer = ask(gateway, stream=stream)
    assert answer.status_code == 200
    assert len(upstream.seen) == (6 if stream else 5)
    assert 0.5 < float(answer.headers["x-ebbtide-wait-seconds"]) < HOLD
    assert upstream.seen[0].body == upstream.seen[-1].body


def test_at_the_deadline_the_client_gets_504_with_reason_and_retry_after(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    upstream.script += [kit.says(502, "Bad Gateway")] * 100
    started = time.monotonic()
    refused = ask(gateway)
    assert HOLD - 1.2 < time.monotonic() - started < HOLD + 1
    assert (refused.status_code, error(refused)["code"]) == (504, "model_not_ready")
    assert "did not become ready within 3 s" in error(refused)["message"]
    assert "the interceptor answered 502" in error(refused)["message"]
    assert int(refused.headers["retry-after"]) > 0
    upstream.reset()
    assert ask(gateway).status_code == 200, "a failed wake must not put the route on a cooldown"


def test_a_full_engine_is_passed_on_at_once_with_retry_after(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    busy = "The engine is currently busy and cannot accept new requests."
    upstream.script.append(kit.engine_error(503, "Service Unavailable", busy))
    refused = ask(gateway)
    assert refused.status_code == 503
    assert error(refused) == {"message": busy, "type": "Service Unavailable", "param": None, "code": 503}
    assert int(refused.headers["retry-after"]) > 0
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("pieces", [1, 3])
def test_an_engine_that_refuses_within_a_stream_is_a_503_with_retry_after(
    gateway: kit.Gateway, upstream: kit.Upstream, pieces: int
) -> None:
    busy = "The engine is currently busy and cannot accept new requests."
    upstream.script.append(kit.refuses_in_the_stream(503, busy, pieces))
    refused = ask(gateway, stream=True)
    assert refused.status_code == 503
    assert error(refused)["message"] == busy
    assert int(refused.headers["retry-after"]) > 0
    assert len(upstream.seen) == 1


def test_a_stream_that_begins_with_a_client_error_is_that_error(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    upstream.script += [kit.refuses_in_the_stream(400, "too long"), kit.refuses_in_the_stream(0, "what now")]
    refused = ask(gateway, stream=True)
    assert (refused.status_code, error(refused)["message"]) == (400, "too long")
    assert "retry-after" not in refused.headers
    assert ask(gateway, stream=True).status_code == 502


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 404, 422, 429, 500])
def test_an_error_of_the_engine_reaches_the_client_word_for_word_and_is_never_retried(
    gateway: kit.Gateway, upstream: kit.Upstream, status: int, stream: bool
) -> None:
    message = "This model's maximum context length is 2048 tokens. However, you requested 9000."
    upstream.script.append(kit.engine_error(status, "BadRequestError", message))
    refused = ask(gateway, stream=stream)
    assert (refused.status_code, error(refused)["message"]) == (status, message)
    assert len(upstream.seen) == 1


def test_a_missing_route_is_said_to_be_one(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    upstream.script.append(kit.says(404, "Not Found"))
    refused = ask(gateway)
    assert (refused.status_code, error(refused)["code"]) == (502, "route_missing")
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_every_chunk_is_flushed_when_it_comes(gateway: kit.Gateway, upstream: kit.Upstream, kind: str) -> None:
    received: list[str] = []
    # Chunk n is only sent once chunk n-1 has reached the client: a buffer anywhere on the way would hang
    # this.
    upstream.script.append(kit.streams(8, gate=lambda number: len(received) >= number))
    if kind == "chat":
        chat = client(gateway).chat.completions.create(model="small", messages=kit.HI, stream=True)
        received.extend(text for part in chat if (text := part.choices[0].delta.content))
    else:
        raw = client(gateway).completions.create(model="small", prompt="x", stream=True)
        for part in raw:
            if part.choices[0].text:
                received.append(part.choices[0].text)
    assert received == [str(number) for number in range(8)]


def test_a_stream_that_breaks_after_its_first_byte_is_not_retried_and_not_dressed_as_complete(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    upstream.script.append(kit.streams(5, cut_after=2))
    text = ""
    try:
        body = {"model": "small", "messages": kit.HI, "stream": True}
        headers = {"authorization": "Bearer sk-demo-secret"}
        with httpx.stream(
            "POST", gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=10
        ) as answer:
            for part in answer.iter_text():
                text += part
    except httpx.RemoteProtocolError:
        pass
    assert '"content":"1"' in text
    assert '"finish_reason":"stop"' not in text
    assert "[DONE]" not in text
    assert len(upstream.seen) == 1


def test_a_stream_that_breaks_off_raises_in_the_openai_library(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    upstream.script.append(kit.streams(5, cut_after=2))
    chat = client(gateway).chat.completions.create(model="small", messages=kit.HI, stream=True)
    with pytest.raises(openai.APIError, match="what came so far is not all of it"):
        list(chat)
    kit.until(lambda: [r for r in gateway.records() if r["code"] == "answer_broken_off"], "logged", 3)


@pytest.mark.parametrize("stage", ["held", "streaming"])
def test_a_client_that_leaves_takes_its_upstream_request_along(
    gateway: kit.Gateway, upstream: kit.Upstream, stage: str
) -> None:
    upstream.knock_script = [kit.holds] if stage == "held" else []
    upstream.script = [kit.streams(9, gate=lambda number: number < 2)]
    body = {"model": "small", "messages": kit.HI, "stream": stage == "streaming"}
    headers = {"authorization": "Bearer sk-demo-secret"}
    if stage == "held":
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=0.5)
    else:
        with httpx.stream("POST", gateway.url + "/v1/chat/completions", json=body, headers=headers) as answer:
            next(answer.iter_bytes())
    reached = upstream.knocks if stage == "held" else upstream.seen
    kit.until(lambda: reached and reached[0].cut_off, "the upstream request is closed", 3)
    kit.until(lambda: [r for r in gateway.records() if not r["complete"] or r["status"] == 499], "logged", 3)
    assert (len(upstream.knocks), len(upstream.seen)) == ((1, 0) if stage == "held" else (1, 1))


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
        assert not upstream.seen
        kube.scale("small", 1, ready=0)
        up.set()
        assert held.result(5).status_code == 200
    assert [(knock.host, knock.path) for knock in upstream.knocks] == [("small.ebbtide-models", "/health")] * 2
    assert len(upstream.seen) == 1


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
        assert {seen.host for seen in upstream.seen + upstream.knocks} == {"big.ebbtide-models"}, (
            "or the scaler would try"
        )
        assert not waiting.done()
        kube.scale("big", 0, gpus=2)
        answer = waiting.result(5)
    assert answer.status_code == 200
    assert float(answer.headers["x-ebbtide-wait-seconds"]) > 0
    assert upstream.seen[-1].host == "small.ebbtide-models"


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
        assert {seen.host for seen in upstream.knocks} == {"small.ebbtide-models"}
        first.result(5)


def _impatient(gateway: kit.Gateway, model: str, seconds: float) -> None:
    body = {"model": model, "messages": kit.HI}
    headers = {"authorization": "Bearer sk-demo-secret"}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=seconds)


def failure(seconds: float, reason: str = "weights") -> str:
    """As the wake keeper writes it."""
    now = datetime.now(UTC)
    until = (now + timedelta(seconds=seconds)).isoformat()
    told = {"reason": reason, "message": "its weights are missing", "since": now.isoformat(), "until": until}
    return json.dumps(told | {"failures": 1})


def test_a_request_for_a_model_that_cannot_be_woken_is_told_so_and_wakes_nobody(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    kube.fail("small", failure(40))
    response = kit.until(lambda: (found := ask(gateway)).status_code == 503 and found, "the failure seen")
    found = error(response)
    assert (found["code"], found["param"], found["type"]) == ("wake_failed", "weights", "server_error")
    assert found["message"] == "model 'small' cannot be woken: its weights are missing"
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
    addresses = {line.split(" ", 1)[1] for line in (gateway.folder / "audit").read_text().splitlines()}
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
    assert len(upstream.seen) == 4, "more often than the library does by itself"


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
    got = [next(parts).choices[0].delta.content]
    gateway.process.terminate()
    kit.until(lambda: _refused(gateway), "no new connections are taken", 5)
    go_on.set()
    got += [part.choices[0].delta.content for part in parts]
    assert [text for text in got if text] == ["0", "1", "2", "3"]
    assert held.result(10).status_code == 200
    assert gateway.process.wait(10) in (0, -15)


def _refused(gateway: kit.Gateway) -> bool:
    try:
        httpx.get(gateway.url + "/health/liveness")
    except httpx.ConnectError:
        return True
    return False
