"""Limits of keys and groups over two real gateways, the wake keeper's part between them and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit as kit
from tests.unit.postgres import Postgres, running
from tests.unit.usage_keeper import UsageKeeper

pytestmark = pytest.mark.slow

TOKENS = kit.USAGE["total_tokens"]
KEYS = {"root": ("sk-root-secret", "owners"), "daily": ("sk-daily-secret", "daily")}
GROUPS = {"everyone": ["*"], "owners": [], "daily": ["*"]}
RIGHTS = {"owners": {"admin": True}, "daily": {"tokensPerDay": 2 * TOKENS}}
# a deadline: what others have is at most two seconds old
HEARD_SECONDS = 15.0
_NAMES = (f"key{number}" for number in itertools.count())


upstream, kube = kit.fakes({"small": 1})


class Stack:
    """Gateways over one database that hear of one another."""

    def __init__(self, upstream: kit.Upstream, kube: kit.KubeApi, database: Postgres, folder: Path) -> None:
        self.upstream, self.kube, self.database, self._folder = upstream, kube, database, folder
        self.keeper = UsageKeeper()

    @contextlib.contextmanager
    def another(self, **more: Any) -> Iterator[kit.Gateway]:
        models = [
            {"name": name, "host": f"{name}.ebbtide-models", "gpus": 1, "holdSeconds": 3} for name in ("small", "big")
        ]
        accounts = {"folder": str(self.database.mounted), "pollSeconds": 0.2, "sumSeconds": 0.2, **more}
        settings = kit.settings_of(
            self.upstream, self.kube, models, database=accounts, keeperUrl=self.keeper.served.url
        )
        folder = self._folder / str(len(list(self._folder.iterdir())))
        folder.mkdir()
        gateway = kit.start(gateway_python(), folder, settings, kit.key_file(KEYS, GROUPS, RIGHTS))
        self.keeper.gateways.append(gateway)
        try:
            with kit.serving(gateway):
                kit.until(lambda: kit.has_database(gateway), "the database is followed", 90)
                yield gateway
        finally:
            self.keeper.gateways.remove(gateway)

    def at(self, number: int) -> str:
        return self.keeper.gateways[number].url

    def admin(self, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"authorization": "Bearer sk-root-secret"}
        return httpx.request(method, self.at(0) + path, json=body, headers=headers, timeout=20)

    def make(self, **limits: int) -> tuple[str, str]:
        name = next(_NAMES)
        answer = self.admin("POST", "/admin/keys", {"name": name, "group": "everyone", "limits": limits})
        assert answer.status_code == 201, answer.text
        return name, str(answer.json()["secret"])

    def ask(self, key: str, at: int = 0, path: str = "/v1/chat/completions", **more: Any) -> httpx.Response:
        body = {"model": "small", "messages": kit.HI, "max_tokens": 9} | more
        return httpx.post(self.at(at) + path, json=body, headers={"authorization": f"Bearer {key}"}, timeout=20)

    def summed(self, name: str) -> int:
        statement = (
            "SELECT coalesce(sum(tokens), 0) FROM ebbtide.token_days JOIN ebbtide.keys ON holder = 'key:' || id "
        )
        return int(self.database.ask(f"{statement} WHERE name = '{name}'")[0])


@pytest.fixture(scope="module")
def stack(upstream: kit.Upstream, kube: kit.KubeApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running() as database:
        gateways = Stack(upstream, kube, database, tmp_path_factory.mktemp("limits"))
        with gateways.another(), gateways.another():
            yield gateways
        gateways.keeper.stop()


def refusal(answer: httpx.Response) -> tuple[int, Any, Any]:
    error = answer.json().get("error", {})
    return answer.status_code, error.get("code"), error.get("message")


def test_tokens_of_a_day_are_summed_over_both_gateways_and_a_changed_limit_holds_within_five_seconds(
    stack: Stack,
) -> None:
    name, key = stack.make(tokens_per_day=2 * TOKENS + 1)
    assert [stack.ask(key).status_code for _ in range(3)] == [200] * 3
    refused = stack.ask(key)
    text = f"key {name!r} may use {2 * TOKENS + 1} token(s) a day (UTC), and has used {3 * TOKENS}"
    assert refusal(refused) == (429, "daily_token_limit", text)
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    kit.until(lambda: stack.summed(name) == 3 * TOKENS, "written")
    assert refusal(stack.ask(key, at=1)) == (429, "daily_token_limit", text), "its first request waits for the sum"
    other = stack.ask(key, at=1, path="/v1/messages").json()
    assert (other["type"], other["error"]["type"], other["error"]["code"]) == (
        "error",
        "rate_limit_error",
        "daily_token_limit",
    )
    changed = stack.admin("POST", f"/admin/keys/{name}/limit", {"tokens_per_day": None, "tokens_per_month": 9 * TOKENS})
    assert changed.json()["key"]["limits"] == {
        "requests_per_minute": None,
        "tokens_per_minute": None,
        "tokens_per_day": None,
        "tokens_per_month": 9 * TOKENS,
        "concurrent_requests": None,
        "max_wakes_per_day": None,
        "dollars_per_day": None,
        "dollars_per_month": None,
    }
    for at in (0, 1):
        kit.until(lambda at=at: stack.ask(key, at=at).status_code == 200, "it holds no more", 5)  # type: ignore[misc]


def test_a_groups_limit_is_of_all_its_keys(stack: Stack) -> None:
    other = stack.admin("POST", "/admin/keys", {"name": "of-daily", "group": "daily"}).json()["secret"]
    assert [stack.ask(key).status_code for key in ("sk-daily-secret", other)] == [200, 200]
    for key in ("sk-daily-secret", other):
        assert refusal(stack.ask(key))[1:] == (
            "daily_token_limit",
            f"group 'daily' may use {2 * TOKENS} token(s) a day (UTC), and has used {2 * TOKENS}",
        )


def test_a_burst_over_both_gateways_passes_at_most_what_each_would_and_then_nothing(stack: Stack) -> None:
    most = 6
    _, key = stack.make(requests_per_minute=most)
    with ThreadPoolExecutor(8) as pool:
        burst = list(pool.map(lambda number: stack.ask(key, at=number % 2).status_code, range(40)))
    assert most <= burst.count(200) <= 2 * most
    assert set(burst) == {200, 429}
    kit.until(
        lambda: [stack.ask(key, at=at).status_code for at in (0, 1)] == [429, 429], "both have heard", HEARD_SECONDS
    )
    assert [stack.ask(key, at=number % 2).status_code for number in range(6)] == [429] * 6


def test_requests_at_once_are_counted_over_both_gateways_and_end_with_the_answer(stack: Stack) -> None:
    name, key = stack.make(concurrent_requests=2)
    ended = threading.Event()
    stack.upstream.script += [kit.streams(1, gate=lambda _: ended.is_set())] * 2
    with ThreadPoolExecutor(2) as pool:
        try:
            held = [pool.submit(stack.ask, key, at, stream=True) for at in (0, 1)]
            kit.until(lambda: not stack.upstream.script, "both are held")

            # whoever is not let through is answered at once: nothing more of the script is there
            def both_refuse() -> bool:
                return [stack.ask(key, at=at).status_code for at in (0, 1)] == [429, 429]

            kit.until(both_refuse, "both have heard", HEARD_SECONDS)
            text = f"key {name!r} may have 2 request(s) at once, and has 2"
            assert refusal(stack.ask(key)) == (429, "concurrency_limit", text)
        finally:
            ended.set()
        assert [each.result().status_code for each in held] == [200, 200]
    for at in (0, 1):
        kit.until(lambda at=at: stack.ask(key, at=at).status_code == 200, "there is room again", HEARD_SECONDS)  # type: ignore[misc]


def test_wakes_of_a_key_are_counted_over_both_gateways(stack: Stack) -> None:
    name, key = stack.make(max_wakes_per_day=1)
    assert stack.ask(key, model="big").headers["x-ebbtide-woken"] == "true"
    stack.keeper.served.run(stack.keeper.used.reconcile())
    text = (
        f"model 'big' sleeps, and key {name!r} may wake models 1 time(s) a day (UTC), which it has; models that are "
        "awake still answer"
    )
    assert refusal(stack.ask(key, at=1, model="big")) == (429, "wake_budget", text)
    assert stack.ask(key, at=1).status_code == 200


async def two_counts(request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
    """A conversation as Anthropic's API streams it: its count begins with the tokens in, and is complete at the end."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    start = b'{"type":"message_start","message":{"usage":{"input_tokens":3,"output_tokens":0}}}'
    await response.write(b"event: message_start\ndata: " + start + b"\n\n")
    await asyncio.sleep(3)  # longer than the second after which a request that goes on is written
    end = b'{"type":"message_delta","delta":{},"usage":{"output_tokens":2}}'
    await response.write(b"event: message_delta\ndata: " + end + b"\n\n")
    await response.write(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    return response


def test_a_request_that_is_written_while_it_goes_on_is_summed_up_once(stack: Stack) -> None:
    name, key = stack.make()
    stack.upstream.script.append(two_counts)
    assert stack.ask(key, path="/v1/messages", stream=True).status_code == 200
    kit.until(lambda: stack.summed(name) > 0, "summed up")
    assert stack.summed(name) == TOKENS


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("", {"tokens_per_day": 0}, "tokens_per_day: Input should be greater than or equal to 1"),
        ("", {"tokens_per_week": 5}, "tokens_per_week: Extra inputs are not permitted"),
        ("", {}, "no limit is given; allowed fields: requests_per_minute, "),
    ],
)
def test_what_is_no_limit_is_refused(stack: Stack, path: str, body: Any, says: str) -> None:
    answer = stack.admin("POST", "/admin/keys/anybody/limit", body)
    assert refusal(answer)[:2] == (400, "invalid_parameter")
    assert says in answer.json()["error"]["message"]


