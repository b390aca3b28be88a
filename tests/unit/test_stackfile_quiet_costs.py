"""Costs in a cloud without a word in the stack file: no cap, no reason, no rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.stackfile.findings.finding import Finding
from infra.stackfile.load import read_file
from tests.program.bad_inputs import ON_AZURE, ON_GCP, on_existing
from tests.unit.plan_kit import plan, sections, write

CLOUDS: dict[str, dict[str, Any]] = {"aws": {}, "azure": ON_AZURE, "gcp": ON_GCP}
KARPENTER = {"platform.nodeProvisioning": "karpenter", "platform.nodeImageRelease": "v20260820"}
each_cloud = pytest.mark.parametrize("cloud", CLOUDS.values(), ids=CLOUDS)


def findings(folder: Path, changes: dict[str, Any]) -> dict[str, Finding]:
    return {finding.code: finding for finding in read_file(write(folder, sections(changes))).findings}


@each_cloud
@pytest.mark.parametrize("guard", [{"maxGpus": 8}, {"maxGpus": 8, "maxDollarsPerHour": None}])
def test_a_stack_without_a_cap_in_dollars_is_told(tmp_path: Path, cloud: dict[str, Any], guard: Any) -> None:
    problems = findings(tmp_path, {**cloud, "guard": guard})
    assert (problems["EBB064"].severity, problems["EBB064"].path) == ("warning", "guard.maxDollarsPerHour")
    assert "EBB064" not in findings(tmp_path, {**cloud, "guard": {"maxGpus": 8, "maxDollarsPerHour": 100}})


def test_a_cluster_that_is_there_needs_no_cap(tmp_path: Path) -> None:
    assert "EBB064" not in findings(tmp_path, {**on_existing(), "guard": {"maxGpus": 8}})


@pytest.mark.parametrize("cloud", [*CLOUDS.values(), KARPENTER], ids=[*CLOUDS, "aws with karpenter"])
def test_a_cloud_is_never_local(tmp_path: Path, cloud: dict[str, Any]) -> None:
    problems = findings(tmp_path, {**cloud, "environment": "local"})
    assert (problems["EBB065"].severity, problems["EBB065"].path) == ("error", "environment")
    for other in ("dev", "staging", "prod"):
        assert "EBB065" not in findings(tmp_path, {**cloud, "environment": other})


@pytest.mark.parametrize("cloud", [*CLOUDS.values(), KARPENTER], ids=[*CLOUDS, "aws with karpenter"])
def test_a_pool_that_may_have_no_node_is_refused_on_every_cloud(tmp_path: Path, cloud: dict[str, Any]) -> None:
    problems = findings(tmp_path, {**cloud, "pools.one.max": 0})
    assert (problems["EBB209"].severity, problems["EBB209"].path) == ("error", "pools.one.max")
    assert "EBB209" not in findings(tmp_path, {**cloud, "pools.one.max": 1})


def window(days: Any, start: str, end: str, timezone: str = "UTC", **more: Any) -> dict[str, Any]:
    return {"days": days, "from": start, "to": end, "timezone": timezone, **more}


ALWAYS = {
    "workdays and week ends": {"a": window("weekdays", "00:00", "24:00"), "b": window("weekends", "00:00", "24:00")},
    "all but a minute": {"a": window("daily", "00:00", "23:59")},
    "halves of the day": {"a": window("daily", "00:00", "12:00"), "b": window("daily", "12:00", "24:00")},
    "two time zones": {
        "a": window("daily", "06:00", "20:00", "Europe/Berlin"),
        "b": window("daily", "09:00", "23:00", "America/Los_Angeles"),
    },
    "ahead of itself": {"a": window("daily", "12:00", "20:00", ahead="15h")},
    "nineteen hours of every day": {"a": window("daily", "04:00", "23:00")},
}
OFFICE = {"a": window("weekdays", "08:00", "18:00", "Europe/Berlin", ahead="30m")}


@pytest.mark.parametrize("schedules", ALWAYS.values(), ids=ALWAYS)
@pytest.mark.parametrize("environment", ["dev", "staging"])
def test_windows_that_are_never_out_need_the_reason_of_a_min(
    tmp_path: Path, schedules: dict[str, Any], environment: str
) -> None:
    changes = {"environment": environment, "models.eight.schedules": schedules}
    problem = findings(tmp_path, changes)["EBB010"]
    assert (problem.severity, problem.path) == ("mandatory", "models.eight.schedules")
    reason = {"models.eight.minReason": "the board shows it all week, until 2026-12-31"}
    assert "EBB010" not in findings(tmp_path, {**changes, **reason})


def test_office_hours_need_none(tmp_path: Path) -> None:
    assert "EBB010" not in findings(tmp_path, {"environment": "dev", "models.eight.schedules": OFFICE})


@pytest.mark.parametrize("name", ["workdays and week ends", "halves of the day", "all but a minute", "two time zones"])
def test_windows_over_all_of_a_week_keep_a_node_at_all_times(tmp_path: Path, name: str) -> None:
    (pool,) = plan(tmp_path, changes={"models.eight.schedules": ALWAYS[name]}).cost.pools
    assert (pool.floor_nodes, pool.warm_nodes) == (1, 0)
    assert pool.floor == pool.price.paid
    (pool,) = plan(tmp_path, changes={"models.eight.schedules": OFFICE}).cost.pools
    assert pool.floor_nodes == 0
    assert 0 < pool.warm_nodes < 1
