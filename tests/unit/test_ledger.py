"""Ledger: over any day of wakes, streams, failures and clocks that are set, its charges are all that the nodes cost."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import gateway_kit  # puts the image's package on the path

from ebbtide_accounts.ledger.charges import charges  # isort: skip
from ebbtide_accounts.ledger.records import (  # isort: skip
    DAY,
    HOUR,
    SECOND,
    Charge,
    Node,
    Pod,
    Request,
    WarmWindow,
)

assert gateway_kit

MODELS, NODES = ("small", "large"), ("n0", "n1", "n2", "nobody-saw-it")
END = 40
PRICE = Fraction("3.6")


@dataclass(frozen=True)
class Story:
    """All that happened, some of it impossible."""

    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]
    requests: tuple[Request, ...]
    windows: tuple[WarmWindow, ...]

    def charges(self, since: int = 0, until: int = END) -> list[Charge]:
        return charges(self.nodes, self.pods, self.requests, self.windows, since, until)

    def cost(self, since: int = 0, until: int = END) -> Fraction:
        priced = [node for node in self.nodes if node.usd_per_hour is not None]
        return sum((overlap(node, since, until) * (node.usd_per_hour or 0) / HOUR for node in priced), Fraction(0))


def overlap(life: Any, since: int, until: int) -> int:
    return max(0, min(life.end, until) - max(life.start, since))


moments = st.integers(-3, END + 3)


# mostly as lives are, long enough to meet each other; now and then one that ends before it begins
lives = st.tuples(st.integers(-3, 12), st.integers(15, END + 3)) | st.tuples(moments, moments)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Few moments, so that things coincide."""
    prices = st.sampled_from([Fraction("12.29"), Fraction(1), Fraction("0.526"), None])
    nodes = [
        Node(
            f"u{n}", draw(st.sampled_from(NODES[:3])), draw(st.integers(0, 8)), draw(prices), *life, draw(st.booleans())
        )
        for n, life in enumerate(draw(st.lists(lives, min_size=1, max_size=4)))
    ]
    pods = []
    for n, (start, end) in enumerate(draw(st.lists(lives, min_size=1, max_size=6))):
        ready = draw(st.integers(start, start + 5) | st.none() | moments)
        where = draw(st.sampled_from(MODELS)), draw(st.sampled_from(NODES)), draw(st.integers(0, 5))
        pods.append(Pod(f"p{n}", *where, start, ready, end))
    requests = []
    for n, (start, end) in enumerate(draw(st.lists(lives, min_size=1, max_size=9))):
        whose = draw(st.sampled_from("ab")), f"key{n}", draw(st.sampled_from(MODELS))
        known_end = end if draw(st.integers(0, 9)) else None
        requests.append(Request(f"r{n}", *whose, start, known_end, draw(st.booleans()), draw(st.integers(0, 4)) > 0))
    windows = [
        WarmWindow(draw(st.sampled_from(MODELS)), *life, draw(st.integers(0, 3)))
        for life in draw(st.lists(lives, max_size=2))
    ]
    return Story(tuple(nodes), tuple(pods), tuple(requests), tuple(windows))


def moved(story: Story, by: int) -> Story:
    """It, later: over a midnight."""

    def later(records: Iterable[Any]) -> tuple[Any, ...]:
        names = ("start", "ready", "end")
        return tuple(
            replace(each, **{name: at + by for name in names if (at := getattr(each, name, None)) is not None})
            for each in records
        )

    return Story(later(story.nodes), later(story.pods), later(story.requests), later(story.windows))


def dollars(entries: Iterable[Charge]) -> Fraction:
    return sum((charge.dollars for charge in entries), Fraction(0))


def amounts(entries: Iterable[Charge], *, days: bool = True) -> dict[Any, tuple[Fraction, ...]]:
    sums: defaultdict[Any, list[Fraction]] = defaultdict(lambda: [Fraction(0)] * 3)
    for each in entries:
        entry = each.group, each.key, each.model, each.day if days else 0, each.kind
        more = each.gpu_seconds, each.dollars, each.unpriced_gpu_seconds
        sums[entry] = [before + now for before, now in zip(sums[entry], more, strict=True)]
    return {entry: tuple(values) for entry, values in sums.items()}


@given(stories(), moments, moments)
def test_the_sum_of_all_charges_is_what_the_nodes_cost_exactly(story: Story, since: int, until: int) -> None:
    entries = story.charges(since, until)
    assert dollars(entries) == story.cost(since, until)
    assert all(each.dollars >= 0 and each.gpu_seconds >= 0 for each in entries), "nobody is paid"


@given(stories(), st.integers(0, END))
def test_a_period_in_two_parts_costs_each_payer_the_same(story: Story, cut: int) -> None:
    parts = story.charges(0, cut) + story.charges(cut, END)
    assert amounts(parts) == amounts(story.charges())


