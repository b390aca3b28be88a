"""A LoRA adapter at the gateway: a name with rights of its own, which wakes the model in whose engines it runs."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.unit import gateway_kit as kit

from ebbtide_gateway.settings import Settings  # isort: skip

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
HOST = "base.ebbtide-models"
KEYS = {"demo": ("sk-demo", "everyone"), "guest": ("sk-guest", "guests"), "own": ("sk-own", "own")}
MODEL = {
    "name": "base", "host": HOST, "gpus": 1, "holdSeconds": 3, "aliases": ["small"],
    "adapters": [{"name": "legal", "root": "acme/legal"}, {"name": "support", "root": "acme/support"}],
}  # fmt: skip


def test_an_adapter_is_its_model_but_for_the_name() -> None:
    names = Settings.model_validate({"interceptorUrl": "http://x", "models": [MODEL]}).by_any_name()
    assert list(names) == ["legal", "support", "small", "base"]
    assert (names["legal"].name, names["legal"].engine_name, names["legal"].public_name) == ("base", "legal", "legal")
    assert (names["small"].engine_name, names["small"].public_name) == ("base", "base")


upstream, kube, gateway = kit.fixtures(
    [MODEL],
    kit.key_file(
        KEYS,
        {"everyone": ["*"], "guests": ["base", "legal"], "own": ["legal"]},
        {"guests": {"wake": ["legal"]}},
    ),
    replicas={"base": 0},
)


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> None:
    if "gateway" in request.fixturenames:
        request.getfixturevalue("upstream").reset()


def ask(gateway: kit.Gateway, model: str, key: str = "sk-demo", path: str = CHAT) -> httpx.Response:
    body: dict[str, Any] = {"model": model, "max_tokens": 5}
    body |= {"input": "hi"} if path == RESPONSES else {"messages": kit.HI}
    return httpx.post(gateway.url + path, json=body, headers={"authorization": f"Bearer {key}"}, timeout=20)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["sk-demo", "sk-guest", "sk-own"])
def test_asking_an_adapter_wakes_its_model_and_reaches_the_engine_by_the_adapters_name(
    gateway: kit.Gateway, upstream: kit.Upstream, key: str
) -> None:
    answer = ask(gateway, "legal", key)
    assert (answer.status_code, answer.headers["x-ebbtide-model"]) == (200, "legal")
    assert {knock.host for knock in upstream.knocks} == {each.host for each in upstream.received} == {HOST}
    assert upstream.received[0].body["model"] == "legal"
    assert kit.until(gateway.records, "the log")[-1]["model"] == "legal"


@pytest.mark.slow
def test_rights_to_a_model_and_to_its_adapters_are_apart(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    refused = [ask(gateway, name, key) for name, key in (("support", "sk-guest"), ("base", "sk-own"))]
    assert [each.json()["error"]["code"] for each in refused] == ["model_not_allowed"] * 2
    assert "'support'" in refused[0].json()["error"]["message"]
    asleep = ask(gateway, "base", "sk-guest")
    assert (asleep.status_code, asleep.json()["error"]["code"]) == (403, "wake_not_allowed")
    assert upstream.untouched


@pytest.mark.slow
@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_an_unknown_adapter_is_404_in_the_shape_of_the_api_and_wakes_nobody(
    gateway: kit.Gateway, upstream: kit.Upstream, path: str
) -> None:
    answer = ask(gateway, "sales", path=path)
    error = answer.json()["error"]
    assert answer.status_code == 404
    assert error["message"].endswith("models you may use: base, legal, support")
    assert (answer.json().get("type") == "error") is (path == MESSAGES)
    assert error["type" if path == MESSAGES else "code"] == (
        "not_found_error" if path == MESSAGES else "model_not_found"
    )
    assert upstream.untouched


@pytest.mark.slow
def test_the_list_shows_whose_adapter_it_is(gateway: kit.Gateway) -> None:
    headers = {"authorization": "Bearer sk-guest"}
    listed = httpx.get(gateway.url + "/v1/models", headers=headers).json()["data"]
    assert [(each["id"], each.get("root"), each.get("parent")) for each in listed] == [
        ("base", None, None), ("legal", "acme/legal", "base"),
    ]  # fmt: skip
    one = httpx.get(gateway.url + "/v1/models/legal", headers=headers).json()
    assert one["parent"] == "base"


@pytest.mark.slow
def test_a_replica_that_does_not_have_the_adapter_yet_is_asked_again(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    missing = kit.engine_error(404, "NotFoundError", "The model `legal` does not exist.")
    upstream.script[:] = [missing, missing]
    answer = ask(gateway, "legal")
    assert answer.status_code == 200
    assert len(upstream.received) == 3
