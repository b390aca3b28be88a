"""Wake rights, wakes a day, requests and tokens a minute and requests at once, by clocks that the tests hold."""

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
from ebbtide_gateway.keys import Caller  # isort: skip
from ebbtide_gateway.limits import UsageLimits  # isort: skip

assert kit
BIG = settings.Model(name="big", host="big.ebbtide-models", gpus=2, holdSeconds=5)
NIGHT = 20_000 * 86_400.0  # a midnight


@dataclass
class Clock:
    now: float

    def __call__(self) -> float:
        return self.now


def caller(
    name: str = "ci", wake: frozenset[str] | None = None, key: UsageLimits | None = None, **limits: int
) -> Caller:
    """Somebody of a group with these limits; ``key``: the key's own."""
    group = Group(name, frozenset({"*"}), wake, UsageLimits(**limits) if limits else None)
    return Caller("alice", group, "k1", key)


def lately(**counts: dict[str, dict[str, int]]) -> dict[str, dict[str, dict[str, int]]]:
    """What the wake keeper says of all processes."""
    return {"requests": {}, "tokens": {}, "concurrent": {}} | counts


def test_a_group_without_the_right_is_told_whom_to_ask() -> None:
    poor = caller(wake=frozenset({"small"}))
    rest = [caller("ops").rights, caller("leads", wake=frozenset({"big"})).rights]
    others = [poor.rights, Group("small-only", frozenset({"small"})), *rest]
    with pytest.raises(ApiError) as refusal:
        Budgets().may_wake(poor, BIG, others)
    assert (refusal.value.status, refusal.value.code) == (403, "wake_not_allowed")
    assert refusal.value.message == (
        "model 'big' sleeps, and group 'ci' may use it only while it is awake; ask somebody with a key of group "
        "leads or ops"
    )
    with pytest.raises(ApiError, match="no group may wake it"):
        Budgets().may_wake(poor, BIG, [poor.rights])


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
    budgets, two = Budgets(wall=wall), caller(max_wakes_per_day=2)
    for _ in range(2):
        budgets.wake(two, BIG, [])
    with pytest.raises(ApiError) as refusal:
        budgets.may_wake(two, BIG, [])
    assert (refusal.value.status, refusal.value.code) == (429, "wake_budget")
    assert refusal.value.retry_after == 23 * 3600
    budgets.wake(caller("other", max_wakes_per_day=1), BIG, [])
    wall.now = NIGHT + 86_399
    with pytest.raises(ApiError):
        budgets.wake(two, BIG, [])
    wall.now = NIGHT + 86_400
    budgets.wake(two, BIG, [])


def test_wakes_of_other_processes_count_until_midnight_and_its_own_are_not_counted_twice() -> None:
    wall = Clock(NIGHT + 3600)
    budgets, three = Budgets(wall=wall), caller(max_wakes_per_day=3)
    budgets.wake(three, BIG, [])
    counts = {
        budgets.process: {"group:ci": 1},
        "gone": {"group:ci": 1, "group:other": 9},
        "beside": {"group:ops": 4},
    }
    budgets.elsewhere({"day": 20_000, "wakes": counts})
    budgets.wake(three, BIG, [])
    with pytest.raises(ApiError, match="3 time"):
        budgets.wake(three, BIG, [])
    budgets.elsewhere({"day": 19_999, "wakes": {}})
    with pytest.raises(ApiError):
        budgets.may_wake(three, BIG, [])
    wall.now = NIGHT + 86_400
    budgets.elsewhere({"day": 20_000, "wakes": counts})
    for _ in range(3):
        budgets.wake(three, BIG, [])


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"day": 20000}', '{"day": 20000, "wakes": {"p": 3}}', None])
def test_a_keeper_that_says_nothing_of_use_changes_nothing(body: str | None) -> None:
    budgets, one = Budgets(wall=Clock(NIGHT + 3600)), caller(max_wakes_per_day=1)
    budgets.elsewhere({"day": 20_000, "wakes": {"gone": {"group:ci": 1}}})

    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "http://keeper:9090/wakes"
        return httpx.Response(404 if body is None else 200, text=body or "")

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    asyncio.run(SharedUsage("http://keeper:9090", budgets, client).wakes())
    with pytest.raises(ApiError):
        budgets.may_wake(one, BIG, [])


