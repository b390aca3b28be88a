"""Every path of the table in the gateway's own process: which models have it, and in whose shape it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from aiohttp import web

from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit as kit

from ebbtide_gateway.routes import ROUTES, Route, paths_of  # isort: skip

pytestmark = pytest.mark.slow

KEY = "sk-demo-secret"
TASKS = ("chat", "embed", "rerank", "score")
GOOD: dict[str, dict[str, Any]] = {
    "chat": {"messages": kit.HI},
    "completion": {"prompt": "a"},
    "responses": {"input": "hi"},
    "messages": {"messages": kit.HI, "max_tokens": 5},
    "embedding": {"input": "a"},
    "rerank": {"query": "a", "documents": ["b"]},
    "score": {"text_1": "a", "text_2": ["b"]},
    "tokenize": {"prompt": "a"},
    "detokenize": {"tokens": [1]},
    "image": {"prompt": "a fish"},
}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "chat": ({"messages": []}, "messages"),
    "completion": ({"prompt": ""}, "prompt"),
    "responses": ({"input": []}, "input"),
    "messages": ({"messages": kit.HI}, "max_tokens"),
    "embedding": ({"input": []}, "input"),
    "rerank": ({"query": "a", "documents": []}, "documents"),
    "score": ({"text_1": "a", "data_2": "b"}, "queries"),
    "tokenize": ({"prompt": ["a"]}, "prompt"),
    "detokenize": ({"tokens": "a"}, "tokens"),
}
JSON = [route for route in ROUTES.values() if route.body == "json"]
SERVED = [route for route in JSON if "image" not in route.tasks]


upstream, kube, gateway = kit.fixtures(
    [{"name": task, "host": f"{task}.ebbtide-models", "gpus": 1, "holdSeconds": 3, "task": task} for task in TASKS],
    kit.key_file({"demo": (KEY, "everyone")}, {"everyone": ["*"]}),
    replicas={},
    limits={"maxBodyBytes": 100_000},
)


@pytest.fixture(autouse=True)
def clean(upstream: kit.Upstream, gateway: kit.Gateway) -> None:
    upstream.reset()


def post(gateway: kit.Gateway, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    sent = headers or {"authorization": f"Bearer {KEY}"}
    return httpx.post(gateway.url + path, json=body, headers=sent, timeout=20)


def error(route: Route, response: httpx.Response) -> dict[str, Any]:
    """Return the error out of the shape of the route's API, and out of no other."""
    body = response.json()
    if route.api == "cohere":
        assert "error" not in body
        reason = body
    else:
        assert body.get("type") == ("error" if route.api == "anthropic" else None)
        reason = body["error"]
        assert reason["type"]
    assert reason["message"]
    return dict(reason)


@pytest.mark.parametrize("route", SERVED, ids=lambda route: route.path)
def test_a_path_reaches_a_model_of_each_of_its_tasks(
    gateway: kit.Gateway, upstream: kit.Upstream, route: Route
) -> None:
    for task in route.tasks:
        answer = post(gateway, route.path, GOOD[route.check] | {"model": task})
        assert answer.status_code == 200, answer.text
        assert (upstream.received[-1].host, upstream.received[-1].path) == (f"{task}.ebbtide-models", route.path)


@pytest.mark.parametrize("route", JSON, ids=lambda route: route.path)
def test_a_model_of_another_task_is_refused_with_what_it_has_and_is_not_woken(
    gateway: kit.Gateway, upstream: kit.Upstream, route: Route
) -> None:
    for task in TASKS:
        if task in route.tasks:
            continue
        refused = post(gateway, route.path, GOOD[route.check] | {"model": task})
        reason = error(route, refused)
        assert (refused.status_code, reason["code"]) == (400, "wrong_task")
        assert f"task '{task}'" in reason["message"]
        assert all(path in reason["message"] for path in paths_of(task))
    assert upstream.untouched


