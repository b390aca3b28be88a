"""What nodes cost and who caused it, from the cluster to the command, with a real gateway and a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from infra.commands import usage
from infra.commands.options import CostOptions
from infra.errors import LocalProblem
from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit as kit
from tests.unit.postgres import Postgres, running

pytestmark = pytest.mark.slow

KEYS = {"root": ("sk-root-secret", "owners"), "demo": ("sk-demo-secret", "everyone")}
GROUPS = {"everyone": ["*"], "owners": []}
RIGHTS = {"owners": {"admin": True}}
MODELS = [{"name": "small", "host": "small.ebbtide-models", "gpus": 1, "holdSeconds": 3}]
LABELS = {"workerType": "gpu_1xa10"}
PRICE = 3600.0  # a dollar a second

upstream, kube = kit.fakes({"small": 1})


def stamp(now: datetime, seconds_ago: float) -> str:
    return (now - timedelta(seconds=seconds_ago)).isoformat(timespec="seconds").replace("+00:00", "Z")


def node(uid: str, created: str) -> dict[str, Any]:
    metadata = {"uid": uid, "name": uid, "creationTimestamp": created, "labels": LABELS}
    return {"metadata": metadata, "status": {"allocatable": {"nvidia.com/gpu": "1"}}}


def pod(uid: str, on: str, scheduled: str, ready: str) -> dict[str, Any]:
    moments = {"PodScheduled": scheduled, "Ready": ready}
    conditions = [{"type": t, "status": "True", "lastTransitionTime": moment} for t, moment in moments.items()]
    return {
        "metadata": {
            "uid": uid,
            "name": uid,
            "creationTimestamp": scheduled,
            "labels": {"ebbtide.dev/model": "small"},
        },
        "spec": {"nodeName": on, "containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]},
        "status": {"phase": "Running", "conditions": conditions},
    }


@pytest.fixture(scope="module")
def now() -> datetime:
    """The moment from which all others are counted."""
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with running() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def gateway(
    upstream: kit.Upstream,
    kube: kit.KubeApi,
    database: Postgres,
    now: datetime,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[kit.Gateway]:
    """A gateway beside a node that is 100 s old, with a pod from the 20th on that was ready at the 40th; another node,
    40 s old, is gone again.
    """
    kube.put("nodes", node("one", stamp(now, 100)))
    kube.put("pods", pod("p", "one", stamp(now, 80), stamp(now, 60)))
    pools = [{"name": "gpu", "labels": LABELS, "usdPerHour": PRICE}]
    accounts = {"folder": str(database.mounted), "pollSeconds": 0.5, "pools": pools, "seenSeconds": 1}
    accounts |= {"usageDays": 63, "forgetSeconds": 0.5, "chargeSeconds": 1, "sumSeconds": 0.5}
    settings = kit.settings_of(upstream, kube, MODELS, database=accounts)
    keys = kit.key_file(KEYS, GROUPS, RIGHTS)
    with kit.serving(kit.start(gateway_python(), tmp_path_factory.mktemp("cost"), settings, keys)) as process:
        kit.until(lambda: kit.has_database(process), "the database is followed", 90)
        kube.put("nodes", node("two", stamp(now, 40)))
        kit.until(lambda: lives(database, "node_lives") == ["one", "two"], "another node is written")
        kube.put("nodes", node("two", stamp(now, 40)), "DELETED")
        kit.until(lambda: lives(database, "node_lives", "ended_at IS NULL") == ["t", "f"], "it is gone")
        yield process


def cost(gateway: kit.Gateway, query: str = "") -> httpx.Response:
    headers = {"authorization": "Bearer sk-root-secret"}
    return httpx.get(f"{gateway.url}/admin/cost?{query}", headers=headers, timeout=90)


def lives(database: Postgres, table: str, what: str = "uid") -> list[str]:
    return database.ask(f"SELECT {what} FROM ebbtide.{table} ORDER BY uid")


def test_nodes_and_pods_are_written_as_the_cluster_shows_them(gateway: kit.Gateway, database: Postgres) -> None:
    kit.until(lambda: lives(database, "pod_lives") == ["p"], "the pod is written")
    what = "uid, pool, gpus, usd_per_hour, standing, ended_at IS NULL"
    assert lives(database, "node_lives", what) == ["one|gpu|1|3600.0|f|t", "two|gpu|1|3600.0|f|f"]
    what = "model, node_name, gpus, extract(epoch FROM ready_at - began_at)::int, ended_at IS NULL"
    assert lives(database, "pod_lives", what) == ["small|one|1|20|t"]


def test_the_sum_of_what_is_charged_is_the_nodes_hours_times_their_price(
    gateway: kit.Gateway, database: Postgres, now: datetime
) -> None:
    headers = {"authorization": "Bearer sk-demo-secret"}
    body = {"model": "small", "messages": kit.HI}
    answer = httpx.post(gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=20)
    assert answer.status_code == 200
    written = "SELECT count(*) FROM ebbtide.usage WHERE status = 200"
    kit.until(lambda: database.ask(written) == ["1"], "its usage is written")
    moved = f"at = '{stamp(now, 90)}', ended_at = '{stamp(now, 30)}', woke = true"
    database.ask(f"UPDATE ebbtide.usage SET {moved}")
    since, until = (now - timedelta(seconds=200), now - timedelta(seconds=20))
    period = f"since={since:%Y-%m-%dT%H:%M:%SZ}&until={until:%Y-%m-%dT%H:%M:%SZ}"
    (whole,) = cost(gateway, period).json()["cost"]
    # both are whole seconds: the second node began 40 s before
    written = database.ask("SELECT uid, began_at, seen_at, ended_at FROM ebbtide.node_lives")
    assert whole["dollars"] == pytest.approx(80 + 20, abs=2), (since, until, written)
    assert whole["gpu_hours"] * 3600 == pytest.approx(whole["dollars"], abs=1e-2)
    rows = cost(gateway, f"by=key,model&{period}").json()["cost"]
    assert sum(row["dollars"] for row in rows) == pytest.approx(whole["dollars"], abs=1e-5)
    (demo,) = [row for row in rows if row["key"] == "demo"]
    assert (demo["model"], demo["wake"] > 0, demo["serving"] > 0) == ("small", True, True), rows
    kinds = ("serving", "wake", "idle", "keep_warm", "node")
    assert sum(demo[kind] for kind in kinds) == pytest.approx(demo["dollars"], abs=1e-5)
    (stack,) = [row for row in rows if row["key"] is None]
    assert stack["dollars"] == pytest.approx(20, abs=2), "on node two was never a pod"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("by=week", "by takes each of these once: group, key, model, day"),
        ("since=2026-11-30T00:00:00Z&until=2026-11-30T00:00:00Z", "until has to be after since"),
        ("since=2026-09-01T00:00:00Z&until=2026-11-30T00:00:00Z", "at most 31 days"),
        ("since=yesterday", "since is no time with an offset"),
    ],
)
def test_a_period_that_cannot_be_charged_is_refused(gateway: kit.Gateway, query: str, says: str) -> None:
    answer = cost(gateway, query)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


def test_only_an_admin_may_ask(gateway: kit.Gateway) -> None:
    headers = {"authorization": "Bearer sk-demo-secret"}
    assert httpx.get(f"{gateway.url}/admin/cost", headers=headers).status_code == 403


def test_what_is_older_than_the_stack_keeps_is_deleted_and_nothing_else(
    gateway: kit.Gateway, database: Postgres
) -> None:
    columns = "id, request_id, at, group_name, key_id, key_name, model, wait_seconds, complete, woke"
    for name, days in (("old", 64), ("recent", 62)):
        moment = f"now() - interval '{days} days'"
        usage_row = f"gen_random_uuid(), 'r', {moment}, 'everyone', 'k', '{name}', 'small', 0, true, false"
        database.ask(f"INSERT INTO ebbtide.usage ({columns}) VALUES ({usage_row})")
        pod_row = f"'{name}', 'small', 'n', 1, {moment} - interval '90 days', {moment}"
        database.ask(
            f"INSERT INTO ebbtide.pod_lives (uid, model, node_name, gpus, began_at, seen_at) VALUES ({pod_row})"
        )
        database.ask(f"INSERT INTO ebbtide.token_days VALUES ('key:{name}', ({moment})::date, 1)")
    named = "SELECT key_name FROM ebbtide.usage WHERE key_id = 'k'"
    kit.until(lambda: database.ask(named) == ["recent"], "the old row is deleted")
    kit.until(lambda: lives(database, "pod_lives") == ["p", "recent"], "the old life is deleted")
    holders = "SELECT holder FROM ebbtide.token_days WHERE holder IN ('key:old', 'key:recent')"
    kit.until(lambda: database.ask(holders) == ["key:recent"], "the old sum is deleted")
    database.ask("DELETE FROM ebbtide.pod_lives WHERE uid = 'recent'")


def test_a_key_that_has_cost_its_dollars_is_refused_and_another_is_not(
    gateway: kit.Gateway, database: Postgres, now: datetime
) -> None:
    root = {"authorization": "Bearer sk-root-secret"}
    wanted = {"name": "spender", "group": "everyone", "limits": {"dollars_per_month": 2.5}}
    made = httpx.post(f"{gateway.url}/admin/keys", json=wanted, headers=root).json()
    body = {"model": "small", "messages": kit.HI}

    def ask(key: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.post(gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=20)

    assert ask(made["secret"]).status_code == 200
    whose = f"key_id = '{made['key']['id']}'"
    kit.until(lambda: database.ask(f"SELECT count(*) FROM ebbtide.usage WHERE {whose}") == ["1"], "it is written", 30)
    # it was served for a minute, at a dollar a second
    served = f"at = '{stamp(now, 80)}', ended_at = '{stamp(now, 20)}'"
    database.ask(f"UPDATE ebbtide.usage SET {served} WHERE {whose}")
    refused = kit.until(lambda: (answer := ask(made["secret"])).status_code == 429 and answer, "it is refused", 60)
    assert refused.json()["error"]["code"] == "monthly_dollar_limit"
    assert "may cost 2.50 dollars a month (UTC), and has cost " in refused.json()["error"]["message"]
    assert ask("sk-demo-secret").status_code == 200
    database.ask(f"DELETE FROM ebbtide.usage WHERE {whose}")


@pytest.mark.parametrize("form", ["text", "csv", "json"])
def test_the_command_shows_it(
    gateway: kit.Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: Any
) -> None:
    monkeypatch.setenv("ADMIN_KEY", "sk-root-secret")
    way: dict[str, Any] = {"url": gateway.url, "key_env": "ADMIN_KEY", "format": form}
    assert usage.cost(CostOptions(by="key", since="24h", **way)) == 0
    shown = capsys.readouterr().out
    if form == "json":
        assert {"cost", "since", "until"} == set(json.loads(shown))
    else:
        assert shown.splitlines()[0].split("," if form == "csv" else None)[:3] == ["key", "dollars", "serving"]
        assert "(stack)" in shown
    with pytest.raises(LocalProblem, match="--by 'week' is not known"):
        usage.cost(CostOptions(by="week", **way))
