"""How many requests a model's replicas work on, as KEDA hears it: all of them, or nothing."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import httpx
import pytest

from tests.unit import gateway_kit, keeper_kit
from tests.unit.keeper_kit import at, stamp

from ebbtide_gateway.metrics import Metrics  # isort: skip
from ebbtide_gateway.replicas import Replicas  # isort: skip
from ebbtide_keeper.in_flight import Load, Loads, Unknown, gateways, parse_load, together  # isort: skip

assert gateway_kit
assert keeper_kit

RECENT_SECONDS = 10.0


def metrics(busy: int, idle: str = "+Inf") -> str:
    return (
        "# TYPE ebbtide_gateway_in_flight_requests gauge\n"
        f'ebbtide_gateway_in_flight_requests{{model="small"}} {busy}.0\n'
        'ebbtide_gateway_in_flight_requests{model="big"} 0.0\n'
        f'ebbtide_gateway_idle_seconds{{model="small"}} {idle}\n'
        'ebbtide_gateway_idle_seconds{model="big"} 1200.5\n'
        'ebbtide_gateway_held_requests{model="small"} 7.0\n'
    )


class Pods:
    """The gateway's pods by host; one that is None does not answer."""

    def __init__(self, **texts: str | None) -> None:
        self.texts = texts
        self.asked = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        assert request.url.params.get_list("name[]") == [
            "ebbtide_gateway_in_flight_requests",
            "ebbtide_gateway_idle_seconds",
            "ebbtide_gateway_replica_requests",
        ]
        text = self.texts[request.url.host]
        if text is None:
            raise httpx.ConnectError("refused")
        return httpx.Response(500 if text == "broken" else 200, text=text)

    def loads(self) -> Loads:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        return Loads(lambda: [f"http://{host}:9090" for host in self.texts], RECENT_SECONDS, client)

    def of(self, model: str) -> float:
        return asyncio.run(self.loads().of(model))


def test_what_all_pods_of_the_gateway_have_is_summed() -> None:
    assert Pods(a=metrics(3), b=metrics(2)).of("small") == 5
    assert Pods(a=metrics(3), b=metrics(2)).of("big") == 0
    assert Pods(a=metrics(3)).of("nobody knows it") == 0


def test_a_short_request_is_seen_for_a_while_and_asks_for_no_other_replica() -> None:
    assert 0 < Pods(a=metrics(0, "9.5"), b=metrics(0)).of("small") < 0.1
    assert Pods(a=metrics(0, "10.5"), b=metrics(0)).of("small") == 0
    assert Pods(a=metrics(0, "0.1"), b=metrics(4)).of("small") == 4


@pytest.mark.parametrize("silent", [None, "broken"])
def test_one_pod_that_does_not_tell_makes_the_number_unknown(silent: str | None) -> None:
    with pytest.raises(Unknown, match="a pod of the gateway does not answer"):
        Pods(a=metrics(3), b=silent).of("small")


def test_pods_that_cannot_be_seen_make_it_unknown_and_no_pods_are_no_requests() -> None:
    with pytest.raises(Unknown, match="cannot be seen"):
        asyncio.run(Loads(lambda: None, RECENT_SECONDS).of("small"))
    assert Pods().of("small") == 0


def test_the_pods_are_asked_once_for_all_models_that_keda_asks_of() -> None:
    pods = Pods(a=metrics(3))

    async def all_at_once() -> list[float]:
        loads = pods.loads()
        return list(await asyncio.gather(*(loads.of(model) for model in ("small", "big") * 10)))

    assert asyncio.run(all_at_once()) == [3, 0] * 10
    assert pods.asked == 1


def test_while_a_pod_is_silent_questions_do_not_queue_up() -> None:
    pods = Pods(a=None)

    async def all_at_once() -> list[float | BaseException]:
        loads = pods.loads()
        asked = (loads.of(model) for model in ("small", "big") * 10)
        return list(await asyncio.gather(*asked, return_exceptions=True))

    assert [type(each) for each in asyncio.run(all_at_once())] == [Unknown] * 20
    assert pods.asked == 1


def test_an_answer_that_failed_is_not_kept() -> None:
    pods = Pods(a=None)

    async def twice() -> float:
        loads = pods.loads()
        with pytest.raises(Unknown):
            await loads.of("small")
        pods.texts["a"] = metrics(3)
        return await loads.of("small")

    assert asyncio.run(twice()) == 3


def gateway(name: str = "a", phase: str = "Running", state: str = "running", **metadata: Any) -> dict[str, Any]:
    status = {"phase": phase, "podIP": "10.0.0.7", "containerStatuses": [{"state": {state: {}}}]}
    return {"metadata": {"name": name, **metadata}, "status": status}


@pytest.mark.parametrize(
    ("pod", "asked"),
    [
        (gateway(), True),
        (gateway(deletionTimestamp=stamp(60)), True),
        (gateway(deletionTimestamp=stamp(-1)), False),
        (gateway(phase="Succeeded", state="terminated"), False),
        (gateway(state="waiting"), False),
        ({"metadata": {"name": "new"}, "status": {"phase": "Pending"}}, False),
    ],
    ids=["runs", "finishes its streams", "hangs on a node that is gone", "ended", "crashed", "new"],
)
def test_every_pod_that_may_have_a_request_is_asked(pod: dict[str, Any], asked: bool) -> None:
    assert gateways({"a": pod}, at(0)) == (["http://10.0.0.7:9090"] if asked else [])


def test_the_gateways_own_words_are_understood() -> None:
    from prometheus_client import generate_latest

    metrics = Metrics()
    replicas = Replicas(lambda: {})
    metrics.count(replicas, ["small", "big"])
    never = Load({"small": 0, "big": 0}, {"small": math.inf, "big": math.inf})
    assert parse_load(generate_latest(metrics.registry).decode()) == never
    leave = replicas.enter("small", "10.0.0.1:8000")
    assert parse_load(generate_latest(metrics.registry).decode()).of("small", RECENT_SECONDS) == 1
    leave()
    load = parse_load(generate_latest(metrics.registry).decode())
    assert load.in_flight == {"small": 0, "big": 0}
    assert load.idle["small"] < 10
    assert math.isinf(load.idle["big"])
    assert together([load, load]) == load


def test_idle_is_as_long_as_at_the_pod_of_the_gateway_that_had_the_last_request() -> None:
    pods = Pods(a=metrics(0, "70.5"), b=metrics(0, "12.5"), c=metrics(0))
    assert asyncio.run(pods.loads().all()).idle == {"small": 12.5, "big": 1200.5}


def test_a_model_counts_as_used_for_as_long_as_the_stack_says() -> None:
    pods = Pods(a=metrics(0, "25.5"))
    client = httpx.AsyncClient(transport=httpx.MockTransport(pods.answer))
    assert asyncio.run(Loads(lambda: ["http://a:9090"], 40, client).of("small")) > 0


def test_who_needs_it_fresher_than_keda_gets_it_fresher() -> None:
    async def run(fresh: float) -> int:
        pods = Pods(a=metrics(0))
        loads = pods.loads()
        await loads.of("small")
        await loads.all(fresh)
        return pods.asked

    assert (asyncio.run(run(60)), asyncio.run(run(0))) == (1, 2)
