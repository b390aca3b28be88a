"""Keep-warm windows in a stack file: what is read, and what is refused with where, what, allowed and fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.idle_scaling.policy import scaled_object
from infra.program.serving import idle_policy
from infra.stackfile.findings.finding import ConfigError
from infra.stackfile.load import load_file
from tests.unit.plan_kit import sections, stack, write

OFFICE: dict[str, Any] = {"days": "weekdays", "from": "08:30", "to": "18:00", "timezone": "Europe/Berlin"}


def refused(folder: Path, window: Any, changes: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        stack(folder, {"models.eight.schedules": {"office": window}, **(changes or {})})
    return [str(finding) for finding in caught.value.findings]


def test_a_window_reaches_the_scaled_object(tmp_path: Path) -> None:
    config = stack(tmp_path, {"models.eight.schedules": {"office": OFFICE | {"replicas": 2, "ahead": "30m"}}})
    (_, _, trigger) = scaled_object(idle_policy(config, config.models["eight"]), "s:1")["spec"]["triggers"]
    assert trigger == {
        "type": "cron",
        "metadata": {
            "timezone": "Europe/Berlin",
            "start": "0 8 * * 1,2,3,4,5",
            "end": "0 18 * * 1,2,3,4,5",
            "desiredReplicas": "2",
        },
    }


def test_a_model_without_schedules_has_no_window(tmp_path: Path) -> None:
    assert stack(tmp_path).models["eight"].windows == ()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"from": "8:30"}, "schedules.office.from: '8:30' is not a time of day; allowed: hours and minutes"),
        ({"to": 1080}, "office.to: 1080 is a number: without quotes YAML reads a time as one"),
        ({"from": "24:00"}, "office.from: '24:00' is the end of a day, where nothing begins"),
        ({"days": "weekday"}, "office.days: 'weekday' is not a group of days"),
        ({"days": "weekday"}, "fix: did you mean weekdays? [EBB123 error]"),
        ({"days": ["mon", "tuesday"]}, "office.days[1]: 'tuesday' is not a day; allowed: mon, tue"),
        ({"days": ["mon", "tuesday"]}, "fix: did you mean tue? [EBB123 error]"),
        ({"days": []}, "has no day"),
        ({"days": ["mon", "mon"]}, "has a day twice"),
        ({"timezone": "Europe/Berln"}, "office.timezone: 'Europe/Berln' is not a time zone"),
        ({"timezone": "europe/berlin"}, "fix: did you mean Europe/Berlin? [EBB124 error]"),
        ({"to": "08:30"}, "office.to: '08:30' is the same as from, so the window has no length"),
        ({"days": "daily", "from": "00:00", "to": "24:00"}, "office: never ends: with ahead it covers the whole week"),
        ({"replicas": 3}, "office.replicas: 3 is more than max, which is 2; allowed: 1..2"),
        ({"replicas": 0}, "office.replicas: 0 is less than 1"),
        ({"ahead": "25h"}, "office.ahead: '25h' is longer than a day; allowed: 1s to 24h"),
        ({"timezone": "Africa/Cairo", "days": ["thu"], "from": "20:00", "to": "08:00"}, "moves its clocks at midnight"),
        ({"until": "18:00"}, "office.until: is not a known key"),
    ],
)
def test_a_window_that_cannot_be_kept_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    assert any(says in line for line in refused(tmp_path, OFFICE | change)), refused(tmp_path, OFFICE | change)


def test_all_that_is_wrong_with_a_window_is_said_at_once(tmp_path: Path) -> None:
    text = " ".join(refused(tmp_path, OFFICE | {"days": ["noday"], "timezone": "X", "from": "25:00", "ahead": "5"}))
    for code in ("EBB122", "EBB123", "EBB124", "EBB011"):
        assert code in text


def test_a_window_under_a_min_is_told_to_have_no_effect(tmp_path: Path) -> None:
    document = sections({"models.eight.schedules": {"office": OFFICE}}, min=1, minReason="the shop asks it all day")
    (warning,) = [f for f in load_file(write(tmp_path, document)).warnings if f.code == "EBB129"]
    assert (warning.severity, warning.path) == ("warning", "models.eight.schedules.office.replicas")


def test_a_window_outside_production_needs_no_reason(tmp_path: Path) -> None:
    assert stack(tmp_path, {"models.eight.schedules": {"office": OFFICE}, "environment": "dev"}).environment == "dev"


def test_windows_that_keep_more_gpus_at_once_than_the_guard_allows_are_refused(tmp_path: Path) -> None:
    window = OFFICE | {"replicas": 2}
    lines = refused(tmp_path, window, {"guard": {"maxGpus": 1, "whenFull": "refuse"}})
    assert any("keep warm at once in their schedules, which is 2" in line and "EBB114" in line for line in lines)


def test_windows_that_keep_more_instances_at_once_than_the_guard_allows_are_refused(tmp_path: Path) -> None:
    changes = {"guard": {"maxGpus": 4, "maxInstances": 1}, "models.eight.nodes": 2, "pools.one.max": 4}
    lines = refused(tmp_path, OFFICE | {"replicas": 2}, changes)
    assert any("keep warm at once in their schedules, which is 2" in line and "EBB287" in line for line in lines)


def test_windows_of_a_model_on_several_machines_count_all_its_gpus(tmp_path: Path) -> None:
    changes = {"guard": {"maxGpus": 3, "whenFull": "refuse"}, "models.eight.nodes": 2, "pools.one.max": 4}
    lines = refused(tmp_path, OFFICE | {"replicas": 2}, changes)
    assert any("keep warm at once in their schedules, which is 4" in line and "EBB114" in line for line in lines)


def test_windows_at_other_hours_share_the_guard(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"guard": {"maxGpus": 1, "whenFull": "refuse"}}
    document = sections(changes)
    document["models"]["other"] = document["models"]["eight"] | {
        "schedules": {"night": OFFICE | {"from": "18:00", "to": "06:00"}}
    }
    document["models"]["eight"] |= {"schedules": {"office": OFFICE}}
    load_file(write(tmp_path, document))
    document["models"]["other"]["schedules"]["night"]["from"] = "17:59"
    with pytest.raises(ConfigError, match="EBB114"):
        load_file(write(tmp_path, document))


def test_a_stall_shorter_than_the_probes_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"models.eight.stall: '119s' is shorter than three probes .* \[EBB115 error\]"
    ):
        stack(tmp_path, {"models.eight.stall": "119s"})