@given(stories(), st.integers(1, END - 1))
def test_a_midnight_moves_nothing_from_one_payer_to_another(story: Story, midnight: int) -> None:
    by = 20 * DAY - midnight
    split = moved(story, by).charges(by, by + END)
    assert amounts(split, days=False) == amounts(story.charges(), days=False)
    cost: Counter[int] = Counter()
    for each in split:
        cost[each.day] += each.dollars  # type: ignore[assignment]
    assert (cost[19], cost[20]) == (story.cost(0, midnight), story.cost(midnight, END))


@given(stories())
def test_twice_the_price_is_twice_each_charge(story: Story) -> None:
    twice = replace(
        story, nodes=tuple(replace(n, usd_per_hour=n.usd_per_hour and n.usd_per_hour * 2) for n in story.nodes)
    )
    assert twice.charges() == [replace(each, dollars=each.dollars * 2) for each in story.charges()]


@given(stories(), st.randoms(use_true_random=False))
def test_the_order_of_what_is_read_changes_nothing(story: Story, chance: random.Random) -> None:
    def mixed(records: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(chance.sample(records, len(records)))

    other = Story(mixed(story.nodes), mixed(story.pods), mixed(story.requests), mixed(story.windows))
    assert other.charges() == story.charges()


@given(stories())
def test_each_gpu_second_of_each_pod_is_charged_once(story: Story) -> None:
    """Of nodes that are large enough and each name of one node: what pods hold is neither lost nor counted twice."""
    one_of_each = {node.name: node for node in story.nodes}
    nodes = tuple(replace(node, gpus=40) for node in one_of_each.values())
    story = replace(story, nodes=nodes)
    held = Fraction(0)
    for pod in story.pods:
        node = one_of_each.get(pod.node)
        start, end = (pod.start, pod.end) if node is None else (max(pod.start, node.start), min(pod.end, node.end))
        held += max(0, min(end, END) - max(start, 0)) * pod.gpus
    assert sum(each.gpu_seconds for each in story.charges() if each.kind != "node") == held / SECOND


@given(stories())
def test_serving_is_shared_equally_at_each_moment_and_only_while_a_pod_is_ready(story: Story) -> None:
    """Against the rule said plainly, moment by moment; of nodes as large as their pods and a name of one node each."""
    one_of_each = {node.name: replace(node, start=-5, end=END + 5) for node in story.nodes}
    story = replace(story, nodes=tuple(one_of_each.values()))
    expected: defaultdict[str, Fraction] = defaultdict(Fraction)
    for now in range(END):
        for model in MODELS:
            served = [each for each in story.requests if each.model == model and each.served and each.end is not None]
            asking = [each for each in served if each.start <= now < (each.end or 0)]
            there = [each for each in story.pods if each.model == model and each.start <= now < each.end]
            ready = [each for each in there if each.ready is not None and each.ready <= now]
            for request in asking:
                expected[request.key] += Fraction(sum(pod.gpus for pod in ready), len(asking))
    by_key: defaultdict[str, Fraction] = defaultdict(Fraction)
    for charge in story.charges():
        if charge.kind == "serving":
            assert charge.key is not None
            by_key[charge.key] += charge.gpu_seconds * SECOND
    assert by_key == {key: amount for key, amount in expected.items() if amount}


@given(stories())
def test_who_was_refused_and_woke_nobody_pays_nothing_and_changes_nothing(story: Story) -> None:
    refused = [replace(each, id="x" + each.id, key="refused", woke=False, served=False) for each in story.requests]
    assert replace(story, requests=(*story.requests, *refused)).charges() == story.charges()


@given(stories())
def test_a_request_pays_only_for_its_own_model(story: Story) -> None:
    models = {request.key: request.model for request in story.requests}
    for charge in story.charges():
        assert charge.key is None or charge.model == models[charge.key]
        assert (charge.group is None) == (charge.key is None)


# one hour each, on a node of 3.60 dollars an hour with two GPUs
def node(start: int, end: int, **more: Any) -> Node:
    return Node("u", "n", 2, PRICE, start * HOUR, end * HOUR, **more)


def pod(start: int, ready: int | None, end: int, uid: str = "p", gpus: int = 2, model: str = "small") -> Pod:
    return Pod(uid, model, "n", gpus, start * HOUR, None if ready is None else ready * HOUR, end * HOUR)


def ask(key: str, start: int, end: int | None, **more: Any) -> Request:
    return Request(key, "group", key, "small", start * HOUR, None if end is None else end * HOUR, **more)


def paid(
    nodes: list[Node], pods: list[Pod], requests: list[Request], windows: tuple[WarmWindow, ...] = ()
) -> dict[tuple[str | None, str], float]:
    """Hours of the node's price by key and kind."""
    entries = charges(nodes, pods, requests, windows, 0, 24 * HOUR)
    sums: Counter[tuple[str | None, str]] = Counter()
    for charge in entries:
        sums[charge.key, charge.kind] += charge.dollars / PRICE  # type: ignore[assignment]
    return {entry: float(hours) for entry, hours in sums.items()}


def test_a_day_of_one_model_is_paid_by_those_who_caused_it() -> None:
    # asked at 1, the node is there at 2, the pod at 3, ready at 5; the second comes at 7 while the first goes on
    requests = [ask("first", 1, 9, woke=True), ask("second", 7, 10)]
    assert paid([node(2, 14)], [pod(3, 5, 12)], requests) == {
        ("first", "node"): 1,
        ("first", "wake"): 2,
        ("first", "serving"): 3,
        ("second", "serving"): 2,
        ("second", "idle"): 2,
        ("second", "node"): 2,
    }


def test_a_wake_that_fails_is_paid_by_who_began_it() -> None:
    requests = [ask("caller", 1, 6, woke=True, served=False)]
    assert paid([node(2, 8)], [pod(3, None, 6)], requests) == {("caller", "node"): 3, ("caller", "wake"): 3}


def test_what_nobody_asked_for_is_the_stacks() -> None:
    assert paid([node(1, 9)], [pod(2, 4, 8)], [ask("refused", 1, 3, served=False)]) == {
        (None, "node"): 2,
        (None, "wake"): 2,
        (None, "idle"): 4,
    }


def test_a_model_that_is_kept_warm_costs_its_callers_their_requests_alone() -> None:
    window = WarmWindow("small", 2 * HOUR, 8 * HOUR)
    assert paid([node(2, 10)], [pod(2, 3, 9)], [ask("caller", 4, 5)], (window,)) == {
        ("caller", "serving"): 1,
        (None, "keep_warm"): 5,
        (None, "idle"): 1,
        (None, "node"): 1,
    }


def test_of_two_replicas_one_is_kept_warm_and_the_other_is_the_last_callers() -> None:
    window = WarmWindow("small", 0, 20 * HOUR, 1)
    pods = [pod(2, 3, 8, gpus=1), pod(4, 5, 8, "q", gpus=1)]
    payments = paid([node(2, 8)], pods, [ask("caller", 3, 6)], (window,))
    # from 2 to 4 the node's other GPU is paid for like the first; from 4 to 5 the second replica comes for the caller
    assert payments == {
        (None, "keep_warm"): 1.5,
        (None, "node"): 0.5,
        ("caller", "serving"): 2.0,
        ("caller", "node"): 0.5,
        ("caller", "wake"): 0.5,
        ("caller", "idle"): 1.0,
    }


def test_a_node_is_paid_for_by_those_who_hold_some_of_it_and_a_standing_one_by_the_stack_when_nobody_does() -> None:
    pods = [pod(2, 2, 6, gpus=1), pod(4, 4, 6, "q", gpus=1, model="large")]
    requests = [ask("caller", 2, 6, woke=True)]
    assert paid([node(0, 8, standing=True)], pods, requests) == {
        (None, "node"): 4,
        (None, "idle"): 1,
        ("caller", "serving"): 2,
        ("caller", "node"): 1,
    }


def test_a_request_whose_end_nobody_knows_pays_for_the_time_in_which_nobody_else_asks() -> None:
    requests = [ask("killed", 1, None, woke=True), ask("other", 4, 5)]
    assert paid([node(1, 8)], [pod(1, 2, 8)], requests) == {
        ("killed", "wake"): 1,
        ("killed", "idle"): 2,
        ("other", "serving"): 1,
        ("other", "idle"): 3,
    }


@pytest.mark.parametrize("price", [PRICE, None])
def test_gpus_without_a_price_are_said_apart(price: Fraction | None) -> None:
    entries = charges([replace(node(0, 2), usd_per_hour=price)], [], [], [], 0, 24 * HOUR)
    unpriced = 0 if price is not None else 4 * 3600
    assert [(each.gpu_seconds, each.unpriced_gpu_seconds) for each in entries] == [(4 * 3600, unpriced)]


def test_a_request_over_midnight_pays_on_each_day_for_its_own_part() -> None:
    entries = charges([node(20, 28)], [pod(20, 20, 28)], [ask("caller", 21, 27)], [], 0, 48 * HOUR)
    serving = {charge.day: charge.dollars / PRICE for charge in entries if charge.kind == "serving"}
    assert serving == {0: 3, 1: 3}


def test_pods_that_hold_more_than_their_node_is_known_to_have_share_it_and_nobody_is_paid() -> None:
    pods = [pod(1, 1, 3, gpus=3), pod(1, 1, 3, "q", gpus=1, model="large")]
    entries = charges([node(1, 3)], pods, [], [], 0, 24 * HOUR)
    assert {(each.model, each.kind): each.dollars / PRICE for each in entries} == {
        ("small", "idle"): Fraction(3, 2),
        ("large", "idle"): Fraction(1, 2),
    }


def test_when_what_is_shared_changes_each_pays_for_the_time_in_which_it_asked() -> None:
    # alone from 2 to 4 with one GPU of two; from 4 to 6 with a second pod, and two ask
    pods = [pod(2, 2, 6, gpus=1), pod(4, 4, 6, "q", gpus=1)]
    payments = paid([node(2, 6)], pods, [ask("first", 2, 6), ask("second", 4, 6)])
    assert payments == {("first", "serving"): 2.0, ("first", "node"): 1.0, ("second", "serving"): 1.0}
