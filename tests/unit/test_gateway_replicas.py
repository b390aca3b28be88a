"""Which replica gets a request, and what is told of those that have one: the choice itself, and the real process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit as kit

from ebbtide_gateway.replicas import beginning, preferred  # isort: skip
from ebbtide_gateway.replicas import Replicas, addresses  # isort: skip
from ebbtide_keeper import in_flight  # isort: skip


def a_slice(model: str, *endpoints: dict[str, Any], port: int = 8000) -> dict[str, Any]:
    labels = {"ebbtide.dev/model": model}
    return {"metadata": {"name": f"{model}-x", "labels": labels}, "endpoints": endpoints, "ports": [{"port": port}]}


def endpoint(address: str, ready: bool | None = True) -> dict[str, Any]:
    return {"addresses": [address], "conditions": {} if ready is None else {"ready": ready}}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def replicas(*hosts: str, clock: Clock | None = None) -> Replicas:
    slices = {"a": a_slice("small", *map(endpoint, hosts))}
    return Replicas(lambda: slices, clock or Clock())


def test_only_a_models_own_ready_endpoints_are_known_and_each_once() -> None:
    slices = {
        "a": a_slice("small", endpoint("10.0.0.1"), endpoint("10.0.0.2", ready=False), endpoint("10.0.0.3", None)),
        "b": a_slice("small", endpoint("10.0.0.1"), endpoint("fd00::7")),
        "c": a_slice("other", endpoint("10.0.0.9")),
        "d": {**a_slice("small"), "endpoints": None},
        "e": {**a_slice("small", endpoint("10.0.0.8")), "ports": None},
    }
    assert addresses(slices) == {
        "small": ["10.0.0.1:8000", "10.0.0.3:8000", "[fd00::7]:8000"],
        "other": ["10.0.0.9:8000"],
    }


def test_the_replica_with_the_fewest_requests_gets_the_next_one() -> None:
    known = replicas("10.0.0.1", "10.0.0.2", "10.0.0.3")
    for _ in range(30):
        address = known.pick("small")
        assert address is not None
        known.enter("small", address)
    leave = known.enter("small", "10.0.0.2:8000")
    assert known.in_flight("small") == 31
    assert {known.pick("small") for _ in range(50)} == {"10.0.0.1:8000", "10.0.0.3:8000"}
    leave()
    assert len({known.pick("small") for _ in range(50)}) == 3, "of equals any"


def test_nobody_is_picked_while_none_is_ready_or_nothing_is_seen() -> None:
    assert replicas().pick("small") is None
    assert replicas("10.0.0.1").pick("other") is None
    assert Replicas(lambda: None).pick("small") is None


def test_one_that_did_not_answer_rests_for_a_moment() -> None:
    clock = Clock()
    known = replicas("10.0.0.1", "10.0.0.2", clock=clock)
    known.missed("10.0.0.1:8000")
    assert {known.pick("small") for _ in range(50)} == {"10.0.0.2:8000"}
    known.missed("10.0.0.2:8000")
    assert known.pick("small") is None
    clock.now += 5
    assert len({known.pick("small") for _ in range(50)}) == 2


def test_a_request_leaves_once_and_the_model_was_used_until_then() -> None:
    clock = Clock()
    known = replicas("10.0.0.1", clock=clock)
    assert known.idle_seconds("small") == float("inf")
    leave, other = (known.enter("small", "10.0.0.1:8000") for _ in range(2))
    clock.now += 40
    leave()
    clock.now += 2
    leave()
    assert (known.in_flight("small"), known.idle_seconds("small")) == (1, 2.0)
    other()
    assert (known.in_flight("small"), known.idle_seconds("small"), known.in_flight("other")) == (0, 0.0, 0)


def chat(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def test_a_chat_begins_with_its_users_first_words_in_every_turn() -> None:
    first = chat(("system", "Be brief."), ("user", "Who was Ada?"))
    later = chat(*(("system", "Be brief."), ("user", "Who was Ada?"), ("assistant", "A writer."), ("user", "Of what?")))
    assert beginning(first) == beginning(later) == b"Who was Ada?"
    assert beginning(chat(("system", "Be brief."))) == b"Be brief."
    assert beginning({"prompt": "x" * 5000}) == b"x" * 1024
    assert beginning({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}) == (
        b'[{"type": "text", "text": "hi"}]'
    )


@pytest.mark.parametrize("odd", [{}, {"messages": []}, {"messages": ["a"]}, {"messages": {}}, {"prompt": [1, 2]}])
def test_a_body_of_another_shape_has_a_beginning_too(odd: dict[str, Any]) -> None:
    assert isinstance(beginning(odd | {"input": "\ud800"}), bytes)


def test_a_replica_that_comes_or_goes_moves_its_own_share_of_the_prompts_alone() -> None:
    prompts = [f"prompt {number}".encode() for number in range(600)]
    two, three = ["a:1", "b:1"], ["a:1", "b:1", "c:1"]
    before = [preferred(prompt, two)[0] for prompt in prompts]
    after = [preferred(prompt, three)[0] for prompt in prompts]
    assert {new for old, new in zip(before, after, strict=True) if old != new} == {"c:1"}
    assert all(150 <= count <= 250 for count in Counter(after).values()), Counter(after)
    assert [preferred(prompt, three[::-1]) for prompt in prompts] == [preferred(prompt, three) for prompt in prompts]


def test_prompts_that_begin_alike_meet_until_their_replica_has_more_than_its_share() -> None:
    known = replicas("10.0.0.1", "10.0.0.2")
    met = {known.pick("small", b"the same") for _ in range(50)}
    assert len(met) == 1
    assert {known.pick("small", str(number).encode()) for number in range(50)} == {"10.0.0.1:8000", "10.0.0.2:8000"}
    got = Counter[str]()
    for _ in range(40):
        address = known.pick("small", b"the same")
        assert address is not None
        known.enter("small", address)
        got[address] += 1
    assert got.most_common(1)[0][0] in met
    assert got.most_common(1)[0][1] <= 1.25 * 20 + 2, got
    assert known.pick("other", b"the same") is None


# The real process: one interceptor, two engines.

KEY = "sk-demo-secret"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[kit.Upstream, kit.Upstream, kit.Upstream]]:
    upstreams = kit.Upstream(), kit.Upstream(), kit.Upstream()
    yield upstreams
    for each in upstreams:
        each.served.stop()


@pytest.fixture(scope="module")
def kube() -> Iterator[kit.KubeApi]:
    with kit.stopping(kit.KubeApi()) as api:
        api.scale("small", 1)
        yield api


@pytest.fixture(scope="module")
def gateway(
    servers: tuple[kit.Upstream, ...], kube: kit.KubeApi, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[kit.Gateway]:
    settings = {
        "interceptorUrl": servers[0].served.url,
        "models": [
            {"name": "small", "host": "small.ebbtide-models", "gpus": 1, "holdSeconds": 10},
            {"name": "alike", "host": "alike.ebbtide-models", "gpus": 1, "holdSeconds": 10, "byPrefix": True},
        ],
        "cluster": {"apiServer": kube.served.url},
    }
    keys = kit.key_file({"demo": (KEY, "everyone")}, {"everyone": ["*"]})
    started = kit.start(gateway_python(), tmp_path_factory.mktemp("gateway"), settings, keys)
    with kit.serving(started) as gateway:
        yield gateway


def ask(gateway: kit.Gateway, **more: Any) -> httpx.Response:
    body = {"model": "small", "messages": [{"role": "user", "content": "capital?"}]} | more
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.post(gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=20)


def metric(gateway: kit.Gateway, name: str) -> float:
    line = f'ebbtide_gateway_{name}{{model="small"}} '
    text = httpx.get(gateway.metrics_url, params={"name[]": f"ebbtide_gateway_{name}"}).text
    return next(float(each.removeprefix(line)) for each in text.splitlines() if each.startswith(line))


def by_replica(gateway: kit.Gateway) -> dict[str, int]:
    """As the wake keeper reads it."""
    text = httpx.get(gateway.metrics_url, params={"name[]": "ebbtide_gateway_replica_requests"}).text
    return {address: int(count) for address, count in in_flight.parse_load(text).replicas.items()}


def at(server: kit.Upstream) -> str:
    return server.served.url.removeprefix("http://")


@pytest.fixture
def interceptor(servers: tuple[kit.Upstream, ...]) -> kit.Upstream:
    for each in servers:
        each.reset()
    return servers[0]


def two_replicas(
    gateway: kit.Gateway, kube: kit.KubeApi, servers: tuple[kit.Upstream, kit.Upstream, kit.Upstream]
) -> tuple[kit.Upstream, kit.Upstream]:
    """Both known to the gateway, and nothing counted yet."""
    interceptor, one, two = servers
    kube.replicas("small", at(one), at(two))
    kit.until(lambda: ask(gateway).status_code == 200 and one.received and two.received, "both are sent requests", 20)
    # a client has its answer a moment before the gateway counts it as ended
    kit.until(lambda: metric(gateway, "in_flight_requests") == 0, "none is counted")
    for each in (interceptor, one, two):
        each.reset()
    return one, two


@pytest.mark.slow
def test_a_ready_replica_is_asked_itself_and_the_interceptor_is_not(
    gateway: kit.Gateway, kube: kit.KubeApi, interceptor: kit.Upstream, servers: Any
) -> None:
    one, two = two_replicas(gateway, kube, servers)
    with ThreadPoolExecutor(8) as pool:
        assert {answer.status_code for answer in pool.map(lambda _: ask(gateway), range(16))} == {200}
    assert interceptor.untouched
    assert (len(one.received) + len(two.received), len(one.knocks) + len(two.knocks)) == (16, 0)
    assert {each.host for each in one.received + two.received} == {"small.ebbtide-models"}
    assert "x-ebbtide-wait-seconds" not in ask(gateway).headers


@pytest.mark.slow
def test_a_model_that_is_routed_by_prefix_keeps_a_chat_at_one_replica(
    gateway: kit.Gateway, kube: kit.KubeApi, interceptor: kit.Upstream, servers: Any
) -> None:
    _, one, two = servers
    kube.replicas("alike", at(one), at(two))

    def turns(number: int) -> None:
        messages = [{"role": "user", "content": f"Chat {number}"}]
        for _ in range(4):
            assert ask(gateway, model="alike", messages=messages).status_code == 200
            messages += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And?"}]

    kit.until(
        lambda: ask(gateway, model="alike").status_code == 200 and one.received + two.received,
        "seen by the gateway",
        20,
    )
    one.reset(), two.reset()
    for number in range(12):
        turns(number)
    chats = [{request.body["messages"][0]["content"] for request in each.received} for each in (one, two)]
    assert chats[0] | chats[1] == {f"Chat {number}" for number in range(12)}
    assert not chats[0] & chats[1]
    assert all(chats)


@pytest.mark.slow
def test_requests_go_where_fewest_are_and_are_counted_until_their_streams_end(
    gateway: kit.Gateway, kube: kit.KubeApi, interceptor: kit.Upstream, servers: Any
) -> None:
    one, two = two_replicas(gateway, kube, servers)
    go = threading.Event()
    behaviour = kit.streams(3, gate=lambda number: number == 0 or go.is_set())
    one.script, two.script = [behaviour] * 6, [behaviour] * 6
    with ThreadPoolExecutor(6) as pool:
        requests = [pool.submit(ask, gateway, stream=True) for _ in range(6)]
        kit.until(lambda: metric(gateway, "in_flight_requests") == 6, "six are counted")
        # the gateway counts a request before it connects: on a busy machine the engines hear of it later
        kit.until(lambda: len(one.received) + len(two.received) == 6, "the engines have all six")
        assert Counter(len(each.received) for each in (one, two)) == {3: 2}
        assert by_replica(gateway) == {at(one): 3, at(two): 3}
        go.set()
        assert all("[DONE]" in each.result().text for each in requests)
    kit.until(lambda: metric(gateway, "in_flight_requests") == 0, "none is counted")
    assert by_replica(gateway) == {}
    assert metric(gateway, "idle_seconds") < 10


@pytest.mark.slow
def test_a_client_that_leaves_its_stream_is_counted_no_longer(
    gateway: kit.Gateway, kube: kit.KubeApi, interceptor: kit.Upstream, servers: Any
) -> None:
    one, two = two_replicas(gateway, kube, servers)
    never = kit.streams(3, gate=lambda number: number == 0)
    one.script, two.script = [never], [never]
    body = {"model": "small", "messages": [{"role": "user", "content": "capital?"}], "stream": True}
    url, headers = gateway.url + "/v1/chat/completions", {"authorization": f"Bearer {KEY}"}
    with httpx.stream("POST", url, json=body, headers=headers) as response:
        pieces = response.iter_text()  # kept: one that is collected closes the response
        assert next(pieces)
        assert metric(gateway, "in_flight_requests") == 1
    kit.until(lambda: metric(gateway, "in_flight_requests") == 0, "the one that left")
    kit.until(lambda: any(request.cut_off for request in one.received + two.received), "the engine is told")


@pytest.mark.slow
@pytest.mark.parametrize("fault", [kit.resets, kit.says(503, "not this one")])
def test_a_replica_that_fails_before_its_first_byte_costs_nobody_an_answer(
    gateway: kit.Gateway, kube: kit.KubeApi, interceptor: kit.Upstream, servers: Any, fault: kit.Behaviour
) -> None:
    one, two = two_replicas(gateway, kube, servers)
    one.script = [fault] * 50
    with ThreadPoolExecutor(4) as pool:
        assert {answer.status_code for answer in pool.map(lambda _: ask(gateway), range(12))} == {200}
    assert one.received
    assert len(one.received) <= 4, "it rests after those that were on their way"
    assert len(two.received) == 12
    assert interceptor.untouched


@pytest.mark.slow
def test_the_last_replica_gone_means_a_wake_and_so_does_one_nobody_listens_at(
    gateway: kit.Gateway, kube: kit.KubeApi, interceptor: kit.Upstream, servers: Any
) -> None:
    one, two = two_replicas(gateway, kube, servers)
    kube.replicas("small", f"127.0.0.1:{kit.free_port()}")
    kit.until(lambda: ask(gateway).status_code == 200 and interceptor.knocks, "asked for by the interceptor", 20)
    assert interceptor.received, "no replica is known: the interceptor finds one"
    interceptor.reset()
    kube.replicas("small", at(one), ready=False)
    kit.until(lambda: ask(gateway).status_code == 200 and interceptor.received, "nobody is ready", 20)
    assert not one.received
    assert not two.received


@pytest.mark.slow
def test_an_engines_own_refusal_is_passed_on_and_is_no_fault_of_the_replica(
    gateway: kit.Gateway, kube: kit.KubeApi, interceptor: kit.Upstream, servers: Any
) -> None:
    one, two = two_replicas(gateway, kube, servers)
    busy = kit.engine_error(503, "ServiceUnavailableError", "the queue is full")
    one.script, two.script = [busy], [busy]
    refused = ask(gateway)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert len(one.received) + len(two.received) == 1
    lost = kit.says(404, "Not Found")
    one.script, two.script = [lost], [lost]
    response = ask(gateway)
    assert response.status_code == 404
    assert response.json()["error"]["message"] == "model 'small' answered 404 without a reason"
    assert interceptor.untouched
