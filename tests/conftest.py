"""What every tier shares: a record that it ran, so that a tier which collected nothing cannot pass for green."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TIERS = ("unit", "program", "engine", "lab")
_ran: dict[str, int] = {}


def tier_of(report: pytest.TestReport) -> str:
    """The folder under ``tests``, but for those of the program's tests that start the real engine."""
    return "engine" if "engine" in report.keywords else report.nodeid.split("/")[1]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.outcome in ("passed", "failed"):
        tier = tier_of(report)
        _ran[tier] = _ran.get(tier, 0) + 1


def pytest_sessionfinish() -> None:
    folder = os.environ.get("EBBTIDE_TIERS")
    if folder:
        for tier, count in _ran.items():
            if tier in TIERS:
                # a tier may be run in parts
                file = Path(folder) / tier
                before = int(file.read_text()) if file.exists() else 0
                file.write_text(f"{before + count}\n")
