"""What every tier shares: a record that it ran, so that a tier which collected nothing cannot pass for green; and that
no property is judged by the clock, which a busy machine turns slowly.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("whatever the machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whatever the machine")

TIERS = ("unit", "program", "engine", "rehearsal", "lab")
_ran: dict[str, int] = {}


def tier_of(report: pytest.TestReport) -> str:
    """The folder under ``tests``; but what starts a real engine or API server is ``rehearsal`` where whole stacks or
    nodes live and go, else ``engine``, and what is pure in the other folders counts as the program's."""
    folder = report.nodeid.split("/")[1]
    if "engine" in report.keywords:
        return "rehearsal" if folder in ("rehearsal", "karpenter") else "engine"
    return folder if folder in ("unit", "lab") else "program"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.outcome in ("passed", "failed"):
        tier = tier_of(report)
        _ran[tier] = _ran.get(tier, 0) + 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    folder = os.environ.get("EBBTIDE_TIERS")
    if folder and not hasattr(session.config, "workerinput"):  # what a worker ran is told by the one who sent it
        for tier, count in _ran.items():
            if tier in TIERS:
                # a tier may be run in parts
                file = Path(folder) / tier
                before = int(file.read_text()) if file.exists() else 0
                file.write_text(f"{before + count}\n")