@pytest.mark.parametrize("route", SERVED, ids=lambda route: route.path)
def test_what_no_engine_answers_is_refused_in_the_paths_own_shape_and_wakes_nothing(
    gateway: kit.Gateway, upstream: kit.Upstream, route: Route
) -> None:
    body, param = BAD[route.check]
    model = route.tasks[0]
    hopeless = error(route, post(gateway, route.path, body | {"model": model}))
    assert hopeless["code"] in ("invalid_parameter", "missing_parameter")
    assert hopeless["param"] == param
    steering = post(gateway, route.path, GOOD[route.check] | {"model": model, "chat_template": "x"})
    assert error(route, steering)["code"] == "unsupported_parameter"
    for refused, status in (
        (post(gateway, route.path, GOOD[route.check] | {"model": "nobody"}), 404),
        (post(gateway, route.path, GOOD[route.check] | {"model": model}, authorization="Bearer sk-wrong"), 401),
        (post(gateway, route.path, GOOD[route.check] | {"model": model, "user": "x" * 100_000}), 413),
        (httpx.get(gateway.url + route.path), 405),
    ):
        assert refused.status_code == status
        error(route, refused)
    assert upstream.untouched


@pytest.mark.parametrize("route", SERVED, ids=lambda route: route.path)
def test_an_engines_error_comes_in_the_paths_own_shape(
    gateway: kit.Gateway, upstream: kit.Upstream, route: Route
) -> None:
    upstream.script.append(kit.engine_error(503, "Service Unavailable", "busy"))
    refused = post(gateway, route.path, GOOD[route.check] | {"model": route.tasks[0]})
    assert (refused.status_code, error(route, refused)["message"]) == (503, "busy")
    assert int(refused.headers["retry-after"]) > 0


