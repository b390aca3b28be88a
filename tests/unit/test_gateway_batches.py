"""Batches through two gateways' real processes, a real PostgreSQL and OpenAI's own client; the engine is a stand-in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from aiohttp import web

from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit as kit
from tests.unit.postgres import Postgres, running

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
KEYS = {"demo": ("sk-demo-secret", "everyone"), "other": ("sk-other-secret", "others")}
GROUPS = {"everyone": ["small", "sleepy"], "others": ["small"]}
MODELS = [
    {"name": name, "host": f"{name}.ebbtide-models", "gpus": 1, "holdSeconds": 20, "batchAtOnce": 4}
    for name in ("small", "sleepy")
]


async def echoes(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Says what it was asked."""
    await asyncio.sleep(0.01)
    message = {"role": "assistant", "content": body["messages"][0]["content"]}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    about = {"id": "r", "object": "chat.completion", "created": 1, "model": body["model"]}
    return web.json_response({**about, "choices": choices, "usage": kit.USAGE})


upstream, kube = kit.fakes({"small": 1, "sleepy": 0}, otherwise=echoes)


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with running() as cluster:
        yield cluster


class Stack:
    """Gateways over one database, with a client of each."""

    def __init__(self, gateways: list[kit.Gateway], database: Postgres, upstream: kit.Upstream) -> None:
        self.gateways, self.database, self.upstream = gateways, database, upstream

    def client(self, key: str = "sk-demo-secret", at: int = 0) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.gateways[at].url}/v1", api_key=key, max_retries=0, timeout=30)

    def begin(self, requests: list[str], model: str = "small", at: int = 0, **more: Any) -> str:
        """A batch that asks each text; returns its id."""
        return self.begin_with(lines(requests, model), at, **more)

    def begin_with(self, content: bytes, at: int = 0, **more: Any) -> str:
        client = self.client(at=at)
        file = client.files.create(file=("input.jsonl", content), purpose="batch")
        own = {"extra_body": {"ebbtide": more.pop("ebbtide")}} if "ebbtide" in more else {}
        asked: dict[str, Any] = {"completion_window": "24h", **more, **own}
        return client.batches.create(input_file_id=file.id, endpoint=CHAT, **asked).id

    def ended(self, batch: str, seconds: float = 60) -> Any:
        client = self.client()
        over = ("completed", "failed", "expired", "cancelled")
        kit.until(lambda: client.batches.retrieve(batch).status in over, f"{batch} has ended", seconds)
        return client.batches.retrieve(batch)

    def results(self, file: str | None) -> list[dict[str, Any]]:
        assert file is not None
        return [json.loads(line) for line in self.client().files.content(file).text.splitlines()]

    def open_lines(self, batch: str) -> int:
        counted = f"SELECT count(*) FROM ebbtide.batch_lines WHERE batch_id = '{batch}' AND ended_at IS NULL"
        return int(self.database.ask(counted)[0])


def lines(requests: list[str], model: str = "small") -> bytes:
    return b"".join(
        json.dumps(
            {
                "custom_id": f"id-{number}",
                "method": "POST",
                "url": CHAT,
                "body": {"model": model, "messages": [{"role": "user", "content": text}]},
            }
        ).encode()
        + b"\n"
        for number, text in enumerate(requests)
    )


def texts(results: list[dict[str, Any]]) -> list[str]:
    return [each["response"]["body"]["choices"][0]["message"]["content"] for each in results]


def start(upstream: kit.Upstream, kube: kit.KubeApi, database: Postgres, folder: Path) -> kit.Gateway:
    accounts = {"folder": str(database.mounted), "pollSeconds": 0.5, "batchSeconds": 0.1}
    settings = kit.settings_of(upstream, kube, MODELS, database=accounts)
    folder.mkdir()
    return kit.start(gateway_python(), folder, settings, kit.key_file(KEYS, GROUPS))


