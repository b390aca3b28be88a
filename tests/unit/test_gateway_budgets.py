"""Wake rights, wakes a day and requests a minute, by clocks that the tests hold."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import gateway_kit as kit  # puts the image's package on the path

from ebbtide_gateway import settings  # isort: skip
from ebbtide_gateway.budgets import Budgets, Group  # isort: skip
from ebbtide_gateway.budgets import SharedUsage  # isort: skip
from ebbtide_gateway.errors import ApiError  # isort: skip

assert kit
BIG = settings.Model(name="big", host="big.ebbtide-models", gpus=2, holdSeconds=5)
NIGHT = 20_000 * 86_400.0  # a midnight


@dataclass
class Clock:
    now: float

    def __call__(self) -> float:
        return self.now


def group(name: str = "ci", **limits: object) -> Group:
    return Group(name, frozenset({"*"}), **limits)  # type: ignore[arg-type]


def test_a_group_without_the_right_is_told_whom_to_ask() -> None:
    poor = group(wake=frozenset({"small"}))
    others = [poor, group("ops"), Group("small-only", frozenset({"small"})), group("leads", wake=frozenset({"big"}))]
    with pytest.raises(ApiError) as refusal:
        Budgets().may_wake(poor, BIG, others)
    assert (refusal.value.status, refusal.value.code) == (403, "wake_not_allowed")
    assert refusal.value.message == (
        "model 'big' sleeps, and group 'ci' may use it only while it is awake; ask somebody with a key of group "
        "leads or ops"
    )
    with pytest.raises(ApiError, match="no group may wake it"):
        Budgets().may_wake(poor, BIG, [poor])


@pytest.mark.parametrize(
    ("models", "wake", "may"),
    [
        ({"*"}, None, True),
        ({"big"}, None, True),
        ({"*"}, {"*"}, True),
        ({"*"}, {"big"}, True),
        ({"*"}, {"small"}, False),
        ({"*"}, set(), False),
        ({"small"}, {"*"}, False),
    ],
)
def test_the_right_to_wake_never_goes_beyond_the_right_to_use(
    models: set[str], wake: set[str] | None, may: bool
) -> None:
    rights = Group("g", frozenset(models), None if wake is None else frozenset(wake))
    assert rights.may_wake("big") is may


def test_wakes_are_counted_by_group_until_midnight_utc() -> None:
    wall = Clock(NIGHT + 3600)
    budgets, two = Budgets(wall=wall), group(max_wakes_per_day=2)
    for _ in range(2):
        budgets.wake(two, BIG, [two])
    with pytest.raises(ApiError) as refusal:
        budgets.may_wake(two, BIG, [two])
    assert (refusal.value.status, refusal.value.code) == (429, "wake_budget")
    assert refusal.value.retry_after == 23 * 3600
    budgets.wake(group("other", max_wakes_per_day=1), BIG, [])
    wall.now = NIGHT + 86_399
    with pytest.raises(ApiError):
        budgets.wake(two, BIG, [two])
    wall.now = NIGHT + 86_400
    budgets.wake(two, BIG, [two])


def test_wakes_of_other_processes_count_until_midnight_and_its_own_are_not_counted_twice() -> None:
    wall = Clock(NIGHT + 3600)
    budgets, three = Budgets(wall=wall), group(max_wakes_per_day=3)
    budgets.wake(three, BIG, [three])
    told = {budgets.process: {"ci": 1}, "gone": {"ci": 1, "other": 9}, "beside": {"ops": 4}}
    budgets.elsewhere({"day": 20_000, "wakes": told})
    budgets.wake(three, BIG, [three])
    with pytest.raises(ApiError, match="3 time"):
        budgets.wake(three, BIG, [three])
    budgets.elsewhere({"day": 19_999, "wakes": {}})
    with pytest.raises(ApiError):
        budgets.may_wake(three, BIG, [three])
    wall.now = NIGHT + 86_400
    budgets.elsewhere({"day": 20_000, "wakes": told})
    for _ in range(3):
        budgets.wake(three, BIG, [three])


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"day": 20000}', '{"day": 20000, "wakes": {"p": 3}}', None])
def test_a_keeper_that_says_nothing_of_use_changes_nothing(said: str | None) -> None:
    budgets, one = Budgets(wall=Clock(NIGHT + 3600)), group(max_wakes_per_day=1)
    budgets.elsewhere({"day": 20_000, "wakes": {"gone": {"ci": 1}}})

    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "http://keeper:9090/wakes"
        return httpx.Response(404 if said is None else 200, text=said or "")

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    asyncio.run(SharedUsage("http://keeper:9090", budgets, client).wakes())
    with pytest.raises(ApiError):
        budgets.may_wake(one, BIG, [one])


def test_requests_are_counted_over_the_last_minute_and_the_refused_ones_are_not() -> None:
    clock = Clock(100.0)
    budgets, two = Budgets(clock=clock), group(requests_per_minute=2)
    budgets.ask(two)
    clock.now = 130.0
    budgets.ask(two)
    for _ in range(3):
        with pytest.raises(ApiError) as refusal:
            budgets.ask(two)
    assert (refusal.value.status, refusal.value.code, refusal.value.retry_after) == (429, "request_limit", 30.0)
    budgets.ask(group("other", requests_per_minute=1))
    clock.now = 160.0
    budgets.ask(two)
    with pytest.raises(ApiError):
        budgets.ask(two)


@given(st.lists(st.floats(0, 40), min_size=1, max_size=60), st.integers(1, 5))
def test_no_minute_has_more_requests_than_the_limit(pauses: list[float], most: int) -> None:
    clock = Clock(0.0)
    budgets, some = Budgets(clock=clock), group(requests_per_minute=most)
    passed, told = [], []
    for pause in pauses:
        clock.now += pause
        try:
            budgets.ask(some)
            passed.append(clock.now)
        except ApiError as refusal:
            told.append(refusal.retry_after or 0)
    assert all(0 < seconds <= 60 for seconds in told)
    for start in passed:
        assert sum(0 <= moment - start < 60 for moment in passed) <= most


def test_requests_elsewhere_count_until_nothing_was_heard_for_ten_seconds() -> None:
    clock = Clock(100.0)
    budgets, three = Budgets(clock=clock), group(requests_per_minute=3)
    budgets.ask(three)
    budgets.beside({"requests": {budgets.process: {"ci": 1}, "beside": {"ci": 1, "ops": 9}, "third": {"ci": 1}}})
    with pytest.raises(ApiError) as refusal:
        budgets.ask(three)
    assert (refusal.value.code, refusal.value.retry_after) == ("request_limit", 60.0)
    clock.now = 110.0
    with pytest.raises(ApiError):
        budgets.ask(three)
    clock.now = 110.1
    budgets.ask(three)
    assert budgets.recent_requests() == {"ci": 2}
    clock.now = 165.0
    assert budgets.recent_requests() == {"ci": 1}


def test_who_is_refused_for_requests_elsewhere_alone_is_told_to_ask_again_soon() -> None:
    budgets, one = Budgets(clock=Clock(100.0)), group(requests_per_minute=1)
    budgets.beside({"requests": {"beside": {"ci": 1}}})
    with pytest.raises(ApiError) as refusal:
        budgets.ask(one)
    assert refusal.value.retry_after == 5.0


def test_no_request_waits_for_the_keeper_which_is_asked_once_a_second_at_most() -> None:
    clock, asked, answering = Clock(100.0), [], asyncio.Event()
    budgets, one = Budgets(clock=clock), group(requests_per_minute=1)

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        await answering.wait()
        return httpx.Response(200, json={"requests": {"beside": {"ci": 1}}})

    async def ask() -> None:
        client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        elsewhere = SharedUsage("http://keeper:9090", budgets, client, clock)
        for clock.now in (100.0, 100.5, 103.0):
            elsewhere.refresh()
            await asyncio.sleep(0)
        assert asked == ["http://keeper:9090/requests"], "one question is still open"
        answering.set()
        assert elsewhere._asking is not None
        await elsewhere._asking
        with pytest.raises(ApiError):
            budgets.ask(one)
        elsewhere.refresh()
        await elsewhere._asking
        elsewhere.refresh()
        await elsewhere._asking
        assert len(asked) == 2

    asyncio.run(ask())


def test_a_group_without_limits_is_not_counted() -> None:
    budgets, free = Budgets(), group()
    for _ in range(1000):
        budgets.ask(free)
        budgets.wake(free, BIG, [free])