def test_anthropics_error_types_follow_from_the_status(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    body = GOOD["messages"] | {"model": "chat"}
    answer = json.dumps({"type": "error", "error": {"type": "BadRequestError", "message": "no"}})
    upstream.script.append(kit.says(400, answer, "application/json"))
    assert post(gateway, "/v1/messages", body).json()["error"]["type"] == "invalid_request_error"
    upstream.script.append(kit.engine_error(503, "Service Unavailable", "busy"))
    assert post(gateway, "/v1/messages", body).json()["error"]["type"] == "overloaded_error"
    large = post(gateway, "/v1/messages", body | {"system": "x" * 100_000})
    assert large.json()["error"]["type"] == "request_too_large"
    unknown = post(gateway, "/v1/messages/batches", {})
    assert unknown.json()["error"]["type"] == "not_found_error"


def test_an_engine_that_died_under_a_message_is_no_answer(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    kube.replicas("chat", f"127.0.0.1:{upstream.served.port}", f"localhost:{upstream.served.port}")
    died = {"type": "InternalServerError", "message": "EngineCore encountered an issue. See stack trace."}
    upstream.script.append(kit.says(500, json.dumps({"type": "error", "error": died}), "application/json"))
    answer = post(gateway, "/v1/messages", GOOD["messages"] | {"model": "chat", "system": "asked again"})
    assert answer.status_code == 200
    assert len(upstream.received) == 2
    kube.replicas("chat")


@pytest.mark.parametrize("header", ["x-api-key", "api-key", "X-Api-Key"])
def test_a_key_may_come_in_the_headers_of_other_clients(
    gateway: kit.Gateway, upstream: kit.Upstream, header: str
) -> None:
    body = GOOD["messages"] | {"model": "chat"}
    version = {"anthropic-version": "2023-06-01"}
    assert post(gateway, "/v1/messages", body, **{header: KEY}, **version).status_code == 200
    assert {header.lower(), "anthropic-version"}.isdisjoint({name.lower() for name in upstream.received[0].headers})
    assert post(gateway, "/v1/messages", body, **{header: "sk-wrong"}).status_code == 401
    both = {"authorization": "Basic eDp5", header: KEY}
    assert post(gateway, "/v1/messages", body, **both).status_code == 200
    wrong_bearer = {"authorization": "Bearer sk-wrong", header: KEY}
    assert post(gateway, "/v1/messages", body, **wrong_bearer).status_code == 401


def named_events(*events: tuple[str, dict[str, Any]], cut: bool = False) -> kit.Behaviour:
    """A stream whose events have names, as those of Responses and Messages have."""

    async def behaviour(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for name, data in events:
            await response.write(f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode())
        return await kit.resets(request, body) if cut else response

    return behaviour


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
def test_a_stream_with_named_events_that_breaks_ends_with_its_apis_error(
    gateway: kit.Gateway, upstream: kit.Upstream, path: str
) -> None:
    upstream.script.append(named_events(("message_start", {}), ("delta", {"text": "Pa"}), cut=True))
    answer = post(gateway, path, GOOD[ROUTES[path].check] | {"model": "chat", "stream": True})
    last = [event for event in answer.text.split("\n\n") if event][-1]
    name, _, data = last.strip().partition("\ndata: ")
    assert name == "event: error"
    parsed = json.loads(data)
    assert (parsed["type"], parsed["error"]["code"]) == ("error", "answer_broken_off")


def test_a_message_refused_in_its_stream_is_an_error_with_a_status(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    upstream.script.append(named_events(("error", {"error": {"type": "internal_error", "message": "no"}})))
    refused = post(gateway, "/v1/messages", GOOD["messages"] | {"model": "chat", "stream": True})
    assert refused.status_code == 502
    assert refused.json()["error"] | {"param": None} == {
        "type": "api_error",
        "message": "no",
        "code": 502,
        "param": None,
    }


def test_the_openai_library_raises_for_a_response_that_breaks_off(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    upstream.script.append(named_events(("response.created", {"response": {}}), cut=True))
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key=KEY, max_retries=0)
    with pytest.raises(openai.APIError, match="broke off"):
        list(client.responses.create(model="chat", input="hi", stream=True))


@pytest.mark.parametrize("stored", [{"background": True}, {"previous_response_id": "resp_1"}])
def test_a_response_that_needs_a_store_is_refused_and_wakes_nothing(
    gateway: kit.Gateway, upstream: kit.Upstream, stored: dict[str, Any]
) -> None:
    refused = post(gateway, "/v1/responses", {"model": "chat", "input": "hi"} | stored)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "responses_not_stored")
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key=KEY, max_retries=0)
    for ask in (client.responses.retrieve, client.responses.cancel):
        with pytest.raises(openai.NotFoundError, match="not stored"):
            ask("resp_1")
    assert httpx.get(gateway.url + "/v1/responses/resp_1").status_code == 401
    assert upstream.untouched


@pytest.mark.parametrize("path", [*ROUTES, "/v1/models", "/v1/models/chat", "/health/liveness"])
def test_options_names_the_methods_without_a_key(gateway: kit.Gateway, path: str) -> None:
    answer = httpx.options(gateway.url + path)
    assert answer.status_code == 204
    assert "OPTIONS" in answer.headers["allow"]
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert httpx.options(gateway.url + path + "/no/such").status_code == (404 if "models" not in path else 204)


APP = "https://chat.example.com"


@pytest.fixture(scope="module")
def open_gateway(
    upstream: kit.Upstream, kube: kit.KubeApi, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[kit.Gateway]:
    settings = {
        "interceptorUrl": upstream.served.url,
        "models": [{"name": "chat", "host": "chat.ebbtide-models", "gpus": 1, "holdSeconds": 3}],
        "cluster": {"apiServer": kube.served.url},
        "cors": {"origins": [APP]},
    }
    keys = kit.key_file({"demo": (KEY, "everyone")}, {"everyone": ["*"]})
    with kit.serving(kit.start(gateway_python(), tmp_path_factory.mktemp("gateway"), settings, keys)) as gateway:
        yield gateway


def test_a_page_of_a_named_origin_may_ask_and_read_also_errors(open_gateway: kit.Gateway) -> None:
    path, body = "/v1/chat/completions", GOOD["chat"] | {"model": "chat"}
    request_headers = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,x-stainless-os",
    }
    preflight = httpx.options(open_gateway.url + path, headers={"origin": APP} | request_headers)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == APP
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == "authorization,x-stainless-os"
    for key, status in ((KEY, 200), ("sk-wrong", 401)):
        answer = post(open_gateway, path, body, authorization=f"Bearer {key}", origin=APP)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, APP)
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
    stream = post(open_gateway, path, body | {"stream": True}, authorization=f"Bearer {KEY}", origin=APP)
    assert stream.headers["access-control-allow-origin"] == APP


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", APP + ".evil.com", APP.upper()])
def test_a_page_of_another_origin_may_read_nothing(open_gateway: kit.Gateway, origin: str) -> None:
    request_headers = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": "a"}
    for answer in (
        httpx.options(open_gateway.url + "/v1/models", headers=request_headers),
        httpx.get(open_gateway.url + "/v1/models", headers={"origin": origin, "authorization": f"Bearer {KEY}"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]
