"""Keys and usage in a database, through the gateway's real process and a real PostgreSQL."""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.commands import keys, usage
from infra.commands.options import KeyCreateOptions, KeysListOptions, UsageOptions
from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit as kit
from tests.unit.postgres import PASSWORD, Postgres, running

pytestmark = pytest.mark.slow

KEYS = {"root": ("sk-root-secret", "owners"), "demo": ("sk-demo-secret", "everyone")}
GROUPS = {"everyone": ["*"], "owners": []}
RIGHTS = {"owners": {"admin": True}}
REVOKED_SECONDS = 5.0


upstream, kube = kit.fakes({"small": 1})


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with running() as cluster:
        yield cluster


class Stack:
    """Gateways over one database."""

    def __init__(self, gateways: list[kit.Gateway], database: Postgres) -> None:
        self.gateways, self.database = gateways, database

    def admin(self, method: str, path: str, body: Any = None, key: str = "sk-root-secret", at: int = 0) -> Any:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.request(method, self.gateways[at].url + path, json=body, headers=headers, timeout=20)

    def make(self, name: str, **more: Any) -> str:
        answer = self.admin("POST", "/admin/keys", {"name": name, "group": "everyone"} | more)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["secret"])

    def ask(self, key: str, at: int = 0, **more: Any) -> httpx.Response:
        body = {"model": "small", "messages": kit.HI} | more
        headers = {"authorization": f"Bearer {key}"}
        return httpx.post(self.gateways[at].url + "/v1/chat/completions", json=body, headers=headers, timeout=20)

    def rows(self, key: str, what: str = "count(*)") -> list[str]:
        return self.database.ask(f"SELECT {what} FROM ebbtide.usage WHERE key_name = '{key}'")


def start(upstream: kit.Upstream, kube: kit.KubeApi, database: Postgres, folder: Path) -> kit.Gateway:
    models = [{"name": "small", "host": "small.ebbtide-models", "gpus": 1, "holdSeconds": 3}]
    settings = kit.settings_of(upstream, kube, models, database={"folder": str(database.mounted), "pollSeconds": 0.5})
    folder.mkdir()
    return kit.start(gateway_python(), folder, settings, kit.key_file(KEYS, GROUPS, RIGHTS))