def test_requests_are_counted_over_the_last_minute_and_the_refused_ones_are_not() -> None:
    clock = Clock(100.0)
    budgets, two = Budgets(clock=clock), caller(requests_per_minute=2)
    budgets.ask(two)
    clock.now = 130.0
    budgets.ask(two)
    for _ in range(3):
        with pytest.raises(ApiError) as refusal:
            budgets.ask(two)
    assert (refusal.value.status, refusal.value.code, refusal.value.retry_after) == (429, "request_limit", 30.0)
    budgets.ask(caller("other", requests_per_minute=1))
    clock.now = 160.0
    budgets.ask(two)
    with pytest.raises(ApiError):
        budgets.ask(two)


@given(st.lists(st.floats(0, 40), min_size=1, max_size=60), st.integers(1, 5))
def test_no_minute_has_more_requests_than_the_limit(pauses: list[float], most: int) -> None:
    clock = Clock(0.0)
    budgets, some = Budgets(clock=clock), caller(requests_per_minute=most)
    passed, waits = [], []
    for pause in pauses:
        clock.now += pause
        try:
            budgets.ask(some)
            passed.append(clock.now)
        except ApiError as refusal:
            waits.append(refusal.retry_after or 0)
    assert all(0 < seconds <= 60 for seconds in waits)
    for start in passed:
        assert sum(0 <= moment - start < 60 for moment in passed) <= most


def test_requests_elsewhere_count_until_nothing_was_heard_for_ten_seconds() -> None:
    clock = Clock(100.0)
    budgets, three = Budgets(clock=clock), caller(requests_per_minute=3)
    budgets.ask(three)
    own, beside, third = {"group:ci": 1}, {"group:ci": 1, "group:ops": 9}, {"group:ci": 1}
    budgets.beside(lately(requests={budgets.process: own, "beside": beside, "third": third}))
    with pytest.raises(ApiError) as refusal:
        budgets.ask(three)
    assert (refusal.value.code, refusal.value.retry_after) == ("request_limit", 60.0)
    clock.now = 110.0
    with pytest.raises(ApiError):
        budgets.ask(three)
    clock.now = 110.1
    budgets.ask(three)
    assert budgets.lately()["requests"] == {"group:ci": 2}
    clock.now = 165.0
    assert budgets.lately()["requests"] == {"group:ci": 1}


def test_who_is_refused_for_requests_elsewhere_alone_is_told_to_ask_again_soon() -> None:
    budgets, one = Budgets(clock=Clock(100.0)), caller(requests_per_minute=1)
    budgets.beside(lately(requests={"beside": {"group:ci": 1}}))
    with pytest.raises(ApiError) as refusal:
        budgets.ask(one)
    assert refusal.value.retry_after == 5.0


class Keeper:
    """What the wake keeper says of the other processes, by a clock that each pause moves."""

    def __init__(self, budgets: Budgets, clock: Clock) -> None:
        self.clock, self.asked, self.status = clock, 0, 200
        self.answering = asyncio.Event()
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.elsewhere = SharedUsage("http://keeper:9090", budgets, client, clock, self._pause)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "http://keeper:9090/requests"
        self.asked += 1
        await self.answering.wait()
        return httpx.Response(self.status, json=lately(requests={"beside": {"group:ci": 1}}))

    async def _pause(self, seconds: float) -> None:
        self.clock.now += seconds
        await asyncio.sleep(0)


def test_the_first_request_waits_for_the_keeper_which_is_then_asked_each_second_for_a_minute() -> None:
    clock = Clock(100.0)
    budgets, one = Budgets(clock=clock), caller(requests_per_minute=1)

    async def ask() -> None:
        keeper = Keeper(budgets, clock)
        two_at_once = [asyncio.create_task(keeper.elsewhere.follow()) for _ in range(2)]
        for _ in range(9):
            await asyncio.sleep(0)
        assert (keeper.asked, [each.done() for each in two_at_once]) == (1, [False, False])
        keeper.answering.set()
        await asyncio.gather(*two_at_once)
        with pytest.raises(ApiError):
            budgets.ask(one)
        assert keeper.elsewhere._following is not None
        await keeper.elsewhere._following
        assert (keeper.asked, clock.now) == (61, 161.0), "and no longer, since nobody asked meanwhile"

    asyncio.run(ask())


def test_a_keeper_that_is_away_is_waited_for_once() -> None:
    clock = Clock(100.0)

    async def ask() -> None:
        keeper = Keeper(Budgets(clock=clock), clock)
        keeper.status = 503
        keeper.answering.set()
        await keeper.elsewhere.follow()
        keeper.answering.clear()
        async with asyncio.timeout(5):
            await keeper.elsewhere.follow()

    asyncio.run(ask())


