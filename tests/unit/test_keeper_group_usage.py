"""What the keeper tells of the wakes and the requests of each group."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.unit import gateway_kit

from ebbtide_gateway.budgets import Budgets, Group  # isort: skip
from ebbtide_gateway.keys import Caller  # isort: skip
from ebbtide_gateway.limits import UsageLimits  # isort: skip
from ebbtide_gateway.metrics import Metrics  # isort: skip
from ebbtide_gateway.settings import Model  # isort: skip
from ebbtide_keeper.group_usage import GroupUsage, counted, lately  # isort: skip
from prometheus_client import generate_latest

assert gateway_kit
DAY, HOUR = 86_400, 3_600
BIG = Model(name="big", host="big.ebbtide-models", gpus=2, holdSeconds=5)
NAMED = 'a "quoted", odd name'


class Gateways:
    """Processes by host, each with its own counts; one that is None does not answer."""

    def __init__(self) -> None:
        self.now = 20_000.5 * DAY
        self.by_host: dict[str, Budgets | None] = {}
        self.are_known = True
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.asked = 0
        self.used = GroupUsage(self._addresses, client, lambda: self.now, lambda: self.now)

    def start(self, host: str) -> Budgets:
        budgets = self.by_host[host] = Budgets(wall=lambda: self.now, clock=lambda: self.now)
        return budgets

    def _addresses(self) -> list[str] | None:
        return [f"http://{host}:9090" for host in self.by_host] if self.are_known else None

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        budgets = self.by_host[request.url.host]
        if budgets is None:
            raise httpx.ConnectError("refused")
        metrics = Metrics()
        metrics.count_used(budgets)
        names = request.url.params.get_list("name[]")
        return httpx.Response(200, content=generate_latest(metrics.registry.restricted_registry(names)))

    def told(self) -> dict[str, Any]:
        async def once() -> dict[str, Any]:
            return await self.used.wakes()

        return asyncio.run(once())

    def requests(self) -> Any:
        async def once() -> Any:
            return await self.used.requests()

        return asyncio.run(once())


def woke(budgets: Budgets, name: str, times: int = 1) -> None:
    for _ in range(times):
        budgets.wake(caller(name), BIG, [])


def caller(name: str, limits: UsageLimits | None = None, key: UsageLimits | None = None) -> Caller:
    return Caller("alice", Group(name, frozenset({"*"}), limits=limits), "k1", key)


def test_each_process_is_told_with_its_groups_and_one_that_is_gone_too() -> None:
    gateways = Gateways()
    one, two = gateways.start("one"), gateways.start("two")
    woke(one, "ci", 2)
    woke(two, "ci")
    woke(two, NAMED)
    answer = {"day": 20_000, "wakes": {one.process: {"group:ci": 2}, two.process: {"group:ci": 1, f"group:{NAMED}": 1}}}
    assert gateways.told() == answer
    gateways.by_host = {"one": None}
    assert gateways.told() == answer
    gateways.are_known = False
    assert gateways.told() == answer


def test_a_new_process_adds_to_what_the_last_one_had() -> None:
    gateways = Gateways()
    woke(gateways.start("one"), "ci", 2)
    gateways.told()
    after = gateways.start("one")
    woke(after, "ci")
    assert sorted(sum(each.values()) for each in gateways.told()["wakes"].values()) == [1, 2]
    after.elsewhere(gateways.told())
    assert after.begun() == (20_000, {"group:ci": 1})


def test_the_day_after_nothing_is_left_and_two_days_later_nothing_is_kept() -> None:
    gateways = Gateways()
    woke(gateways.start("one"), "ci", 2)
    gateways.told()
    gateways.now += DAY
    assert gateways.told() == {"day": 20_001, "wakes": {}}
    gateways.now += DAY
    gateways.told()
    assert gateways.used._days == {}


def test_the_last_minutes_requests_are_those_of_the_living_and_of_groups_with_a_limit() -> None:
    gateways = Gateways()
    one, two = gateways.start("one"), gateways.start("two")
    few, free = caller(NAMED, UsageLimits(requests_per_minute=9)), caller("free")
    for budgets, who in ((one, few), (one, few), (two, few), (two, free)):
        budgets.ask(who)
    label = f"group:{NAMED}"
    assert gateways.requests()["requests"] == {one.process: {label: 2}, two.process: {label: 1}}
    gateways.now += 30
    two.ask(few)
    gateways.now += 30
    assert gateways.requests()["requests"] == {one.process: {label: 0}, two.process: {label: 1}}
    gateways.now += 1
    gateways.by_host["two"] = None
    assert gateways.requests()["requests"] == {one.process: {label: 0}}
    gateways.now += 1
    gateways.are_known = False
    assert gateways.requests() == {"requests": {}, "tokens": {}, "concurrent": {}}


def test_tokens_of_the_last_minute_and_requests_at_once_are_told_by_group_and_by_key() -> None:
    gateways = Gateways()
    one = gateways.start("one")
    both = caller(NAMED, UsageLimits(tokens_per_minute=9), UsageLimits(tokens_per_minute=5, concurrent_requests=2))
    with one.at_once(both):
        one.used(both, 7)
        assert gateways.requests() == {
            "requests": {},
            "tokens": {one.process: {f"group:{NAMED}": 7, "key:k1": 7}},
            "concurrent": {one.process: {"key:k1": 1}},
        }


def test_however_many_want_to_know_each_process_is_asked_once_a_second() -> None:
    gateways = Gateways()
    gateways.start("one")
    gateways.start("two")

    async def many() -> int:
        assert len(await asyncio.gather(*(gateways.used.requests() for _ in range(50)))) == 50
        return gateways.asked

    async def through_a_second() -> list[int]:
        asked = []
        for gateways.now in (100.0, 100.9, 101.0):
            asked.append(await many())
        return asked

    assert asyncio.run(through_a_second()) == [2, 2, 4]


def test_what_is_no_such_metric_is_not_counted() -> None:
    other = 'ebbtide_gateway_in_flight_requests{model="small"} 3.0\n'
    assert (counted(""), counted(other), lately(["", other])) == ([], [], lately([]))
