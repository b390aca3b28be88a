"""Which pods `up` waits for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lab.readiness import unsettled

BEGAN = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def pod(started: str | None = "2026-01-01T12:00:00Z", ready: bool = True, **more: Any) -> dict[str, Any]:
    state = {"running": {"startedAt": started}} if started else {"waiting": {"reason": "CrashLoopBackOff"}}
    meta = {"name": "keda-operator", **more}
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {"metadata": meta, "status": {"conditions": conditions, "containerStatuses": [{"state": state}]}}


def test_a_pod_that_is_told_of_as_it_was_before_the_restart_is_waited_for() -> None:
    assert unsettled([pod("2026-01-01T11:59:59Z")], BEGAN) == ["keda-operator: not started again yet"]
    assert unsettled([pod("2026-01-01T11:59:59Z")], None) == []
    assert unsettled([pod()], BEGAN) == []


def test_a_pod_that_crashes_or_is_not_ready_is_waited_for_with_its_reason() -> None:
    assert unsettled([pod(None)], BEGAN) == ["keda-operator: CrashLoopBackOff"]
    assert unsettled([pod(ready=False)], BEGAN) == ["keda-operator: not ready"]
    assert unsettled([{"metadata": {"name": "new"}, "status": {"phase": "Pending"}}], None) == ["new: not ready"]


def test_models_pods_and_leaving_ones_are_not_waited_for() -> None:
    leaving = pod(None, deletionTimestamp="2026-01-01T12:00:01Z")
    assert unsettled([leaving, pod(None, labels={"ebbtide.dev/model": "m"})], BEGAN) == []
    done = pod(None)
    done["status"]["phase"] = "Succeeded"
    assert unsettled([done], BEGAN) == []