def code_and_text(budgets: Budgets, who: Caller) -> tuple[str, str, float | None]:
    with pytest.raises(ApiError) as refusal:
        budgets.ask(who)
    assert refusal.value.status == 429
    return refusal.value.code, refusal.value.message, refusal.value.retry_after


def test_tokens_of_a_minute_refuse_the_next_request_until_enough_of_them_are_a_minute_old() -> None:
    clock = Clock(100.0)
    budgets, few = Budgets(clock=clock), caller(tokens_per_minute=100)
    for clock.now, tokens in ((100.0, 60), (110.0, 39), (120.0, 70)):
        budgets.ask(few)
        budgets.used(few, tokens)
    text = "group 'ci' may use 100 token(s) a minute, and has used 169"
    assert code_and_text(budgets, few) == ("token_limit", text, 50.0)
    clock.now = 169.9
    code_and_text(budgets, few)
    clock.now = 170.0
    budgets.ask(few)
    budgets.beside(lately(tokens={"beside": {"group:ci": 30}}))
    assert code_and_text(budgets, few)[0] == "token_limit"


def test_requests_at_once_end_with_the_request() -> None:
    budgets, two = Budgets(), caller(key=UsageLimits(concurrent_requests=2))
    with budgets.at_once(two), budgets.at_once(two):
        text = "key 'alice' may have 2 request(s) at once, and has 2"
        assert code_and_text(budgets, two) == ("concurrency_limit", text, 2)
    budgets.ask(two)
    assert budgets.lately()["concurrent"] == {}
    budgets.beside(lately(concurrent={"beside": {"key:k1": 2, "group:ci": 9}}))
    code_and_text(budgets, two)


def test_the_smallest_limit_wins_and_of_several_the_one_that_holds_longest_is_named() -> None:
    clock = Clock(100.0)
    budgets = Budgets(clock=clock)
    both = caller(requests_per_minute=3, key=UsageLimits(requests_per_minute=1))
    budgets.ask(both)
    assert code_and_text(budgets, both)[1] == "key 'alice' may send 1 request(s) a minute, and has"
    other = Caller("bob", both.rights, "k2")
    clock.now = 130.0
    for _ in range(2):
        budgets.ask(other)
    assert code_and_text(budgets, other)[1] == "group 'ci' may send 3 request(s) a minute, and has"
    clock.now = 159.0
    assert code_and_text(budgets, both)[2] == 1.0
    clock.now = 160.0
    budgets.ask(both)
    clock.now = 161.0
    assert code_and_text(budgets, both)[1:] == ("key 'alice' may send 1 request(s) a minute, and has", 59.0)


def test_wakes_of_a_key_are_counted_beside_its_groups() -> None:
    budgets, one = Budgets(wall=Clock(NIGHT + 3600)), caller(key=UsageLimits(max_wakes_per_day=1))
    budgets.wake(one, BIG, [])
    assert budgets.begun() == (20_000, {"group:ci": 1, "key:k1": 1})
    with pytest.raises(ApiError, match="key 'alice' may wake models 1 time"):
        budgets.wake(one, BIG, [])
    budgets.wake(caller(), BIG, [])


@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1.5)), min_size=1, max_size=80),
)
def test_several_processes_let_pass_at_most_what_each_lets_pass_while_it_has_not_heard_of_the_others(
    most: int, sent: list[tuple[int, float]]
) -> None:
    """Each hears each second what the others had a second before: the bound that docs/gateway.md states."""
    clock = Clock(100.0)
    few = caller(requests_per_minute=most)
    processes = [Budgets(clock=clock) for _ in range(3)]
    news: list[tuple[float, dict[str, dict[str, int]]]] = []
    passed: list[tuple[float, int]] = []
    heard = 0.0
    for which, pause in sent:
        clock.now += pause
        if clock.now - heard >= 1:
            heard = clock.now
            news.append((heard, {each.process: dict(each.lately()["requests"]) for each in processes}))
            old = [counts for moment, counts in news if moment <= heard - 1]
            for each in processes if old else ():
                each.beside(lately(requests=old[-1]))
        try:
            processes[which].ask(few)
            passed.append((clock.now, which))
        except ApiError:
            pass
    # what one of them let pass in five seconds, longer than any of them goes here without news of the others
    burst = max(sum(which == other and 0 <= at - moment < 5 for at, other in passed) for moment, which in passed)
    for start, _ in passed:
        assert sum(0 <= moment - start < 60 for moment, _ in passed) <= most + 2 * burst


def test_a_group_without_limits_is_not_counted() -> None:
    budgets, free = Budgets(), caller()
    for _ in range(1000):
        budgets.ask(free)
        budgets.wake(free, BIG, [])
