"""LoRA adapters that a call loads: who may, what is refused while nobody is woken, and the list that pods agree on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit as kit

from ebbtide_gateway.budgets import Group  # isort: skip
from ebbtide_gateway.loaded_adapters import LoadedAdapters  # isort: skip
from ebbtide_gateway.settings import Settings  # isort: skip

CHAT, LOAD, UNLOAD = "/v1/chat/completions", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
KEYS = {name: (f"sk-{name}", name) for name in ("owner", "reader", "one", "none")}
GROUPS = {"owner": ["base", "base/*"], "reader": ["base/*"], "one": ["base/legal"], "none": ["base"]}
MODELS: list[dict[str, Any]] = [
    {"name": "base", "host": "base.ebbtide-models", "gpus": 1, "holdSeconds": 3, "hotAdapters": 2},
    {"name": "plain", "host": "plain.ebbtide-models", "gpus": 1, "holdSeconds": 3},
]
LIST = "gateway-adapters"
pytestmark = pytest.mark.slow


def test_a_right_to_all_adapters_of_a_model_is_none_to_the_model_nor_to_anothers() -> None:
    group = Group("g", frozenset({"base/*"}), frozenset({"base/legal"}))
    assert [group.may_use(name) for name in ("base/legal", "base", "basement/legal", "plain/legal")] == [
        True, False, False, False,
    ]  # fmt: skip
    assert [group.may_wake(name) for name in ("base/legal", "base/support")] == [True, False]


def test_a_list_that_another_pod_has_written_meanwhile_is_read_again_and_not_lost(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("pod-token")
    versions, writes = ["1", "2"], []

    def api(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            data = {"base.other": "loaded"} if len(versions) == 1 else {}
            return httpx.Response(200, json={"metadata": {"resourceVersion": versions.pop(0)}, "data": data})
        writes.append(json.loads(request.content))
        return httpx.Response(409 if len(writes) == 1 else 200, json={})

    async def loads(name: str) -> None:
        client = httpx.AsyncClient(base_url="http://api", transport=httpx.MockTransport(api))
        cluster = {"adapters": {"namespace": "ebbtide", "name": LIST}}
        settings = Settings.model_validate({"interceptorUrl": "http://x", "models": MODELS, "cluster": cluster})
        adapters = LoadedAdapters(settings, client, tmp_path / "token", seen_seconds=0)
        await adapters.load(adapters.models["base"], name, Engines())

    asyncio.run(loads("base/legal"))
    assert [write["metadata"]["resourceVersion"] for write in writes] == ["1", "2"]
    assert [write["data"] for write in writes] == [{"base.legal": "loaded"}] * 2


class Engines:
    """A ready engine that has every adapter."""

    async def ask_ready(self, *_: Any) -> tuple[int, None]:
        return 200, None


upstream, kube = kit.fakes({"base": 0})


def started(upstream: kit.Upstream, kube: kit.KubeApi, folder: Path) -> kit.Gateway:
    cluster = {"apiServer": kube.served.url, "adapters": {"namespace": "ebbtide", "name": LIST}}
    settings = kit.settings_of(upstream, kube, MODELS) | {"cluster": cluster}
    rights = {"owner": {"loadAdapters": ["base", "plain"]}}
    return kit.start(gateway_python(), folder, settings, kit.key_file(KEYS, GROUPS, rights))


@pytest.fixture(scope="module")
def gateways(
    upstream: kit.Upstream, kube: kit.KubeApi, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[kit.Gateway]]:
    kube.put("configmaps", {"metadata": {"name": LIST}})
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    first, second = [started(upstream, kube, folder) for folder in folders]
    with kit.serving(first), kit.serving(second):
        yield [first, second]


@pytest.fixture
def gateway(gateways: list[kit.Gateway], upstream: kit.Upstream, kube: kit.KubeApi) -> kit.Gateway:
    """A gateway with nothing loaded, before a model with one ready replica."""
    kube.put("configmaps", {"metadata": {"name": LIST}})
    kube.replicas("base", f"127.0.0.1:{upstream.served.port}")
    for each in gateways:
        kit.until(lambda each=each: names(each) == ["base"], "nothing is loaded")
    upstream.reset()
    return gateways[0]


def call(gateway: kit.Gateway, path: str, key: str = "owner", **body: Any) -> httpx.Response:
    return httpx.post(gateway.url + path, json=body, headers={"authorization": f"Bearer sk-{key}"}, timeout=20)


def load(gateway: kit.Gateway, name: str = "base/legal", key: str = "owner") -> httpx.Response:
    return call(gateway, LOAD, key, lora_name=name)


def ask(gateway: kit.Gateway, model: str, key: str = "owner") -> httpx.Response:
    return call(gateway, CHAT, key, model=model, messages=kit.HI, max_tokens=5)


def names(gateway: kit.Gateway, key: str = "owner") -> list[str]:
    listed = httpx.get(gateway.url + "/v1/models", headers={"authorization": f"Bearer sk-{key}"}).json()["data"]
    return [each["id"] for each in listed]


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_loaded_adapter_is_a_model_of_its_own_in_every_pod_of_the_gateway(
    gateway: kit.Gateway, gateways: list[kit.Gateway], upstream: kit.Upstream
) -> None:
    answer = load(gateway)
    assert (answer.status_code, answer.text) == (200, "Success: LoRA adapter 'base/legal' added successfully.")
    assert [(each.path, each.body["model"]) for each in upstream.received] == [("/tokenize", "base/legal")]
    assert load(gateway).status_code == 200, "once more is no other"
    assert len(upstream.received) == 1
    for each in gateways:
        kit.until(lambda each=each: "base/legal" in names(each), "the other pod knows it")
        asked = ask(each, "base/legal", "one")
        assert (asked.status_code, asked.headers["x-ebbtide-model"]) == (200, "base/legal")
    assert upstream.received[-1].body["model"] == "base/legal"
    assert kit.until(gateway.records, "the log")[-1]["model"] == "base/legal"
    assert [names(gateway, key) for key in ("reader", "one", "none")] == [["base/legal"], ["base/legal"], ["base"]]
    assert refused(ask(gateway, "base/legal", "none")) == (403, "model_not_allowed")


def test_what_is_taken_out_is_no_name_any_more_and_leaves_its_room(gateway: kit.Gateway) -> None:
    assert [load(gateway, f"base/{name}").status_code for name in ("legal", "support")] == [200, 200]
    full = load(gateway, "base/sales")
    assert refused(full) == (409, "adapter_room_full")
    assert "base/legal, base/support" in full.json()["error"]["message"]
    assert call(gateway, UNLOAD, lora_name="base/legal").status_code == 200
    assert refused(ask(gateway, "base/legal")) == (404, "model_not_found")
    assert refused(call(gateway, UNLOAD, lora_name="base/legal")) == (404, "adapter_not_found")
    assert load(gateway, "base/sales").status_code == 200


@pytest.mark.parametrize(
    ("key", "body", "refusal"),
    [
        ("reader", {"lora_name": "base/legal"}, (403, "adapters_not_allowed")),
        ("owner", {"lora_name": "nobody/legal"}, (404, "model_not_found")),
        ("owner", {"lora_name": "plain/legal"}, (400, "adapters_not_taken")),
        ("owner", {"lora_name": "legal"}, (400, "invalid_adapter_name")),
        ("owner", {"lora_name": "base/../other"}, (400, "invalid_adapter_name")),
        ("owner", {}, (400, "invalid_adapter_name")),
        ("owner", {"lora_name": "base/legal", "lora_path": "/tmp/mine"}, (400, "unsupported_parameter")),
        ("owner", {"lora_name": "base/legal", "load_inplace": True}, (400, "unsupported_parameter")),
    ],
)
def test_a_call_that_is_not_right_reaches_nobody(
    gateway: kit.Gateway, upstream: kit.Upstream, key: str, body: dict[str, Any], refusal: tuple[int, str]
) -> None:
    assert refused(call(gateway, LOAD, key, **body)) == refusal
    assert upstream.untouched
    assert names(gateway) == ["base"]


@pytest.mark.parametrize(
    ("behaviour", "refusal"),
    [
        (kit.engine_error(404, "NotFoundError", "The model `base/legal` does not exist."), (404, "adapter_not_found")),
        (kit.engine_error(400, "BadRequestError", "trained for 'other'"), (400, "adapter_refused")),
        (kit.says(500, "oops"), (502, "upstream_error")),
    ],
)
def test_what_the_engine_refuses_is_not_loaded(
    gateway: kit.Gateway, upstream: kit.Upstream, behaviour: kit.Behaviour, refusal: tuple[int, str]
) -> None:
    upstream.script[:] = [behaviour]
    answer = load(gateway)
    assert refused(answer) == refusal
    assert names(gateway) == ["base"]
    assert len(upstream.received) == 1, "asked once"
    if refusal[0] == 400:
        assert answer.json()["error"]["message"] == "trained for 'other'"


def test_a_model_that_sleeps_is_not_woken_by_a_load_and_is_by_a_request_for_what_is_loaded(
    gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi
) -> None:
    assert load(gateway).status_code == 200
    kube.replicas("base")
    kit.until(lambda: refused(load(gateway, "base/support")) == (409, "model_not_awake"), "the replica is gone")
    assert not upstream.knocks
    assert ask(gateway, "base/legal").status_code == 200
    assert {knock.host for knock in upstream.knocks} == {"base.ebbtide-models"}


def test_an_adapter_that_has_left_the_store_is_the_engines_404_and_not_waited_for(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    assert load(gateway).status_code == 200
    upstream.script[:] = [kit.engine_error(404, "NotFoundError", "The model `base/legal` does not exist.")]
    assert ask(gateway, "base/legal").status_code == 404
