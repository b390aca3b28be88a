"""Batches on the real engine, with two gateways over a real PostgreSQL: what is killed meanwhile, and who waits."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.lab.conftest import FIRST, NAMESPACE, Lab, wait_until
from tests.lab.with_database import both_follow, database, stack_with
from tests.on_request import on_request
from tests.unit.postgres import Postgres

assert database  # the fixture
pytestmark = [on_request, pytest.mark.timeout(2400)]

LINES = 2000
TOKENS = 8
PEOPLE = 20


@pytest.fixture(scope="module")
def batches(lab: Lab, database: Postgres) -> Iterator[Lab]:
    with stack_with(lab, database):
        yield lab


def line(number: int, tokens: int) -> str:
    messages = [{"role": "user", "content": f"Say the number {number}."}]
    body = {"model": FIRST, "messages": messages, "max_tokens": tokens, "temperature": 0}
    return json.dumps({"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": body})


def begin(lab: Lab, count: int, tokens: int = TOKENS) -> str:
    content = "\n".join(line(number, tokens) for number in range(count)).encode()
    with lab.client() as client:
        file = client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", content)})
        file.raise_for_status()
        asked = {"input_file_id": file.json()["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        answer = client.post("/v1/batches", json=asked)
        answer.raise_for_status()
    return str(answer.json()["id"])


def page(lab: Lab, batch: str) -> dict[str, Any]:
    """The job's own page; empty while no gateway answers."""
    try:
        with lab.client(timeout=10) as client:
            answer = client.get(f"/v1/batches/{batch}")
    except httpx.HTTPError:
        return {}
    return dict(answer.json()) if answer.status_code == 200 else {}


def done(lab: Lab, batch: str) -> int:
    return int(page(lab, batch).get("request_counts", {}).get("completed", 0))


def results(lab: Lab, batch: str, seconds: float) -> list[dict[str, Any]]:
    wait_until(lambda: page(lab, batch).get("status") == "completed", seconds, f"{batch} has ended", 2)
    ended = page(lab, batch)
    assert ended["error_file_id"] is None, ended
    with lab.client() as client:
        text = client.get(f"/v1/files/{ended['output_file_id']}/content").text
    return [json.loads(each) for each in text.splitlines()]


def test_each_line_is_answered_once_whatever_is_killed_meanwhile(batches: Lab) -> None:
    began = time.monotonic()
    batch = begin(batches, LINES)
    for part, namespace in (("gateway", "ebbtide"),) * 2 + ((FIRST, NAMESPACE),) + (("gateway", "ebbtide"),) * 2:
        before = done(batches, batch)
        wait_until(lambda before=before: done(batches, batch) > before + 50, 600, f"work before {part} is killed", 1)  # type: ignore[misc]
        batches.kill(namespace, part)
        if part == FIRST:
            batches.until_awake(FIRST)
    answered = results(batches, batch, 1800)
    assert [each["custom_id"] for each in answered] == [str(number) for number in range(LINES)]
    assert all(each["response"]["body"]["choices"][0]["message"]["content"] for each in answered)
    print(f"{LINES} lines in {time.monotonic() - began:.0f} s")
    wait_until(lambda: both_follow(batches), 120, "two gateways")


def first_token(lab: Lab) -> float:
    pieces: list[float] = []
    lab.stream(FIRST, "Say hello.", lambda _, seconds: pieces.append(seconds), max_tokens=4)
    return pieces[0]


def test_a_person_meanwhile_waits_hardly_longer_for_a_first_token(batches: Lab) -> None:
    first_token(batches)
    alone = statistics.median(first_token(batches) for _ in range(PEOPLE))
    batch = begin(batches, LINES, 64)
    waited: list[float] = []
    for _ in range(PEOPLE):
        # a gateway finds the model idle again and begins lines; the next person comes into their middle
        seen = done(batches, batch)
        wait_until(lambda seen=seen: done(batches, batch) > seen, 60, "lines are answered")  # type: ignore[misc]
        waited.append(first_token(batches))
    meanwhile = statistics.median(waited)
    ratio = meanwhile / alone
    print(f"first token: {meanwhile * 1000:.0f} ms into lines, {alone * 1000:.0f} ms alone, {ratio:.2f} times")
    with batches.client() as client:
        client.post(f"/v1/batches/{batch}/cancel").raise_for_status()
    wait_until(lambda: page(batches, batch).get("status") == "cancelled", 60, "cancelled")
    assert ratio < 2


def test_what_rides_lets_the_model_go_to_sleep(batches: Lab) -> None:
    with batches.short_ttl(FIRST):
        batches.until_asleep(FIRST)
        batches.wake(FIRST)
        batch = begin(batches, LINES, 64)
        wait_until(lambda: done(batches, batch) > 0, 60, "lines are answered")
        batches.until_asleep(FIRST)
        asleep = done(batches, batch)
        assert page(batches, batch)["status"] == "in_progress"
        assert asleep < LINES
        batches.wake(FIRST)
        wait_until(lambda: done(batches, batch) > asleep, 60, "a wake by a person goes on with it")
        with batches.client() as client:
            client.post(f"/v1/batches/{batch}/cancel").raise_for_status()
        wait_until(lambda: page(batches, batch).get("status") == "cancelled", 60, "cancelled")
