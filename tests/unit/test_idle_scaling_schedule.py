"""Keep-warm windows as KEDA's cron triggers: warm when promised, cold when not, whatever the clocks do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from components.idle_scaling.clocks import Change, changes
from components.idle_scaling.policy import IdlePolicy, scaled_object
from components.idle_scaling.schedule import (
    ALL_DAYS,
    Span,
    Window,
    cron_triggers,
    is_always,
    is_misread,
    spans,
)
from tests.unit.cron_kit import DAY, JUDGED, active, metadata, promised, time

WEEKDAYS = frozenset(range(5))
OFFICE = Window(days=WEEKDAYS, start=8 * 60 + 30, end=18 * 60, timezone="Europe/Berlin", replicas=1, ahead=30)
# a day near which the clocks change, in both directions; and zones that have none, or half an hour, or at midnight
MOMENTS = [
    ("Europe/Berlin", "2027-03-28"), ("Europe/Berlin", "2027-10-31"), ("America/New_York", "2027-03-14"),
    ("America/New_York", "2027-11-07"), ("Australia/Lord_Howe", "2027-10-03"), ("Australia/Lord_Howe", "2027-04-04"),
    ("America/Santiago", "2027-09-05"), ("Atlantic/Azores", "2027-03-28"), ("Africa/Casablanca", "2027-02-07"),
    ("Africa/Cairo", "2027-04-30"), ("Africa/Cairo", "2027-10-29"), ("Asia/Kolkata", "2027-03-28"),
    ("UTC", "2027-03-28"),
]  # fmt: skip

times = st.tuples(st.integers(0, DAY - 1), st.integers(0, DAY)).filter(lambda pair: pair[0] != pair[1])
near_a_change = st.tuples(st.integers(0, 240), st.integers(0, 240)).filter(lambda pair: pair[0] != pair[1])


@st.composite
def anywhere(draw: Any) -> tuple[Window, str]:
    zone, day = draw(st.sampled_from(MOMENTS))
    days = draw(st.frozensets(st.integers(0, 6), min_size=1))
    start, end = draw(st.one_of(times, near_a_change))
    ahead = draw(st.one_of(st.sampled_from([0, 30, 60, 180]), st.integers(1, DAY)))
    return Window(days=days, start=start, end=end, timezone=zone, replicas=draw(st.integers(1, 4)), ahead=ahead), day


@settings(max_examples=3 * settings.default.max_examples // 5)
@given(anywhere())
def test_whatever_the_clocks_do_a_window_is_warm_when_promised_and_cold_when_not(
    window_and_day: tuple[Window, str],
) -> None:
    window, day = window_and_day
    assume(not is_always(window) and not is_misread(window))
    now = time(window.timezone, day)
    warm, due = active(cron_triggers([window]), now), promised(window, now)
    assert not [at for at in JUDGED if due[at] and not warm[at]]
    # a change may add its hour, move a start before it and out of another one; a window inside a skipped hour is none
    widest = max((3 * (change.end - change.start) + 2 for change in changes(window.timezone)), default=0)
    for at in JUDGED:
        if warm[at] and not due[at]:
            around = slice(at - widest, at + widest + 1)
            assert 1 in due[around] or now.turns & set(range(at - widest, at + widest + 1))


@pytest.mark.parametrize("day", ["2027-03-28", "2027-10-31"])
def test_a_window_away_from_the_change_is_exact_on_the_day_of_the_change(day: str) -> None:
    window = Window(days=ALL_DAYS, start=8 * 60, end=18 * 60, timezone="Europe/Berlin", replicas=1, ahead=30)
    now = time("Europe/Berlin", day)
    warm, due = active(cron_triggers([window]), now), promised(window, now)
    assert [warm[at] for at in JUDGED] == [due[at] for at in JUDGED]


def test_office_hours_are_one_trigger_that_starts_ahead() -> None:
    assert metadata(cron_triggers([OFFICE])) == [
        {
            "timezone": "Europe/Berlin",
            "start": "0 8 * * 1,2,3,4,5",
            "end": "0 18 * * 1,2,3,4,5",
            "desiredReplicas": "1",
        }
    ]


def test_ahead_reaches_back_into_the_day_before_and_the_week_before() -> None:
    monday = Window(days=frozenset({0}), start=15, end=8 * 60, timezone="UTC", replicas=2, ahead=30)
    (trigger,) = metadata(cron_triggers([monday]))
    assert (trigger["start"], trigger["end"], trigger["desiredReplicas"]) == ("45 23 * * 0", "0 8 * * 1", "2")


def test_a_night_ends_on_the_next_day_and_sunday_night_on_monday() -> None:
    (trigger,) = metadata(cron_triggers([Window(days=frozenset({4, 6}), start=22 * 60, end=6 * 60, timezone="UTC")]))
    assert (trigger["start"], trigger["end"]) == ("0 22 * * 0,5", "0 6 * * 1,6")


def test_whole_days_in_a_row_are_one_window_with_one_end() -> None:
    weekend = Window(days=frozenset({5, 6}), start=0, end=DAY, timezone="UTC")
    (trigger,) = metadata(cron_triggers([weekend]))
    assert (trigger["start"], trigger["end"]) == ("0 0 * * 6", "0 0 * * 1")
    around = Window(days=frozenset({6, 0}), start=0, end=DAY, timezone="UTC")
    assert spans(around) == (Span(6 * DAY, 8 * DAY),)


def test_a_window_that_ahead_joins_to_the_one_before_has_no_end_in_between() -> None:
    nearly = Window(days=frozenset({0, 1}), start=0, end=23 * 60 + 50, timezone="UTC", replicas=1, ahead=30)
    assert spans(nearly) == (Span(6 * DAY + 23 * 60 + 30, 8 * DAY + 23 * 60 + 50),)


def test_a_window_without_end_is_known() -> None:
    assert is_always(Window(days=ALL_DAYS, start=0, end=DAY, timezone="UTC"))
    assert is_always(Window(days=ALL_DAYS, start=8 * 60, end=7 * 60 + 45, timezone="UTC", replicas=1, ahead=30))
    assert not is_always(Window(days=ALL_DAYS, start=8 * 60, end=7 * 60 + 45, timezone="UTC"))


def test_two_windows_on_the_same_days_are_two_triggers_of_which_the_larger_counts() -> None:
    peak = Window(days=WEEKDAYS, start=9 * 60, end=11 * 60, timezone="Europe/Berlin", replicas=3)
    triggers = metadata(cron_triggers([OFFICE, peak]))
    assert [trigger["desiredReplicas"] for trigger in triggers] == ["1", "3"]
    assert triggers[0]["start"] != triggers[1]["start"]


def test_no_cron_line_names_a_minute_that_spring_skips_or_autumn_repeats() -> None:
    window = Window(days=ALL_DAYS, start=2 * 60 + 30, end=2 * 60 + 45, timezone="Europe/Berlin")
    sunday, others = metadata(cron_triggers([window]))
    assert (sunday["start"], sunday["end"]) == ("59 1 * * 0", "0 3 * * 0")
    assert others["start"] == "30 2 * * 1,2,3,4,5,6"


def test_what_moves_out_of_one_hour_of_change_does_not_stop_in_the_next() -> None:
    # autumn repeats the hour before the midnight that spring skips
    (span,) = spans(Window(days=frozenset({6}), start=0, end=6 * 60, timezone="America/Santiago"))
    assert span == Span(5 * DAY + 22 * 60 + 59, 6 * DAY + 6 * 60)


def test_ahead_is_not_an_hour_short_when_spring_takes_one() -> None:
    (trigger,) = metadata(
        cron_triggers(
            [Window(days=frozenset({6}), start=3 * 60 + 15, end=6 * 60, timezone="Europe/Berlin", replicas=1, ahead=30)]
        )
    )
    assert trigger["start"] == "45 1 * * 0"


def test_the_hours_of_a_change_are_read_out_of_the_time_zone_database() -> None:
    sunday_at_two = 6 * DAY + 2 * 60
    assert changes("Europe/Berlin") == (
        Change(sunday_at_two, sunday_at_two + 60, False),
        Change(sunday_at_two, sunday_at_two + 60, True),
    )
    assert changes("Asia/Kolkata") == ()
    assert [change.end - change.start for change in changes("Australia/Lord_Howe")] == [30, 30]


@pytest.mark.parametrize(
    ("window", "misread"),
    [
        (Window(days=frozenset({3}), start=20 * 60, end=8 * 60, timezone="Africa/Cairo"), True),
        (Window(days=WEEKDAYS, start=8 * 60, end=18 * 60, timezone="Atlantic/Azores"), True),
        (Window(days=ALL_DAYS, start=20 * 60, end=8 * 60, timezone="Africa/Cairo"), False),
        (Window(days=ALL_DAYS, start=0, end=8 * 60, timezone="Africa/Cairo"), True),
        (Window(days=ALL_DAYS, start=8 * 60, end=18 * 60, timezone="Australia/Lord_Howe"), True),
        (OFFICE, False),
    ],
)
def test_a_window_that_kedas_cron_would_misread_is_known(window: Window, misread: bool) -> None:
    assert is_misread(window) is misread


def policy(*kept: Window) -> IdlePolicy:
    return IdlePolicy(
        name="m",
        namespace="ns",
        min_replicas=0,
        max_replicas=2,
        idle_ttl_seconds=1200,
        cold_start_seconds=600,
        hold_seconds=900,
        concurrency_target=16,
        load_url="http://keeper",
        windows=kept,
    )


def test_windows_stand_beside_what_asks_and_leave_min_at_zero() -> None:
    spec = scaled_object(policy(OFFICE), "s:1")["spec"]
    assert [trigger["type"] for trigger in spec["triggers"]] == ["external-push", "metrics-api", "cron"]
    assert (spec["minReplicaCount"], spec["cooldownPeriod"]) == (0, 1200)


@pytest.mark.parametrize(
    ("window", "says"),
    [
        (replace(OFFICE, replicas=3), "keeps 3 replicas, allowed is 2"),
        (Window(days=ALL_DAYS, start=0, end=DAY, timezone="UTC"), "never ends"),
        (Window(days=frozenset({3}), start=20 * 60, end=8 * 60, timezone="Africa/Cairo"), "would be misread by KEDA"),
    ],
)
def test_a_policy_refuses_a_window_it_could_not_keep(window: Window, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        policy(window)


def test_a_window_names_every_value_that_cannot_work_at_once() -> None:
    with pytest.raises(ValueError, match="keep-warm window") as caught:
        Window(days=frozenset({7}), start=60, end=60, timezone="UTC", replicas=0, ahead=-1)
    for part in ("days are [7]", "from minute 60 to 60", "replicas is 0", "ahead is -1"):
        assert part in str(caught.value)
