"""The weekly hours in which a cloud may upgrade what runs."""

from __future__ import annotations

from datetime import datetime

import pytest

from components.platforms.maintenance import MaintenanceWindow, window


def test_production_has_a_weekends_night_and_everything_else_any_time() -> None:
    night = window(None, "prod")
    assert night is not None
    assert (f"{night.first:%a %H:%M}", night.hours) == ("Sat 20:00", 12)
    assert window(None, "dev") is None
    asked = MaintenanceWindow(day="sun")
    assert window(asked, "dev") == window(asked, "prod") == asked


@pytest.mark.parametrize(
    ("asked", "utc"),
    [
        ({"day": "sun", "from": "01:00", "timezone": "Europe/Berlin"}, "Sun 00:00"),
        ({"day": "sun", "from": "00:30", "timezone": "Europe/Berlin"}, "Sat 23:30"),
        ({"day": "mon", "from": "00:00", "timezone": "Asia/Tokyo"}, "Sun 15:00"),
        ({"day": "sat", "from": "22:00", "timezone": "America/New_York"}, "Sun 03:00"),
        ({"day": "fri", "from": "24:00"}, "Sat 00:00"),
    ],
)
def test_a_window_begins_on_the_day_that_it_is_in_utc(asked: dict[str, str], utc: str) -> None:
    assert f"{MaintenanceWindow.model_validate(asked).first:%a %H:%M}" == utc


def test_a_window_has_begun_before_any_cluster_is_made() -> None:
    assert MaintenanceWindow(day="sun").first.replace(tzinfo=None) < datetime(2026, 2, 1)
