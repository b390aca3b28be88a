"""Keys and usage of the stack in a real PostgreSQL that stands beside the nodes, as a database of a cloud would.

The engine is the stand-in of ``quick_engine.py``: what is shown is the gateway's.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.lab.conftest import FIRST, Lab, Steady, wait_until
from tests.lab.with_database import both_follow, database, metrics, neither_follows, stack_with
from tests.on_request import on_request
from tests.unit.postgres import Postgres

assert database  # the fixture
pytestmark = on_request

AWAY_SECONDS = 60.0
KNOWN_USERS = 3


@pytest.fixture(scope="module")
def accounts(quick: Lab, database: Postgres) -> Iterator[Lab]:
    with stack_with(quick, database):
        yield quick


def create(lab: Lab, name: str) -> str:
    with lab.client("root") as client:
        answer = client.post("/admin/keys", json={"name": name, "group": "everyone"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret"])


def rows(database: Postgres, key: str, what: str = "count(*), count(DISTINCT id)") -> list[str]:
    return database.ask(f"SELECT {what} FROM ebbtide.usage WHERE key_name = '{key}'")


def test_a_minute_without_the_database_loses_no_request_and_counts_none_twice(
    accounts: Lab, database: Postgres
) -> None:
    secrets = {f"user-{number}": create(accounts, f"user-{number}") for number in range(KNOWN_USERS)}

    def known_everywhere() -> bool:
        """Each request has a connection of its own, and the Service picks a gateway for it."""
        for secret in secrets.values():
            for _ in range(4):
                assert accounts.chat(FIRST, key=secret).status_code == 200
        logs = [accounts.api.get(f"/api/v1/namespaces/ebbtide/pods/{name}/log").text for name in accounts.gateways()]
        return all(f'"key": "{name}"' in log for log in logs for name in secrets)

    wait_until(known_everywhere, 60, "each gateway has answered each key")
    before = {name: int(rows(database, name)[0].partition("|")[0]) for name in secrets}
    with contextlib.ExitStack() as stack:
        loads = {
            name: stack.enter_context(Steady(0.2, lambda secret=secret: accounts.chat(FIRST, key=secret)))  # type: ignore[misc]
            for name, secret in secrets.items()
        }
        wait_until(lambda: all(len(load.answers) > 5 for load in loads.values()), 30, "a load")
        database.stop()
        gone = time.monotonic()
        wait_until(lambda: neither_follows(accounts), 30, "both gateways see that it is away")
        refused = accounts.chat(FIRST, key="sk-" + "x" * 43)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "database_away")
        wait_until(lambda: time.monotonic() - gone > AWAY_SECONDS, AWAY_SECONDS + 5, "a minute")
        database.start()
        wait_until(lambda: both_follow(accounts), 30, "both gateways follow it again")
        answered = {name: len(load.answers) for name, load in loads.items()}
        wait_until(
            lambda: all(len(load.answers) > answered[name] + 5 for name, load in loads.items()), 30, "a load after it"
        )
    for name, load in loads.items():
        assert Counter(answer.status_code for answer in load.answers) == {200: len(load.answers)}
        assert len(load.answers) > 100, "it was a load"
        sent = str(before[name] + len(load.answers))
        wait_until(lambda name=name, sent=sent: rows(database, name) == [f"{sent}|{sent}"], 30, f"{sent} of {name}")  # type: ignore[misc]
    assert all("ebbtide_gateway_usage_dropped_total 0.0" in text for text in metrics(accounts).values())


def test_the_usage_of_a_stream_whose_gateway_is_killed_is_there(accounts: Lab, database: Postgres) -> None:
    secret = create(accounts, "streaming")
    body = {"model": FIRST, "messages": [{"role": "user", "content": "Count."}], "max_tokens": 2000, "stream": True}
    broken = threading.Event()

    def stream() -> None:
        with (
            contextlib.suppress(httpx.HTTPError),
            accounts.client(secret) as client,
            client.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            for _ in answer.iter_lines():
                pass
        broken.set()

    thread = threading.Thread(target=stream, daemon=True)
    thread.start()
    wait_until(lambda: rows(database, "streaming", "status IS NULL") == ["t"], 30, "what goes on is written")
    for name in accounts.gateways():
        pod = f"/api/v1/namespaces/ebbtide/pods/{name}"
        accounts.api.delete(pod, params={"gracePeriodSeconds": 0}).raise_for_status()
    assert broken.wait(30), "the stream went on without its gateway"
    thread.join(10)
    assert rows(database, "streaming", "model, status IS NULL, complete, tokens_out IS NULL") == [f"{FIRST}|t|f|t"]
    wait_until(lambda: both_follow(accounts), 120, "two other gateways")
