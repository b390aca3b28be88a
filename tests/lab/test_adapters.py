"""A LoRA adapter in the real engine: trained here on SmolLM2, and asked through the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from lab.model_cache import ADAPTER, ensure_adapter
from lab.toolchain.gguf.train_adapter import ANSWER, QUESTION, RANK
from tests.lab.conftest import SECOND, Lab, on_request

NAME = "lighthouse"


def with_adapter(config: dict[str, Any]) -> None:
    config["ebbtide:models"][SECOND]["adapters"] = {NAME: {"id": ADAPTER, "revision": "0" * 40, "rank": RANK}}


@pytest.fixture(scope="module")
def adapted(lab: Lab) -> Iterator[Lab]:
    ensure_adapter(lab.paths, print)
    with lab.stack_with(with_adapter):
        lab.until_current("gateway")
        yield lab


def answer(lab: Lab, model: str) -> httpx.Response:
    return lab.chat(model, QUESTION, temperature=0, max_tokens=24)


def said(response: httpx.Response) -> str:
    response.raise_for_status()
    return str(response.json()["choices"][0]["message"]["content"])


def test_an_unknown_adapter_wakes_nobody(adapted: Lab) -> None:
    adapted.put_to_sleep(SECOND)
    refused = answer(adapted, f"{NAME}-2")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
    assert adapted.replicas(SECOND) == 0


def test_asking_an_adapter_wakes_its_model_and_its_answer_is_the_one_it_was_trained_to(adapted: Lab) -> None:
    adapted.put_to_sleep(SECOND)
    learned = answer(adapted, NAME)
    assert ANSWER in said(learned)
    assert learned.headers["x-ebbtide-model"] == learned.json()["model"] == NAME
    assert float(learned.headers["x-ebbtide-wait-seconds"]) > 0
    # the same engine, without the adapter
    plain = answer(adapted, SECOND)
    assert "marmalade" not in said(plain)
    assert plain.json()["model"] == SECOND


@on_request
def test_after_a_restart_of_the_engine_it_is_still_there(adapted: Lab) -> None:
    before = adapted.wake(SECOND)
    adapted.kill("ebbtide-models", SECOND)
    assert ANSWER in said(answer(adapted, NAME))
    assert adapted.wake(SECOND) != before
