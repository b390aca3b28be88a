"""What a request to the gateway may be, and who may send it: keys, models, bodies, paths and methods."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from tests.unit import gateway_app_kit
from tests.unit import gateway_kit as kit
from tests.unit.gateway_app_kit import GROUPS, KEYS, ask, client, error

pytestmark = pytest.mark.slow

upstream, kube, gateway, clean = gateway_app_kit.fixtures()


def test_a_chat_is_answered_through_the_openai_library(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    raw = client(gateway).chat.completions.with_raw_response.create(
        model="small", messages=[{"role": "user", "content": "capital?"}], extra_body={"top_k": 3}
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "Paris"
    assert answer.model == "small"
    assert raw.headers["x-ebbtide-model"] == "small"
    assert float(raw.headers["x-ebbtide-wait-seconds"]) >= 0
    (request,) = upstream.received
    assert (request.host, request.path) == ("small.ebbtide-models", "/v1/chat/completions")
    assert request.body["top_k"] == 3
    assert "authorization" not in {name.lower() for name in request.headers}


def test_a_raw_completion_stays_raw_and_carries_the_models_own_name(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    answer = client(gateway).completions.create(model="tiny", prompt="The capital of France is")
    assert (answer.choices[0].text, answer.model) == (" Paris", "small")
    assert (upstream.received[0].path, upstream.received[0].body["model"]) == ("/v1/completions", "small")
    assert upstream.received[0].body["prompt"] == "The capital of France is"
    chunks = list(client(gateway).completions.create(model="small", prompt="x", stream=True))
    assert "".join(part.choices[0].text or "" for part in chunks) == "01234"
    assert {part.model for part in chunks} == {"small"}


def test_embeddings_are_passed(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    answer = client(gateway).embeddings.create(model="vectors", input=["a"], encoding_format="float")
    assert answer.data[0].embedding == [0.25, 0.5]
    assert upstream.received[0].path == "/v1/embeddings"


def test_an_alias_reaches_its_model_by_the_models_host(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    assert ask(gateway, "tiny").status_code == 200
    assert (upstream.received[0].host, upstream.received[0].body["model"]) == ("small.ebbtide-models", "small")


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
    assert upstream.received[0].body == {"model": "small", "messages": kit.HI} | own


def test_a_name_given_twice_goes_up_once_with_the_admitted_models_name(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    content = b'{"model": "big", "messages": [{"role": "user"}], "model": "small"}'
    headers = {"authorization": "Bearer sk-intern-secret"}
    answer = httpx.post(gateway.url + "/v1/chat/completions", content=content, headers=headers)
    assert (answer.status_code, answer.headers["x-ebbtide-model"]) == (200, "small")
    assert upstream.received[0].body == {"model": "small", "messages": [{"role": "user"}]}


def test_an_unknown_model_gets_404_with_the_names_the_caller_may_use(gateway: kit.Gateway) -> None:
    message = error(ask(gateway, "nope"))["message"]
    assert message == "there is no model 'nope'; models you may use: big, small, twin, vectors"
    refused = ask(gateway, "nope", "sk-intern-secret")
    assert refused.status_code == 404
    assert error(refused)["message"].endswith("models you may use: small")


def test_the_models_list_shows_what_the_group_may_use(gateway: kit.Gateway) -> None:
    assert [model.id for model in client(gateway).models.list()] == ["big", "small", "twin", "vectors"]
    assert [model.id for model in client(gateway, "sk-intern-secret").models.list()] == ["small"]
    retrieved = client(gateway).models.retrieve("tiny")
    assert retrieved.id == "small"
    state = (retrieved.model_extra or {})["ebbtide"]
    assert (state["state"], state["usd_per_hour"], state["last_wakes_seconds"]) == ("asleep", None, [])
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


@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches", "/v1/files/file-1/content"])
def test_a_stack_without_a_database_says_that_files_and_batches_need_one(gateway: kit.Gateway, path: str) -> None:
    refused = httpx.get(gateway.url + path, headers={"authorization": "Bearer sk-demo-secret"})
    assert (refused.status_code, error(refused)["code"]) == (404, "database_needed")


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