@pytest.fixture(scope="module")
def stack(
    upstream: kit.Upstream, kube: kit.KubeApi, database: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Two gateways before a model that is awake and one that sleeps."""
    kube.replicas("small", f"127.0.0.1:{upstream.served.port}")
    folder = tmp_path_factory.mktemp("batches")
    gateways = [start(upstream, kube, database, folder / name) for name in ("one", "two")]
    with contextlib.ExitStack() as running:
        for gateway in gateways:
            running.enter_context(kit.serving(gateway))
        for gateway in gateways:
            kit.until(lambda gateway=gateway: kit.has_database(gateway), "the database is followed", 30)  # type: ignore[misc]
        yield Stack(gateways, database, upstream)


@pytest.fixture(autouse=True)
def fresh(stack: Stack) -> None:
    stack.upstream.reset()
    stack.upstream.otherwise = echoes


def in_flight(gateway: kit.Gateway) -> str:
    metrics = httpx.get(gateway.metrics_url).text.splitlines()
    return next(each for each in metrics if each.startswith('ebbtide_gateway_in_flight_requests{model="small"}'))


def test_each_line_is_in_the_result_once_and_in_order_and_nobody_was_woken(stack: Stack) -> None:
    asked = [f"question {number}" for number in range(200)]
    batch = stack.ended(stack.begin(asked, metadata={"team": "search"}))
    assert (batch.status, batch.metadata, batch.error_file_id) == ("completed", {"team": "search"}, None)
    assert batch.request_counts.model_dump() == {"total": 200, "completed": 200, "failed": 0}
    results = stack.results(batch.output_file_id)
    assert texts(results) == asked
    assert [each["custom_id"] for each in results] == [f"id-{number}" for number in range(200)]
    assert len({each["id"] for each in results}) == 200
    assert not stack.upstream.knocks
    assert stack.open_lines(batch.id) == 0
    used = "SELECT count(*), sum(tokens_in), min(key_name) FROM ebbtide.usage WHERE request_id LIKE '{}-%'"
    kit.until(lambda: stack.database.ask(used.format(batch.id)) == ["200|600|demo"], "its usage is its key's", 30)


def test_what_rides_keeps_no_model_awake(stack: Stack) -> None:
    async def waits(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(1)
        return await echoes(request, body)

    stack.upstream.otherwise = waits
    batch = stack.begin(["one"])
    kit.until(lambda: stack.upstream.received, "the line is asked", 20)
    assert [in_flight(gateway).split()[-1] for gateway in stack.gateways] == ["0.0", "0.0"]
    assert stack.ended(batch).status == "completed"


def test_a_sleeping_model_is_not_woken_before_it_has_to_be(stack: Stack, kube: kit.KubeApi) -> None:
    batch = stack.begin(["one", "two"], model="sleepy")
    page = f"{stack.gateways[0].url}/v1/batches/{batch}"
    headers = {"authorization": "Bearer sk-demo-secret"}
    own = kit.until(
        lambda: "wakes_at_the_latest" in (own := httpx.get(page, headers=headers).json()["ebbtide"]) and own,
        "its page says when",
    )
    assert own["estimated_seconds"] == 5
    assert not stack.upstream.knocks
    kube.replicas("sleepy", f"127.0.0.1:{stack.upstream.served.port}")
    ended = stack.ended(batch)
    kube.replicas("sleepy")
    assert (ended.status, len(stack.upstream.knocks)) == ("completed", 0)


@pytest.mark.parametrize("why", ["its deadline is near", "it is off-peak"])
def test_a_model_is_woken_when_it_has_to_be(stack: Stack, why: str) -> None:
    day = {"off_peak": {"from": "00:00", "to": "00:00", "timezone": "Europe/Berlin"}}
    more: dict[str, Any] = {"completion_window": "2m"} if why == "its deadline is near" else {"ebbtide": day}
    batch = stack.ended(stack.begin(["one"], model="sleepy", **more))
    assert (batch.status, texts(stack.results(batch.output_file_id))) == ("completed", ["one"])
    assert stack.upstream.knocks, "the interceptor was asked to wake it"


@pytest.mark.parametrize("at", [0, 1])
def test_a_person_who_comes_finds_no_line_in_the_way(stack: Stack, at: int) -> None:
    stack.upstream.otherwise = kit.holds
    batch = stack.begin(["one", "two", "three"])
    kit.until(lambda: len(stack.upstream.received) == 3, "its lines are asked", 20)
    stack.upstream.otherwise = echoes
    stack.upstream.script = [kit.streams(2, gate=lambda _: all(each.cut_off for each in stack.upstream.received[:3]))]
    body = {"model": "small", "messages": kit.HI, "stream": True}
    headers = {"authorization": "Bearer sk-demo-secret"}
    answer = httpx.post(stack.gateways[at].url + CHAT, json=body, headers=headers, timeout=20)
    assert answer.status_code == 200
    assert "[DONE]" in answer.text
    ended = stack.ended(batch)
    assert texts(stack.results(ended.output_file_id)) == ["one", "two", "three"]


def test_a_gateway_that_is_killed_leaves_its_lines_to_the_other(
    stack: Stack, upstream: kit.Upstream, kube: kit.KubeApi, database: Postgres, tmp_path: Path
) -> None:
    third = start(upstream, kube, database, tmp_path / "third")
    with kit.serving(third):
        kit.until(lambda: kit.has_database(third), "the database is followed", 30)
        asked = [f"question {number}" for number in range(600)]
        batch = stack.begin(asked)

        def works() -> bool:
            return any(record["request_id"].startswith(batch) for record in third.records())

        kit.until(works, "the third works on it", 30)
    taken = f"batch_id = '{batch}' AND free_at > now()"
    database.ask(f"UPDATE ebbtide.batch_lines SET free_at = now() + interval '1 s' WHERE {taken}")
    ended = stack.ended(batch, 90)
    assert (ended.status, texts(stack.results(ended.output_file_id))) == ("completed", asked)


def test_a_line_that_its_engine_refuses_is_in_the_file_of_errors(stack: Stack) -> None:
    async def refuses_two(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if body["messages"][0]["content"] == "two":
            return await kit.engine_error(400, "BadRequestError", "no two")(request, body)
        return await echoes(request, body)

    stack.upstream.otherwise = refuses_two
    batch = stack.ended(stack.begin(["one", "two", "three"]))
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 2, "failed": 1}
    assert texts(stack.results(batch.output_file_id)) == ["one", "three"]
    ((error,),) = (stack.results(batch.error_file_id),)
    assert (error["custom_id"], error["response"]["status_code"]) == ("id-1", 400)
    assert error["response"]["body"]["error"]["message"] == "no two"


def test_a_batch_that_is_cancelled_keeps_what_is_done(stack: Stack) -> None:
    async def first_alone(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        behaviour = echoes if body["messages"][0]["content"] == "one" else kit.holds
        return await behaviour(request, body)

    stack.upstream.otherwise = first_alone
    batch = stack.begin(["one", *(["more"] * 20)])
    client = stack.client(at=1)
    kit.until(lambda: client.batches.retrieve(batch).request_counts.completed == 1, "one is answered", 20)
    kit.until(lambda: len(stack.upstream.received) == 9, "four lines wait in each gateway", 20)
    assert client.batches.cancel(batch).status == "cancelling"
    stack.upstream.otherwise = echoes
    for gateway in stack.gateways:
        gone = {"model": "small", "messages": kit.HI}
        httpx.post(gateway.url + CHAT, json=gone, headers={"authorization": "Bearer sk-demo-secret"}, timeout=20)
    ended = stack.ended(batch)
    assert (ended.status, texts(stack.results(ended.output_file_id))) == ("cancelled", ["one"])
    assert {each["error"]["code"] for each in stack.results(ended.error_file_id)} == {"batch_cancelled"}


def test_a_batch_whose_time_is_over_says_which_lines_were_not_answered(stack: Stack) -> None:
    batch = stack.begin(["one"], model="sleepy")
    kit.until(lambda: stack.open_lines(batch), "its lines are read")
    stack.database.ask(f"UPDATE ebbtide.batches SET deadline = now() WHERE id = '{batch}'")
    ended = stack.ended(batch)
    assert (ended.status, ended.output_file_id) == ("expired", None)
    (line,) = stack.results(ended.error_file_id)
    assert (line["custom_id"], line["response"], line["error"]["code"]) == ("id-0", None, "batch_expired")


def test_input_with_faults_is_refused_whole_with_all_of_them(stack: Stack) -> None:
    good, other = lines(["one"]), lines(["one"], model="none")
    batch = stack.ended(stack.begin_with(good + b"{\n" + good + other))
    found = [(each.line, each.code) for each in batch.errors.data]
    assert (batch.status, batch.output_file_id) == ("failed", None)
    assert found == [
        (2, "invalid_json_line"),
        (3, "duplicate_custom_id"),
        (4, "duplicate_custom_id"),
        (4, "model_not_found"),
    ]
    assert stack.upstream.untouched


def test_files_and_batches_are_their_groups_own(stack: Stack) -> None:
    batch = stack.ended(stack.begin(["one"]))
    other = stack.client("sk-other-secret")
    for ask in (
        lambda: other.batches.retrieve(batch.id),
        lambda: other.batches.cancel(batch.id),
        lambda: other.files.retrieve(batch.output_file_id),
        lambda: other.files.content(batch.output_file_id),
        lambda: other.files.delete(batch.input_file_id),
        lambda: other.batches.create(input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h"),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()
    assert [*other.batches.list()] == [] == [*other.files.list()]
    mine = stack.client()
    assert batch.id in [each.id for each in mine.batches.list(limit=2)]
    assert {batch.input_file_id, batch.output_file_id} <= {each.id for each in mine.files.list(limit=3)}
    assert mine.files.delete(batch.input_file_id).deleted


def test_a_group_asks_for_its_own_models_alone(stack: Stack) -> None:
    client = stack.client("sk-other-secret")
    file = client.files.create(file=("in.jsonl", lines(["one"], model="sleepy")), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h").id
    kit.until(lambda: client.batches.retrieve(batch).status == "failed", "it is refused")
    errors = client.batches.retrieve(batch).errors
    assert errors is not None
    assert errors.data is not None
    assert [each.code for each in errors.data] == ["model_not_allowed"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "200h"}, "later than in 7 days"),
        ({"endpoint": "/v1/rerank"}, "endpoint"),
        ({"ebbtide": {"deadline": "2020-01-01T00:00:00Z"}}, "in the past"),
        ({"ebbtide": {"off_peak": {"from": "25:00", "to": "06:00"}}}, "off_peak"),
        ({"ebbtide": {"off_peak": {"from": "22:00", "to": "06:00", "timezone": "Mars"}}}, "no time zone"),
        ({"ebbtide": {"webhook": "https://example.com"}}, "ebbtide.webhook"),
        ({"metadata": {"a": 1}}, "metadata"),
    ],
)
def test_a_batch_that_cannot_be_is_refused_at_once(stack: Stack, change: dict[str, Any], says: str) -> None:
    file = stack.client().files.create(file=("in.jsonl", lines(["one"])), purpose="batch")
    body = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"} | change
    headers = {"authorization": "Bearer sk-demo-secret"}
    answer = httpx.post(f"{stack.gateways[0].url}/v1/batches", json=body, headers=headers)
    assert (answer.status_code, says in answer.json()["error"]["message"]) == (400, True), answer.text


def test_a_file_of_another_purpose_or_too_large_is_refused(stack: Stack) -> None:
    with pytest.raises(openai.BadRequestError, match="allowed here is 'batch'"):
        stack.client().files.create(file=("in.jsonl", b"{}"), purpose="fine-tune")
    address = httpx.URL(stack.gateways[0].url)
    head = (
        "POST /v1/files HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer sk-demo-secret\r\n"
        f"content-type: multipart/form-data; boundary=x\r\ncontent-length: {201 * 1024 * 1024}\r\n\r\n"
    )
    with socket.create_connection((address.host, address.port or 80), timeout=10) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 413")
    assert "at most 209715200 bytes" in answer
