"""Tokens of a day and a month: what the database has summed up and what is counted here, each token once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import gateway_kit  # puts the image's package on the path

from ebbtide_gateway.errors import ApiError  # isort: skip
from ebbtide_gateway.limits import Holder, UsageLimits, refuse  # isort: skip
from ebbtide_gateway.day_sums import DaySums  # isort: skip

assert gateway_kit
LAST_DAY = datetime(2026, 11, 30, 18, tzinfo=UTC)
TODAY, FIRST = date(2026, 11, 30), date(2026, 11, 1)


@dataclass
class Process:
    """The sums of one process before a database that others write to as well."""

    now: float = LAST_DAY.timestamp()
    sums: DaySums = field(init=False)
    database: dict[str, dict[date, int]] = field(default_factory=dict)
    to_write: list[tuple[str, date, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sums = DaySums(lambda: self.now, lambda: self.now)

    def end(self, label: str, tokens: int, day: date = TODAY) -> None:
        self.sums.count(label, day, tokens)
        self.to_write.append((label, day, tokens))

    def write(self) -> None:
        for label, day, tokens in self.to_write:
            self.add(label, tokens, day)
            self.sums.written(label, day, tokens)
        self.to_write.clear()

    def add(self, label: str, tokens: int, day: date = TODAY) -> None:
        """What another process writes."""
        days = self.database.setdefault(label, {})
        days[day] = days.get(day, 0) + tokens

    def ask(self) -> None:
        self.sums.answered(self.now, {label: dict(self.database.get(label, {})) for label in self.sums.wanted()})


def holder(name: str = "a", **limits: int) -> Holder:
    return Holder("key", name, name, UsageLimits(**limits))


def test_dollars_are_those_that_were_charged_last() -> None:
    process = Process()
    limited = Holder("key", "a", "alice", UsageLimits(dollars_per_day=5.0, dollars_per_month=10.0))
    assert not process.sums.want(limited)
    process.sums.answered(process.now, {"key:a": {}}, {"key:a": {TODAY: 2.4, FIRST: 7.0}})
    assert process.sums.exceeded(limited) == [None] * 4
    process.sums.answered(process.now, {"key:a": {}}, {"key:a": {TODAY: 2.5, FIRST: 7.5}})
    with pytest.raises(ApiError, match=r"key 'alice' may cost 10.00 dollars a month \(UTC\), and has cost 10.00"):
        refuse(process.sums.exceeded(limited))


_STEPS = st.sampled_from(["end", "write", "ask", "want", "other", "a minute"])


@given(st.lists(st.tuples(_STEPS, st.sampled_from("ab"), st.integers(1, 9)), max_size=60))
def test_whatever_comes_in_which_order_each_token_of_this_process_counts_once_and_others_as_last_asked(
    steps: list[tuple[str, str, int]],
) -> None:
    process = Process()
    own, others, asked = {"key:a": 0, "key:b": 0}, {"key:a": 0, "key:b": 0}, {"key:a": 0, "key:b": 0}
    for step, name, tokens in steps:
        label = f"key:{name}"
        if step == "end":
            process.end(label, tokens)
            own[label] += tokens
        elif step == "write":
            process.write()
        elif step == "want":
            process.sums.want(holder(name))
        elif step == "other":
            process.add(label, tokens)
            others[label] += tokens
        elif step == "a minute":
            process.now += 61
        else:
            process.ask()
            asked |= {each: others[each] for each in process.sums.wanted()}
        for each in map(holder, "ab"):
            if process.sums.is_current(each):
                assert process.sums.spent(each.label, FIRST) == own[each.label] + asked[each.label]
    for each in map(holder, "ab"):
        process.sums.want(each)
    process.write()
    process.ask()
    for label in own:
        assert process.sums.spent(label, FIRST) == own[label] + others[label]
    process.now += 61
    assert process.sums.wanted() == []
    kept = (process.sums._own, process.sums._sums, process.sums._written)
    assert not any(kept), "nothing is kept of who is gone"


def test_a_day_and_a_month_end_at_midnight_utc_and_the_longer_one_is_named() -> None:
    process, both = Process(), holder(tokens_per_day=10, tokens_per_month=30)
    process.sums.want(both)
    process.add("key:a", 21, date(2026, 11, 2))
    process.add("key:a", 99, date(2026, 10, 31))
    process.ask()
    process.end("key:a", 8)
    refuse(process.sums.exceeded(both))
    process.end("key:a", 2)
    with pytest.raises(ApiError) as refusal:
        refuse(process.sums.exceeded(both))
    assert (refusal.value.status, refusal.value.code) == (429, "daily_token_limit")
    assert refusal.value.message == "key 'a' may use 10 token(s) a day (UTC), and has used 10"
    assert refusal.value.retry_after == 6 * 3600
    process.now += 6 * 3600
    refuse(process.sums.exceeded(both))
    process.end("key:a", 30, date(2026, 12, 1))
    with pytest.raises(ApiError) as refusal:
        refuse(process.sums.exceeded(both))
    assert (refusal.value.code, refusal.value.retry_after) == ("monthly_token_limit", 31 * 86_400)
    assert refusal.value.message == "key 'a' may use 30 token(s) a month (UTC), and has used 30"


def test_sums_that_nobody_has_renewed_for_half_a_minute_are_not_current() -> None:
    process, one = Process(), holder(tokens_per_day=1)
    assert not process.sums.want(one)
    process.ask()
    assert process.sums.want(one)
    process.now += 30.1
    assert not process.sums.want(one)
