"""Turns of batches: what may run when, on plain values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit import gateway_kit as kit  # noqa: F401  puts the image's packages on the path

from ebbtide_batch.lines import Waiting  # isort: skip
from ebbtide_batch.results import State, outcome  # isort: skip
from ebbtide_gateway.batch_turns import ModelNow, Turn, again_after, forecast, forecasts, is_off_peak, turns  # isort: skip

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
AWAKE, ASLEEP = ModelNow(True, False, 4, 0), ModelNow(False, False, 4, 0, wake_seconds=120)


def waiting(name: str = "one", **more: Any) -> Waiting:
    values: dict[str, Any] = {
        "deadline": NOW + timedelta(hours=24),
        "off_peak": None,
        "model": "small",
        "open": 100,
        "free": 100,
    }
    return Waiting(name, **(values | more))


def begun(now: ModelNow, *batches: Waiting) -> list[Turn]:
    return turns(batches or [waiting()], {"small": now}, NOW)


def test_a_batch_rides_on_what_is_awake_and_idle_and_wakes_nobody() -> None:
    assert begun(AWAKE) == [Turn("small", ("one",), 4, rides=True)]
    assert begun(ASLEEP) == []


def test_people_go_before_a_batch() -> None:
    assert begun(ModelNow(True, True, 4, 0)) == []


def test_no_more_lines_are_begun_than_a_gateway_may_have_in_a_model() -> None:
    assert begun(ModelNow(True, False, 4, 3)) == [Turn("small", ("one",), 1, rides=True)]
    assert begun(ModelNow(True, False, 4, 4)) == []


def test_a_deadline_that_comes_near_wakes_the_model_also_beside_people() -> None:
    near = waiting(deadline=NOW + timedelta(minutes=10))
    assert begun(ASLEEP, near) == [Turn("small", ("one",), 4, rides=False)]
    assert begun(ModelNow(True, True, 4, 0), near) == [Turn("small", ("one",), 4, rides=False)]


def test_nothing_is_begun_for_a_batch_whose_time_is_over() -> None:
    assert begun(AWAKE, waiting(deadline=NOW)) == []


def test_what_has_to_run_goes_before_what_rides() -> None:
    near = waiting("near", deadline=NOW + timedelta(minutes=10))
    assert begun(AWAKE, near, waiting("far")) == [Turn("small", ("near",), 4, rides=False)]


def test_the_latest_wake_leaves_time_for_the_lines_and_the_wake_and_half_as_much_again() -> None:
    seen = forecast(waiting(), ModelNow(False, False, 4, 0, wake_seconds=100, line_seconds=20, usd_per_hour=3.6))
    assert seen.seconds == 500
    assert seen.wakes_at == NOW + timedelta(hours=24) - timedelta(seconds=900) - timedelta(minutes=5)
    assert seen.document()["estimated_dollars"] == 0.5


def test_a_batch_of_two_models_is_forecast_by_the_one_that_is_woken_first() -> None:
    both = [waiting(), waiting(model="large", open=10_000)]
    seen = forecasts(both, {"small": AWAKE, "large": ASLEEP})
    assert seen["one"] == forecast(both[1], ASLEEP)


def test_a_model_that_is_gone_is_left_alone() -> None:
    assert turns([waiting(model="gone")], {"small": AWAKE}, NOW) == []
    assert forecasts([waiting(model="gone")], {}) == {}


@pytest.mark.parametrize(
    ("start", "to", "zone", "inside"),
    [
        ("11:00", "13:00", "UTC", True),
        ("12:00", "12:01", "UTC", True),
        ("13:00", "14:00", "UTC", False),
        ("22:00", "06:00", "UTC", False),
        ("22:00", "06:00", "Asia/Tokyo", False),
        ("21:00", "06:00", "Asia/Tokyo", True),
        ("06:00", "06:00", "UTC", True),
    ],
)
def test_off_peak_is_a_time_of_day_where_the_team_is(start: str, to: str, zone: str, inside: bool) -> None:
    hours = {"from": start, "to": to, "timezone": zone}
    assert is_off_peak(hours, NOW) is inside
    assert bool(begun(ASLEEP, waiting(off_peak=hours))) is inside


@pytest.mark.parametrize(
    ("state", "comes_to"),
    [
        (State("in_progress", NOW, 1, 0), "expired"),
        (State("in_progress", NOW + timedelta(1), 1, 0), None),
        (State("in_progress", NOW + timedelta(1), 0, 0), "completed"),
        (State("in_progress", NOW, 0, 0), "completed"),
        (State("cancelling", NOW + timedelta(1), 5, 2), None),
        (State("cancelling", NOW + timedelta(1), 5, 0), "cancelled"),
        (State("cancelling", NOW, 5, 2), "cancelled"),
    ],
)
def test_what_a_batch_comes_to(state: State, comes_to: str | None) -> None:
    assert outcome(state, NOW) == comes_to


@pytest.mark.parametrize(
    ("status", "code", "retry_after", "attempts", "again"),
    [
        (200, None, None, 1, None),
        (400, "invalid_json", None, 1, None),
        (429, "token_limit", 12.0, 1, (12.0, False)),
        (503, "no_idle_replica", None, 9, (5.0, False)),
        (503, "queue_full", None, 9, (30.0, False)),
        (401, "key_suspended", None, 9, (30.0, False)),
        (403, "wake_not_allowed", None, 9, (30.0, False)),
        (403, "model_not_allowed", None, 1, None),
        (401, "key_expired", None, 1, None),
        (503, "engine_ended", None, 1, (5.0, True)),
        (503, "engine_ended", None, 5, None),
        (504, "model_not_ready", 15.0, 2, (10.0, True)),
        (500, "upstream_error", None, 5, None),
    ],
)
def test_a_line_is_asked_again_unless_that_was_its_result(
    status: int, code: str | None, retry_after: float | None, attempts: int, again: tuple[float, bool] | None
) -> None:
    assert again_after(status, code, retry_after, attempts) == again
