"""The commands ``ebbtide groups …`` before a stand-in for the admin API: what they ask, what they print."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.cli import app
from infra.commands import groups
from infra.commands.options import GroupOptions, GroupRightsOptions, KeysListOptions
from infra.errors import LocalProblem
from tests.unit.test_keys_and_usage_commands import AT, URL, AdminApi, api

assert api
GROUP: dict[str, Any] = {
    "name": "search",
    "models": ["small", "big"],
    "wake": ["small"],
    "made_by": "root",
    "made_at": "2026-12-01T00:00:00+00:00",
    "limits": {"tokens_per_day": 5, "requests_per_minute": None},
}


@pytest.mark.parametrize(
    ("command", "request_"),
    [
        (
            lambda: groups.create(GroupRightsOptions(name="search", models="small, big", wake="none", **AT)),
            ("POST", "", {"name": "search", "models": ["small", "big"], "wake": []}),
        ),
        (
            lambda: groups.change(GroupRightsOptions(name="search", wake="all", tokens_per_day="none", **AT)),
            ("POST", "/search/change", {"wake": None, "limits": {"tokens_per_day": None}}),
        ),
        (lambda: groups.delete(GroupOptions(name="search", **AT)), ("DELETE", "/search", None)),
    ],
    ids=["create", "change", "delete"],
)
def test_what_is_given_is_asked_for(
    command: Callable[[], int], request_: tuple[str, str, Any], api: AdminApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.answer = 200, {"group": GROUP}
    assert command() == 0
    method, path, body = request_
    assert api.requests == [(method, f"/admin/groups{path}", body, None)]
    assert "group search" in capsys.readouterr().out


def test_a_group_is_shown_with_what_it_may_and_its_limits(api: AdminApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.answer = 200, {"groups": [GROUP, {**GROUP, "name": "all", "wake": None, "limits": {}}]}
    groups.show(KeysListOptions(**AT))
    shown = " ".join(capsys.readouterr().out.split())
    for text in ("search small, big small root", "tokens per day 5", "all of them"):
        assert text in shown, text
    api.answer = 200, {"groups": []}
    groups.show(KeysListOptions(**AT))
    assert "no group was made at run time" in capsys.readouterr().out


def test_nothing_given_is_said_before_anybody_is_asked(api: AdminApi) -> None:
    for command in (groups.create, groups.change):
        with pytest.raises(LocalProblem, match="is given"):
            command(GroupRightsOptions(name="search", **AT))
    assert api.requests == []


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["create", "search", "--models", "*"], ("POST", "/admin/groups")),
        (["list"], ("GET", "/admin/groups")),
        (["change", "search", "--wake", "small"], ("POST", "/admin/groups/search/change")),
        (["delete", "search"], ("DELETE", "/admin/groups/search")),
    ],
    ids=" ".join,
)
def test_what_is_typed_reaches_the_admin_api(words: list[str], asked: tuple[str, str], api: AdminApi) -> None:
    api.answer = 200, {"group": GROUP, "groups": [GROUP]}
    result = CliRunner().invoke(app, ["groups", *words, "--url", URL, "--key-env", "THE_KEY", "--format", "json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)
    assert [request[:2] for request in api.requests] == [asked]
