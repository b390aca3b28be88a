"""``ebbtide keys`` and ``ebbtide usage`` before a gateway's admin API, which is a stand-in here
(``test_gateway_accounts.py`` has the real one).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from infra.cli import app
from infra.commands import keys, usage
from infra.commands.options import (
    CostOptions,
    KeyCreateOptions,
    KeyExpireOptions,
    KeyOptions,
    KeyRotateOptions,
    KeysListOptions,
    LimitOptions,
    UsageOptions,
)
from infra.errors import LocalProblem

URL, SECRET = "http://gateway.example", "sk-ebbtide-shown-once"
AT: dict[str, Any] = {"url": URL, "key_env": "THE_KEY"}
KEY: dict[str, Any] = {
    "name": "alice",
    "group": "everyone",
    "last_four": "x7qd",
    "made_by": "root",
    "made_at": "2026-11-01T00:00:00+00:00",
    "expires_at": None,
    "suspended_at": None,
    "last_used_at": None,
}
ROW = {"group": "everyone", "requests": 3, "answered": 2, "tokens_in": 30, "tokens_out": 8, "tokens_cached": None}
Answer = tuple[int, Any]


class AdminApi:
    """The requests that it got, and what it answers to every one."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any, Any]] = []
        self.answer: Answer = (200, {})

    def request(self, method: str, url: str, **more: Any) -> httpx.Response:
        assert more["headers"]["authorization"] == "Bearer sk-admin"
        self.requests.append((method, url.removeprefix(URL), more["json"], more["params"]))
        status, body = self.answer
        if status == 0:
            raise httpx.ConnectError("refused")
        text = body if isinstance(body, str) else json.dumps(body)
        return httpx.Response(status, text=text, request=httpx.Request(method, url))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> AdminApi:
    monkeypatch.setenv("THE_KEY", "sk-admin")
    api = AdminApi()
    monkeypatch.setattr(httpx, "request", api.request)
    return api


def test_a_new_key_is_shown_alone_on_its_line(api: AdminApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.answer = 201, {"key": KEY, "secret": SECRET}
    assert keys.create(KeyCreateOptions(name="alice", group="everyone", **AT)) == 0
    assert capsys.readouterr().out.splitlines()[0] == SECRET
    body = {"name": "alice", "group": "everyone", "expires_at": None}
    assert api.requests == [("POST", "/admin/keys", body, None)]
    keys.create(KeyCreateOptions(name="alice", group="everyone", format="json", **AT))
    assert json.loads(capsys.readouterr().out) == {"key": KEY, "secret": SECRET}


def test_keys_are_listed_with_their_state(api: AdminApi, capsys: pytest.CaptureFixture[str]) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    others = [
        {**KEY, "name": "bob", "suspended_at": "2026-11-02T00:00:00+00:00"},
        {**KEY, "name": "carol", "expires_at": "2026-11-02T00:00:00+00:00"},
        {**KEY, "name": "dan", "expires_at": tomorrow},
    ]
    api.answer = 200, {"keys": [KEY, *others]}
    assert keys.show(KeysListOptions(**AT)) == 0
    head, *lines = capsys.readouterr().out.replace("  \n", "\n").splitlines()
    assert head.split()[:4] == ["name", "group", "key", "state"]
    shown = " ".join(lines)
    for text in ("…x7qd", "good", "suspended 2026-11-02", "expired 2026-11-02", f"until {tomorrow}", "never"):
        assert text in shown, text
    keys.show(KeysListOptions(format="json", **AT))
    assert json.loads(capsys.readouterr().out) == {"keys": [KEY, *others]}
    api.answer = 200, {"keys": []}
    keys.show(KeysListOptions(**AT))
    assert "no key was made at run time" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "request_", "says"),
    [
        (lambda: keys.change(KeyOptions(name="alice", **AT), "suspend"), ("POST", "/suspend", None), "everyone: good"),
        (lambda: keys.rotate(KeyRotateOptions(name="alice", **AT)), ("POST", "/rotate", None), SECRET),
        (
            lambda: keys.rotate(KeyRotateOptions(name="alice", overlap="24h", **AT)),
            ("POST", "/rotate", {"overlap_seconds": 86_400}),
            SECRET,
        ),
        (lambda: keys.delete(KeyOptions(name="alice", **AT)), ("DELETE", "", None), "alice is deleted"),
        (
            lambda: keys.expire(KeyExpireOptions(name="alice", expires="never", **AT)),
            ("POST", "/expire", {"expires_at": None}),
            "everyone: good",
        ),
        (
            lambda: keys.expire(KeyExpireOptions(name="alice", expires="2027-01-31", format="json", **AT)),
            ("POST", "/expire", {"expires_at": "2027-01-31T00:00:00+00:00"}),
            '"name": "alice"',
        ),
        (lambda: keys.delete(KeyOptions(name="alice", format="json", **AT)), ("DELETE", "", None), '"name": "alice"'),
    ],
    ids=["suspend", "rotate", "rotate with an overlap", "delete", "never expires", "expires", "delete, as json"],
)
def test_a_key_is_changed(
    command: Callable[[], int],
    request_: tuple[str, str, Any],
    says: str,
    api: AdminApi,
    capsys: pytest.CaptureFixture[str],
) -> None:
    api.answer = 200, {"key": KEY, "secret": SECRET} if "rotate" in request_[1] else {"key": KEY}
    assert command() == 0
    method, path, body = request_
    assert api.requests == [(method, f"/admin/keys/alice{path}", body, None)]
    assert says in " ".join(capsys.readouterr().out.split())


