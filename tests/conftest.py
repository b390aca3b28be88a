"""What every tier shares: a record that it ran and for how long, so that a tier which collected nothing cannot pass for
green; and that no property is judged by the clock, which a busy machine turns slowly.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.times import Tier, add_step

# EBBTIDE_EXAMPLES=ci: as many examples of each property as a change is judged by; fewer while one is working on it;
# many: for a night
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", UNTIMED, max_examples=100)
settings.register_profile("many", UNTIMED, max_examples=1000)
settings.register_profile("dev", UNTIMED, max_examples=20)
settings.load_profile(os.environ.get("EBBTIDE_EXAMPLES", "dev"))

TIERS = ("unit", "program", "engine", "rehearsal", "lab")
_STARTED = time.monotonic()
_ran: defaultdict[str, Tier] = defaultdict(Tier)


def tier_of(report: pytest.TestReport) -> str:
    """The folder under ``tests``; but what starts a real engine or API server is ``rehearsal`` where whole stacks live
    and go, else ``engine``, and what is pure in the other folders counts as the program's."""
    folder = report.nodeid.split("/")[1]
    if "engine" in report.keywords:
        return "rehearsal" if folder == "rehearsal" else "engine"
    return folder if folder in ("unit", "lab") else "program"


def pytest_runtest_setup() -> None:
    """Give the thread an event loop: ``asyncio.run`` of an earlier test took it, and Pulumi's mocks ask for one."""
    try:
        asyncio.get_event_loop_policy().get_event_loop()
    except RuntimeError:
        asyncio.set_event_loop(asyncio.new_event_loop())


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    tier = _ran[tier_of(report)]
    tier.count += report.when == "call" and report.outcome in ("passed", "failed")
    tier.seconds[report.nodeid] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    folder = os.environ.get("EBBTIDE_TIERS")
    if folder and not hasattr(session.config, "workerinput"):  # what a worker ran is told by the one who sent it
        for name, tier in _ran.items():
            if name in TIERS and tier.count:
                tier.save(Path(folder) / f"{name}.json")
        add_step(Path(folder), os.environ.get("EBBTIDE_STEP", "pytest"), time.monotonic() - _STARTED)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers (``--dist loadgroup``), tests that share a fixture of their module run in one of them."""
    for item in items:
        assert isinstance(item, pytest.Function)
        fixtures = [each for definitions in item._fixtureinfo.name2fixturedefs.values() for each in definitions]
        if any(each.scope in ("class", "module") for each in fixtures) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
