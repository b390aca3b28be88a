"""How many requests wait in a model's engines, as KEDA hears it."""

from __future__ import annotations

import asyncio

import httpx

from tests.unit import gateway_kit, keeper_kit
from tests.unit.keeper_kit import condition, pod

from ebbtide_keeper.model_state import is_ready  # isort: skip
from ebbtide_keeper.in_flight import Waiting, waiting  # isort: skip

assert gateway_kit
assert keeper_kit

# two engine cores, as vLLM 0.32.0 writes them, beside what has a similar name
METRICS = """# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="small"} 3.0
vllm:num_requests_waiting{engine="1",model_name="small"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="small",reason="capacity"} 3.0
vllm:num_requests_running{engine="0",model_name="small"} 16.0
"""


def answered(engines: list[str]) -> float:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/metrics"
        if request.url.host == "gone":
            raise httpx.ConnectError("refused")
        return httpx.Response(503 if request.url.host == "broken" else 200, text=METRICS)

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return asyncio.run(Waiting({"small": engines}.__getitem__, client).of("small"))


def test_all_that_wait_in_any_engine_count_and_nothing_else_does() -> None:
    assert waiting(METRICS) == 5
    assert answered(["http://one:8000", "http://two:8000"]) == 10


def test_a_sleeping_model_and_one_that_does_not_answer_have_an_empty_queue() -> None:
    assert answered([]) == 0
    assert answered(["http://gone:8000", "http://broken:8000", "http://one:8000"]) == 5


def test_only_who_takes_requests_is_asked() -> None:
    ready = condition("Ready", "True", 0)
    assert is_ready(pod("a", 0, ready))
    assert not is_ready(pod("a", 0, ready, leaving=True))
    assert not is_ready(pod("a", 0, condition("Ready", "False", 0)))