def test_limits_are_set_one_by_one_and_taken_away_by_none(api: AdminApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.answer = 200, {"key": KEY | {"limits": {"tokens_per_day": 5000, "requests_per_minute": None}}}
    assert keys.limit(LimitOptions(name="alice", tokens_per_day="5000", requests_per_minute="none", **AT)) == 0
    body = {"requests_per_minute": None, "tokens_per_day": 5000}
    assert api.requests == [("POST", "/admin/keys/alice/limit", body, None)]
    assert "everyone: good; at most tokens per day 5000" in " ".join(capsys.readouterr().out.split())
    api.answer = 201, {"key": KEY, "secret": SECRET}
    keys.create(KeyCreateOptions(name="alice", group="everyone", concurrent_requests="2", **AT))
    assert api.requests[-1][2]["limits"] == {"concurrent_requests": 2}
    for text in ("0", "-5", "1.5", "many"):
        with pytest.raises(LocalProblem, match=f"--tokens-per-day '{text}' is no limit"):
            keys.limit(LimitOptions(name="alice", tokens_per_day=text, **AT))
    keys.limit(LimitOptions(name="alice", dollars_per_day="12.50", dollars_per_month="none", **AT))
    assert api.requests[-1][2] == {"dollars_per_day": 12.5, "dollars_per_month": None}
    for text in ("0", "0.00", "-5", "1.234", "5 USD"):
        with pytest.raises(LocalProblem, match=f"--dollars-per-day '{text}' is no limit"):
            keys.limit(LimitOptions(name="alice", dollars_per_day=text, **AT))
    with pytest.raises(LocalProblem, match="no limit is given"):
        keys.limit(LimitOptions(name="alice", **AT))


def test_a_length_of_time_counts_from_now() -> None:
    def hours(text: str, **more: Any) -> float:
        return (datetime.fromisoformat(str(keys.moment(text, **more))) - datetime.now(UTC)).total_seconds() / 3600

    assert hours("720h") == pytest.approx(720, abs=0.1)
    assert hours("24h", ago=True) == pytest.approx(-24, abs=0.1)
    with pytest.raises(LocalProblem, match="'soon' is no time"):
        keys.moment("soon")


def test_usage_is_a_table_csv_or_json(api: AdminApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.answer = 200, {"usage": [ROW]}
    assert usage.run(UsageOptions(since="2026-11-01", **AT)) == 0
    query = {"by": "group", "since": "2026-11-01T00:00:00+00:00"}
    assert api.requests == [("GET", "/admin/usage", None, query)]
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()][:2] == [
        ["group", "requests", "answered"],
        ["everyone", "3", "2"],
    ]
    usage.run(UsageOptions(format="csv", **AT))
    assert capsys.readouterr().out.splitlines()[1] == "everyone,3,2,30,8,,,"
    usage.run(UsageOptions(format="json", **AT))
    assert json.loads(capsys.readouterr().out) == {"usage": [ROW]}
    with pytest.raises(LocalProblem, match="--by 'week' is not known"):
        usage.run(UsageOptions(by="group,week", **AT))


def test_cost_is_a_table_with_the_sum_csv_or_json(api: AdminApi, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = {"serving": 1.5, "wake": 0.25, "idle": 0.25, "keep_warm": 0.0, "node": 0.0}
    row = {"dollars": 2.0, **kinds, "gpu_hours": 1.0, "unpriced_gpu_hours": 0.0}
    document = {"cost": [{"key": "alice", **row}, {"key": None, **row}], "since": "2026-11-01", "until": "2026-11-30"}
    api.answer = 200, document
    assert usage.cost(CostOptions(by="key", since="2026-11-01", **AT)) == 0
    assert api.requests == [
        ("GET", "/admin/cost", None, {"by": "key", "since": "2026-11-01T00:00:00+00:00"}),
    ]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["key", "dollars"], ["alice", "2.0"], ["(stack)", "2.0"]]
    assert lines[3].split()[:4] == ["in", "all", "4.0", "3.0"]
    assert lines[4].startswith("from 2026-11-01 to 2026-11-30, in US dollars")
    usage.cost(CostOptions(by="key", format="csv", **AT))
    assert capsys.readouterr().out.splitlines()[2].startswith("(stack),2.0,1.5,")
    usage.cost(CostOptions(by="key", format="json", **AT))
    assert json.loads(capsys.readouterr().out) == document


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((0, ""), "gateway.example"),
        ((404, {"error": {"code": "unknown_path"}}), "its stack has no database"),
        ((403, {"error": {"code": "admin_not_allowed", "message": "not an admin"}}), "not an admin"),
        ((404, "<html>"), ""),
        ((200, "<html>"), "is no gateway"),
    ],
    ids=["nobody listens", "no database", "refused", "another server's 404", "no gateway"],
)
def test_what_goes_wrong_is_told_without_the_key(answer: Answer, says: str, api: AdminApi) -> None:
    api.answer = answer
    with pytest.raises(LocalProblem) as problem:
        keys.show(KeysListOptions(**AT))
    assert says in str(problem.value)
    assert "sk-admin" not in str(problem.value)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["keys", "create", "alice", "--group", "everyone"], ("POST", "/admin/keys")),
        (["keys", "list"], ("GET", "/admin/keys")),
        (["keys", "suspend", "alice"], ("POST", "/admin/keys/alice/suspend")),
        (["keys", "resume", "alice"], ("POST", "/admin/keys/alice/resume")),
        (["keys", "rotate", "alice"], ("POST", "/admin/keys/alice/rotate")),
        (["keys", "expire", "alice", "never"], ("POST", "/admin/keys/alice/expire")),
        (["keys", "limit", "alice", "--tokens-per-day", "5"], ("POST", "/admin/keys/alice/limit")),
        (["keys", "delete", "alice"], ("DELETE", "/admin/keys/alice")),
        (["usage"], ("GET", "/admin/usage")),
    ],
    ids=" ".join,
)
def test_what_is_typed_reaches_the_admin_api(words: list[str], asked: tuple[str, str], api: AdminApi) -> None:
    api.answer = 200, {"key": KEY, "secret": SECRET, "keys": [KEY], "usage": [ROW]}
    result = CliRunner().invoke(app, [*words, "--url", URL, "--key-env", "THE_KEY", "--format", "json"])
    assert result.exit_code == 0, result.output
    assert [request[:2] for request in api.requests] == [asked]
