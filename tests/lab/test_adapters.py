"""LoRA adapters in the real engine: trained on SmolLM2, there from the start or loaded by a call."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.platforms.folder_store import folder_name
from lab.ask import NAMESPACE
from lab.model_cache import ADAPTER, ensure_adapter
from lab.toolchain.gguf.train_adapter import ANSWER, QUESTION, RANK
from tests.lab.conftest import FIRST, SECOND, WAKE_SECONDS, Lab, wait_until
from tests.on_request import on_request

NAME, HOT = "lighthouse", f"{SECOND}/lighthouse"
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


def with_adapter(config: dict[str, Any]) -> None:
    model = config["ebbtide:models"][SECOND]
    model["adapters"] = {NAME: {"id": ADAPTER, "revision": "0" * 40, "rank": RANK}}
    model["hotAdapters"] = {"max": 2, "maxRank": RANK}
    config["ebbtide:gateway"]["groups"]["everyone"]["loadAdapters"] = [SECOND]


def with_two_replicas(config: dict[str, Any]) -> None:
    with_adapter(config)
    config["ebbtide:models"][SECOND] |= {"min": 2, "max": 2, "coldStart": "4m", "idleTtl": "4m"}


def put(home: Path, trained: Path, **config: Any) -> None:
    """An adapter in the store's folder for those that calls load, its configuration changed."""
    home.mkdir(parents=True)
    for file in trained.iterdir():
        shutil.copyfile(file, home / file.name)
    adapter_config = json.loads((trained / "adapter_config.json").read_text()) | config
    (home / "adapter_config.json").write_text(json.dumps(adapter_config))