def test_while_the_database_is_away_limits_of_a_day_are_open_or_closed_as_the_stack_says(stack: Stack) -> None:
    name, key = stack.make(tokens_per_day=4 * TOKENS)
    _, free = stack.make(requests_per_minute=100)
    with stack.another(limitsWhileAway="closed"):
        open_, closed = 0, 2
        for who, at in itertools.product((key, free), (open_, closed)):  # both know both keys from now on
            listed = httpx.get(stack.at(at) + "/v1/models", headers={"authorization": f"Bearer {who}"}, timeout=20)
            assert listed.status_code == 200
        assert [stack.ask(key, at=open_).status_code for _ in range(3)] == [200] * 3
        kit.until(lambda: stack.summed(name) == 3 * TOKENS, "written")
        stack.database.stop()
        try:
            kit.until(lambda: not any(map(kit.has_database, stack.keeper.gateways)), "all see that it is away")
            refused = stack.ask(key, at=closed)
            assert refusal(refused)[:2] == (503, "database_away")
            assert f"how much key {name!r} has used" in refusal(refused)[2]
            assert [stack.ask(free, at=at).status_code for at in (open_, closed)] == [200, 200]
            # what it knows still counts: one more is below the limit, the next is not
            assert stack.ask(key, at=open_).status_code == 200
            assert refusal(stack.ask(key, at=open_))[:2] == (429, "daily_token_limit")
        finally:
            stack.database.start()
        kit.until(lambda: all(map(kit.has_database, stack.keeper.gateways)), "all see that it is back")
        kit.until(lambda: stack.summed(name) == 4 * TOKENS, "each token is written, and once")
        kit.until(lambda: refusal(stack.ask(key, at=closed))[:2] == (429, "daily_token_limit"), "both count on")


