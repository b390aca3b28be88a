"""Hours in which the stack file keeps a model, as windows of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import gateway_kit  # puts the image's package on the path

from ebbtide_accounts.ledger.records import HOUR, WarmWindow  # isort: skip
from ebbtide_accounts.lives import microseconds  # isort: skip
from ebbtide_accounts.warm_hours import Hours, windows  # isort: skip

assert gateway_kit
MONDAY = datetime(2026, 11, 30, tzinfo=UTC)
WEEK = (MONDAY, MONDAY + timedelta(days=7))
OFFICE = Hours("llama", 2, range(5), 8 * 60, 18 * 60, "UTC", 0)


def spans(hours: Hours, since: datetime, until: datetime) -> list[tuple[float, float]]:
    """Hours since the Monday."""
    first = microseconds(MONDAY)
    return [((each.start - first) / HOUR, (each.end - first) / HOUR) for each in windows(hours, since, until)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [(day * 24 + 8, day * 24 + 18) for day in range(5)]),
        ({"ahead": 30, "days": [0]}, [(7.5, 18)]),
        ({"days": [4], "start": 22 * 60, "end": 6 * 60}, [(4 * 24 + 22, 5 * 24 + 6)]),
        ({"timezone": "Europe/Berlin", "days": [0]}, [(7, 17)]),
        # from the day before to the day after: what touches is one window
        ({"days": range(7), "start": 0, "end": 1440}, [(-48, 10 * 24)]),
        ({"days": [6], "start": 23 * 60, "end": 60}, [(-1, 1), (6 * 24 + 23, 7 * 24 + 1)]),
    ],
)
def test_windows_are_by_the_clock_of_their_zone(
    changes: dict[str, object], expected: list[tuple[float, float]]
) -> None:
    hours = Hours(**{**vars(OFFICE), **changes})  # type: ignore[arg-type]
    assert spans(hours, *WEEK) == expected


def test_a_day_of_twenty_three_hours_has_a_window_of_its_own_clock() -> None:
    hours = Hours("llama", 1, [6], 0, 1440, "Europe/Berlin", 0)
    sunday = datetime(2026, 3, 29, tzinfo=UTC)
    (window,) = windows(hours, sunday, sunday + timedelta(hours=12))
    assert window == WarmWindow("llama", window.start, window.start + 23 * HOUR, 1)
    assert window.start == microseconds(datetime(2026, 3, 29, tzinfo=ZoneInfo("Europe/Berlin")))


@given(
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.integers(0, 600),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]),
)
def test_windows_stand_in_order_and_never_touch(
    days: set[int], start: int, end: int, ahead: int, timezone: str
) -> None:
    hours = Hours("llama", 1, sorted(days), start, end, timezone, ahead)
    hours_kept = spans(hours, MONDAY, MONDAY + timedelta(days=20))
    assert all(begin < end for begin, end in hours_kept)
    assert all(one[1] < other[0] for one, other in pairwise(hours_kept))