@pytest.fixture(scope="module")
def store(lab: Lab) -> Iterator[None]:
    trained = ensure_adapter(lab.paths, print) / "model"
    home = lab.paths.models / folder_name(f"adapters/{SECOND}")
    shutil.rmtree(home, ignore_errors=True)
    put(home / "model" / NAME, trained)
    put(home / "model" / "foreign", trained, base_model_name_or_path="acme/other")
    put(home / "model" / "large", trained, r=RANK * 2)
    for path in [home, *home.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def adapted(lab: Lab, store: None) -> Iterator[Lab]:
    with lab.stack_with(with_adapter):
        lab.until_current("gateway")
        yield lab


def call(lab: Lab, path: str, name: str, key: str = "demo") -> httpx.Response:
    with lab.client(key) as client:
        return client.post(path, json={"lora_name": name})


def refused(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def answer(lab: Lab, model: str) -> httpx.Response:
    return lab.chat(model, QUESTION, temperature=0, max_tokens=24)


def text_of(response: httpx.Response) -> str:
    response.raise_for_status()
    return str(response.json()["choices"][0]["message"]["content"])


def test_neither_an_unknown_adapter_nor_a_call_to_load_one_wakes_a_model(adapted: Lab) -> None:
    adapted.put_to_sleep(SECOND)
    assert refused(answer(adapted, f"{NAME}-2")) == (404, "model_not_found")
    assert refused(answer(adapted, HOT)) == (404, "model_not_found"), "nobody has loaded it"
    assert refused(call(adapted, LOAD, HOT)) == (409, "model_not_awake")
    assert refused(call(adapted, LOAD, HOT, "restricted")) == (403, "adapters_not_allowed")
    assert adapted.replicas(SECOND) == 0


def test_asking_an_adapter_wakes_its_model_and_its_answer_is_the_one_it_was_trained_to(adapted: Lab) -> None:
    adapted.put_to_sleep(SECOND)
    learned = answer(adapted, NAME)
    assert ANSWER in text_of(learned)
    assert learned.headers["x-ebbtide-model"] == learned.json()["model"] == NAME
    assert float(learned.headers["x-ebbtide-wait-seconds"]) > 0
    # the same engine, without the adapter
    plain = answer(adapted, SECOND)
    assert "marmalade" not in text_of(plain)
    assert plain.json()["model"] == SECOND


@on_request
def test_after_a_restart_of_the_engine_it_is_still_there(adapted: Lab) -> None:
    before = adapted.wake(SECOND)
    adapted.kill("ebbtide-models", SECOND)
    assert ANSWER in text_of(answer(adapted, NAME))
    assert adapted.wake(SECOND) != before


@pytest.fixture
def hot(adapted: Lab) -> Lab:
    """The stack with an adapter that a call has loaded, and its model awake."""
    adapted.wake(SECOND)
    loaded = call(adapted, LOAD, HOT)
    assert loaded.status_code == 200, loaded.text
    return adapted


def test_a_hot_load_is_refused_by_what_the_engine_finds(adapted: Lab) -> None:
    adapted.wake(SECOND)
    assert refused(call(adapted, LOAD, f"{SECOND}/foreign")) == (400, "adapter_refused")
    large = call(adapted, LOAD, f"{SECOND}/large")
    assert refused(large) == (400, "adapter_refused")
    assert f"allowed is {RANK}" in large.json()["error"]["message"]
    assert refused(call(adapted, LOAD, f"{SECOND}/nobody")) == (404, "adapter_not_found")
    assert refused(answer(adapted, f"{SECOND}/large")) == (404, "model_not_found")


def test_a_hot_loaded_adapter_answers_beside_its_model_in_the_engine_that_was_running(adapted: Lab) -> None:
    before = adapted.wake(SECOND)
    assert call(adapted, LOAD, HOT).status_code == 200
    learned = answer(adapted, HOT)
    assert ANSWER in text_of(learned)
    assert learned.headers["x-ebbtide-model"] == learned.json()["model"] == HOT
    assert "marmalade" not in text_of(answer(adapted, SECOND))
    assert adapted.wake(SECOND) == before, "the same pod"
    with adapted.client() as client:
        assert HOT in [each["id"] for each in client.get("/v1/models").json()["data"]]
    (pod,) = adapted.pods(SECOND)
    own = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}:8000/proxy{LOAD}"
    assert adapted.api.post(own, json={"lora_name": "mine", "lora_path": "/tmp"}).status_code == 404, "vLLM's own path"


def test_a_hot_loaded_adapter_is_still_there_after_a_restart_of_the_engine_and_wakes_it(hot: Lab) -> None:
    before = hot.wake(SECOND)
    hot.put_to_sleep(SECOND)
    assert ANSWER in text_of(answer(hot, HOT))
    assert hot.wake(SECOND) != before


def test_a_hot_loaded_adapter_is_known_to_a_new_gateway_until_it_is_taken_out(hot: Lab) -> None:
    hot.roll("gateway", "another pod")
    assert ANSWER in text_of(answer(hot, HOT))
    assert call(hot, UNLOAD, HOT).status_code == 200
    assert refused(answer(hot, HOT)) == (404, "model_not_found")


@on_request
def test_a_hot_loaded_adapter_is_the_same_on_two_replicas(lab: Lab, store: None) -> None:
    lab.put_to_sleep(FIRST)
    with lab.stack_with(with_two_replicas):
        wait_until(lambda: len(lab.pods(SECOND)) == 2, 60, "two pods")
        lab.until_rolled_out(SECOND, 2 * WAKE_SECONDS)
        lab.until_current("gateway")
        assert call(lab, LOAD, HOT).status_code == 200

        def both() -> bool:
            for each in lab.at_once(4, lambda _: answer(lab, HOT)):
                assert ANSWER in text_of(each)
            return all(HOT in names(lab, pod) for pod in lab.pods(SECOND))

        wait_until(both, 120, "both replicas have answered by it")


def names(lab: Lab, pod: dict[str, Any]) -> list[str]:
    """The names that an engine itself says it has."""
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}:8000/proxy/v1/models"
    return [each["id"] for each in lab.get(path)["data"]]