@pytest.fixture(scope="module")
def stack(
    upstream: kit.Upstream, kube: kit.KubeApi, database: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Two gateways that begin at once before an empty database: one of them makes the schema."""
    folder = tmp_path_factory.mktemp("accounts")
    gateways = [start(upstream, kube, database, folder / name) for name in ("one", "two")]
    with contextlib.ExitStack() as running:
        for gateway in gateways:
            running.enter_context(kit.serving(gateway))
        for gateway in gateways:
            kit.until(lambda gateway=gateway: kit.has_database(gateway), "the database is followed", 30)  # type: ignore[misc]
        yield Stack(gateways, database)


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What a command has printed since it was last asked for."""
    monkeypatch.setenv("ADMIN_KEY", "sk-root-secret")
    return lambda: capsys.readouterr().out


def test_a_key_is_made_used_and_counted_and_is_in_no_log(stack: Stack, console: Callable[[], str]) -> None:
    way: dict[str, Any] = {"url": stack.gateways[0].url, "key_env": "ADMIN_KEY"}
    assert keys.create(KeyCreateOptions(name="first", group="everyone", expires="720h", **way)) == 0
    secret = console().splitlines()[0]
    answers = [stack.ask(secret), stack.ask(secret, at=1), stack.ask(secret, stream=True)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert '"usage"' not in answers[2].text, "the client had not asked for the counts"
    counted = stack.ask(secret, stream=True, stream_options={"include_usage": True})
    assert '"usage"' in counted.text
    kit.until(lambda: stack.rows("first") == ["4"], "written", 30)
    kit.until(lambda: "never" not in (keys.show(KeysListOptions(**way)), console())[1], "its last use is known", 30)
    columns = "DISTINCT group_name, model, status, complete, tokens_in, tokens_out"
    assert stack.rows("first", columns) == ["everyone|small|200|t|3|2"]
    keys.show(KeysListOptions(**way))
    listed = console()
    assert re.search(rf"^first +everyone +…{re.escape(secret[-4:])} +until ", listed, re.MULTILINE)
    usage.run(UsageOptions(by="key,model", format="csv", **way))
    assert "first,small,4,4,12,8,0,0,0\n" in console()
    dump = "".join(stack.database.ask("SELECT * FROM ebbtide.keys"))
    logs = "".join(gateway.log() for gateway in stack.gateways) + (stack.database.folder / "log").read_text()
    for text in (secret, PASSWORD, "sk-root-secret"):
        assert text not in dump + logs + listed


def test_what_one_gateway_changes_of_a_key_the_other_does_within_five_seconds(stack: Stack) -> None:
    secret = stack.make("second")

    def statuses(key: str) -> list[int]:
        return [stack.ask(key, at=at).status_code for at in (0, 1)]

    def soon(key: str, status: int) -> None:
        kit.until(lambda: statuses(key) == [status] * 2, f"both answer {status}", REVOKED_SECONDS)

    assert statuses(secret) == [200, 200]
    assert stack.admin("POST", "/admin/keys/second/suspend").status_code == 200
    soon(secret, 401)
    assert stack.ask(secret).json()["error"]["code"] == "key_suspended"
    stack.admin("POST", "/admin/keys/second/resume")
    soon(secret, 200)
    renewed = stack.admin("POST", "/admin/keys/second/rotate", at=1).json()["secret"]
    soon(secret, 401)
    assert statuses(renewed) == [200, 200]
    again = stack.admin("POST", "/admin/keys/second/rotate", {"overlap_seconds": 4}).json()
    assert again["key"]["former_until"] is not None
    assert statuses(again["secret"]) == statuses(renewed) == [200, 200]
    kit.until(lambda: statuses(renewed) == [401, 401], "the former secret ends", 4 + REVOKED_SECONDS)
    assert stack.ask(renewed).json()["error"]["code"] == "key_expired"
    assert statuses(again["secret"]) == [200, 200]
    stack.admin("DELETE", "/admin/keys/second")
    soon(again["secret"], 401)
    assert stack.database.ask("SELECT count(*) FROM ebbtide.keys WHERE name = 'second' AND sha256 IS NULL") == ["1"]


def test_a_group_is_made_changed_and_deleted_at_run_time(stack: Stack) -> None:
    rights = {"name": "search", "models": ["small"], "limits": {"requests_per_minute": 50}}
    assert stack.admin("POST", "/admin/groups", rights).status_code == 201
    secret = stack.make("searcher", group="search")
    kit.until(lambda: stack.ask(secret, at=1).status_code == 200, "the other gateway knows it", REVOKED_SECONDS)
    assert stack.ask(secret).status_code == 200
    assert stack.admin("DELETE", "/admin/groups/search").json()["error"]["code"] == "group_in_use"
    changed = stack.admin("POST", "/admin/groups/search/change", {"limits": {"requests_per_minute": 1}}, at=1)
    assert changed.json()["group"]["limits"]["requests_per_minute"] == 1
    kit.until(lambda: stack.ask(secret).status_code == 429, "its limit holds in the first", REVOKED_SECONDS)
    (listed,) = stack.admin("GET", "/admin/groups").json()["groups"]
    assert (listed["models"], listed["wake"], listed["made_by"]) == (["small"], None, "root")
    stack.admin("DELETE", "/admin/keys/searcher")
    assert stack.admin("DELETE", "/admin/groups/search").status_code == 200
    assert stack.admin("GET", "/admin/groups").json() == {"groups": []}


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("", {"name": "everyone", "models": ["*"]}, 409, "name_taken"),
        ("", {"name": "new", "models": ["none"]}, 400, "invalid_parameter"),
        ("", {"name": "new", "models": []}, 400, "invalid_parameter"),
        ("", {"name": "new", "models": ["*"], "wake": ["none"]}, 400, "invalid_parameter"),
        ("", {"name": "new", "models": ["*"], "admin": True}, 400, "invalid_parameter"),
        ("/none/change", {"models": ["*"]}, 404, "group_not_found"),
        ("/none/change", {}, 400, "invalid_parameter"),
        ("/none/change", {"models": []}, 400, "invalid_parameter"),
    ],
)
def test_a_group_that_cannot_be_is_refused(stack: Stack, path: str, body: Any, status: int, code: str) -> None:
    answer = stack.admin("POST", f"/admin/groups{path}", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "body", "key", "status", "code"),
    [
        ("GET", "/admin/keys", None, "sk-demo-secret", 403, "admin_not_allowed"),
        ("GET", "/admin/keys", None, "", 401, "missing_api_key"),
        ("PUT", "/admin/keys", None, "sk-root-secret", 405, "method_not_allowed"),
        ("GET", "/admin/other", None, "sk-root-secret", 404, "unknown_path"),
        ("POST", "/admin/keys", {"name": "x", "group": "owners"}, "sk-root-secret", 400, "invalid_parameter"),
        ("POST", "/admin/keys", {"name": "X y", "group": "everyone"}, "sk-root-secret", 400, "invalid_parameter"),
        ("POST", "/admin/keys", {"name": "demo", "group": "everyone"}, "sk-root-secret", 409, "name_taken"),
        ("POST", "/admin/keys/nobody/suspend", None, "sk-root-secret", 404, "key_not_found"),
        ("GET", "/admin/usage?by=prompt", None, "sk-root-secret", 400, "invalid_parameter"),
        ("GET", "/admin/usage?since=yesterday", None, "sk-root-secret", 400, "invalid_parameter"),
    ],
)
def test_nobody_but_an_admin_is_answered_and_nothing_but_what_is_meant(
    stack: Stack, method: str, path: str, body: Any, key: str, status: int, code: str
) -> None:
    answer = stack.admin(method, path, body, key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_while_the_database_is_away_known_keys_go_on_and_each_request_is_counted_once(stack: Stack) -> None:
    known, unknown = stack.make("third"), stack.make("fourth")
    assert [stack.ask(known, at=at).status_code for at in (0, 1)] == [200, 200]
    kit.until(lambda: stack.rows("third") == ["2"], "what they have used is written")
    # nothing is left to ask now but what has changed: the key has, and both hear of that before the database goes away
    after = stack.database.ask("SELECT now()")[0]
    polled = (
        f"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ebbtide-gateway' AND query_start > '{after}'"
    )
    kit.until(lambda: stack.database.ask(polled) == ["2"], "both have asked for changes")
    sent = [2]

    def load(until: threading.Event) -> list[int]:
        statuses = []
        while not until.is_set():
            sent[0] += 1
            statuses.append(stack.ask(known, at=sent[0] % 2).status_code)
        return statuses

    enough = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asking = pool.submit(load, enough)
        try:
            stack.database.stop()
            kit.until(lambda: not any(map(kit.has_database, stack.gateways)), "both see that it is away")
            refused = stack.ask(unknown)
            creation = stack.admin("POST", "/admin/keys", {"name": "fifth", "group": "everyone"})
            asked = sent[0]
            kit.until(lambda: sent[0] > asked + 10, "requests go on")
            stack.database.start()
            kit.until(lambda: all(map(kit.has_database, stack.gateways)), "both see that it is back")
        finally:
            enough.set()
        assert set(asking.result()) == {200}
    for answer in (refused, creation):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_away")
        assert int(answer.headers["retry-after"]) > 0
    kit.until(lambda: stack.rows("third") == [str(sent[0])], "each is written, and once")
    assert stack.ask(unknown).status_code == 200
    assert all("ebbtide_gateway_usage_dropped_total 0.0" in httpx.get(g.metrics_url).text for g in stack.gateways)


def test_a_gateway_that_is_killed_in_a_stream_leaves_that_it_was_begun(
    stack: Stack, upstream: kit.Upstream, kube: kit.KubeApi, tmp_path: Path
) -> None:
    secret = stack.make("sixth")
    upstream.script.append(kit.streams(3, gate=lambda number: number < 1))
    with kit.serving(start(upstream, kube, stack.database, tmp_path / "third")) as gateway:
        kit.until(lambda: kit.has_database(gateway), "the database is followed")
        body = {"model": "small", "messages": kit.HI, "stream": True}
        headers = {"authorization": f"Bearer {secret}"}
        url = gateway.url + "/v1/chat/completions"
        with httpx.stream("POST", url, json=body, headers=headers, timeout=20) as answer:
            lines = answer.iter_lines()
            next(lines)
            kit.until(lambda: stack.rows("sixth") == ["1"], "what goes on is written")
            gateway.process.kill()
            with pytest.raises(httpx.HTTPError):
                list(lines)
    assert stack.rows("sixth", "model, status IS NULL, complete, tokens_out IS NULL") == ["small|t|f|t"]
    sums = {row["key"]: row for row in stack.admin("GET", "/admin/usage?by=key").json()["usage"]}
    assert (sums["sixth"]["requests"], sums["sixth"]["answered"]) == (1, 0)


def test_two_migrations_at_once_make_one_schema_and_a_newer_one_is_left_alone(
    stack: Stack, upstream: kit.Upstream, kube: kit.KubeApi, tmp_path: Path
) -> None:
    stack.database.ask("CREATE DATABASE other")
    mounted = tmp_path / "mounted"
    shutil.copytree(stack.database.mounted, mounted)
    (mounted / "uri").write_text((mounted / "uri").read_text().replace("/postgres", "/other"))
    environment = {
        "PYTHONPATH": str(kit.IMAGE),
        "EBBTIDE_DATABASE_FOLDER": str(mounted),
        "EBBTIDE_DATABASE_TLS": "verify",
    }
    command = [str(gateway_python()), "-m", "ebbtide_accounts.migrate"]
    at_once = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [process.wait(60) for process in at_once] == [0, 0]
    version = "UPDATE ebbtide.alembic_version SET version_num = '9999'"
    stack.database.ask(version, database="other")
    assert subprocess.run(command, env=environment, check=False).returncode == 4
    settings = kit.settings_of(upstream, kube, [], database={"folder": str(mounted)})
    folder = tmp_path / "gateway"
    folder.mkdir()
    with kit.serving(kit.start(gateway_python(), folder, settings, kit.key_file(KEYS, GROUPS, RIGHTS))) as gateway:
        kit.until(lambda: "newer than this gateway" in gateway.log(), "it says so")
        listed = httpx.get(gateway.url + "/v1/models", headers={"authorization": "Bearer sk-demo-secret"})
        assert listed.status_code == 200
        assert "ebbtide_gateway_database_up 0.0" in httpx.get(gateway.metrics_url).text