def test_the_migration_sums_up_what_was_written_before_it(stack: Stack, tmp_path: Path) -> None:
    stack.database.ask("CREATE DATABASE before")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    for name in ("uri", "ca.crt"):
        text = (stack.database.mounted / name).read_text()
        (mounted / name).write_text(text.replace("/postgres\n", "/before\n"))

    def migrate(to: str) -> None:
        program = (
            "import asyncio, pathlib, sys; from ebbtide_accounts.connection import Location; "
            "from ebbtide_accounts.migrate import migrate; folder, to = sys.argv[1:]; "
            "asyncio.run(migrate(Location(pathlib.Path(folder)), to))"
        )
        command = [str(gateway_python()), "-c", program, str(mounted), to]
        subprocess.run(command, env={"PYTHONPATH": str(kit.IMAGE)}, check=True, timeout=60)

    migrate("0001")
    row = "gen_random_uuid(), 'r', '{at}', 'g', 'k', 'n', 'small', {tokens}, NULL, 0, NULL, {status}, true, false"
    for at, tokens, status in (
        ("2026-11-01T23:59:59Z", "3, 2", "200"),
        ("2026-11-02T00:30:00+01:00", "4, NULL", "200"),
        ("2026-11-02T00:00:00Z", "7, 1", "499"),
        ("2026-11-02T00:00:00Z", "9, NULL", "NULL"),
        ("2026-11-02T00:00:00Z", "NULL, NULL", "200"),
    ):
        stack.database.ask(
            f"INSERT INTO ebbtide.usage VALUES ({row.format(at=at, tokens=tokens, status=status)})", "before"
        )
    migrate("0002")
    assert stack.database.ask("SELECT * FROM ebbtide.token_days ORDER BY 1, 2", "before") == [
        f"{holder}|{day}|{tokens}"
        for holder in ("group:g", "key:k")
        for day, tokens in (("2026-11-01", 9), ("2026-11-02", 8))
    ]
