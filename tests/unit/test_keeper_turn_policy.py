"""Which engine may have the card: pure."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit import keeper_kit

from ebbtide_keeper.turn_policy import SETTLE_SECONDS, Engine, Turn, steps  # isort: skip

assert keeper_kit

TURN = 30.0


def awake(pod: str = "a", since: float = 0, busy_since: float | None = None, **others: float | bool | None) -> Engine:
    return Engine(pod, "awake", since, busy_since, turn=TURN, **others)  # type: ignore[arg-type]


def asleep(pod: str = "b", since: float = 0, busy_since: float | None = None) -> Engine:
    return Engine(pod, "asleep", since, busy_since, turn=TURN)


def waiting(pod: str = "c", since: float = 0) -> Engine:
    return Engine(pod, "waiting", since, turn=TURN)


def test_an_empty_card_goes_to_who_has_waited_longest() -> None:
    assert steps([asleep("a"), asleep("b")], 100) == []
    assert steps([asleep("b", busy_since=9), waiting("c", since=8)], 100) == [Turn("begin", "c")]
    assert steps([asleep("b", busy_since=7), waiting("c", since=8)], 100) == [Turn("wake", "b")]


def test_who_was_just_put_to_sleep_waits_behind_who_waited_meanwhile() -> None:
    assert steps([asleep("a", since=50, busy_since=0), asleep("b", since=10, busy_since=40)], 51) == [Turn("wake", "b")]


def test_who_is_not_asked_gives_way_at_once_once_it_is_settled() -> None:
    claims = asleep("b", busy_since=100)
    assert steps([awake("a", since=0), claims], 100) == [Turn("sleep", "a")]
    assert steps([awake("a", since=100), claims], 100 + SETTLE_SECONDS - 0.1) == []
    assert steps([awake("a", since=100), claims], 100 + SETTLE_SECONDS) == [Turn("sleep", "a")]


def test_who_is_asked_gives_way_when_its_turn_is_over() -> None:
    claims = asleep("b", busy_since=100)
    assert steps([awake("a", since=90, busy_since=90), claims], 90 + TURN - 0.1) == []
    assert steps([awake("a", since=90, busy_since=90), claims], 90 + TURN) == [Turn("sleep", "a")]
    assert steps([awake("a", since=90, busy_since=90)], 900) == [], "nobody else wants the card"


def test_nothing_is_given_while_an_engine_loads_moves_or_keeps_silent() -> None:
    assert steps([Engine("a", "moving", 0), asleep("b", busy_since=1), waiting("c")], 1000) == []


def test_an_engine_that_is_told_to_go_is_neither_moved_nor_given_the_card_and_holds_it_until_it_is_gone() -> None:
    assert steps([awake("a", leaving=True), asleep("b", busy_since=1)], 1000) == []
    assert steps([replace(asleep("a", busy_since=1), leaving=True)], 1000) == []
    assert steps([replace(waiting("c"), leaving=True), asleep("b", busy_since=5)], 1000) == [Turn("wake", "b")]


def test_an_engine_falls_asleep_by_itself_after_its_own_time() -> None:
    idle = awake("a", since=0, idle=60.0, sleep_after=60.0)
    assert steps([idle], 100) == [Turn("sleep", "a")]
    assert steps([replace(idle, idle=59.9)], 100) == []
    assert steps([replace(idle, since=41.0)], 100) == [], "awake for less than that, whatever the gateway remembers"
    assert steps([replace(idle, busy_since=99.0)], 100) == []
    assert steps([replace(idle, sleep_after=None)], 10_000) == []


engines = st.lists(
    st.builds(
        Engine,
        pod=st.just(""),
        state=st.sampled_from(["waiting", "moving", "awake", "asleep"]),
        since=st.floats(0, 100),
        busy_since=st.none() | st.floats(0, 100),
        idle=st.floats(0, 100),
        turn=st.floats(1, 50),
        sleep_after=st.none() | st.floats(1, 50),
        leaving=st.booleans(),
    ),
    max_size=6,
).map(lambda card: [replace(engine, pod=str(number)) for number, engine in enumerate(card)])


@given(engines)
def test_the_card_is_given_to_one_engine_and_only_when_no_other_has_it(card: list[Engine]) -> None:
    moves = steps(card, 100)
    given_to = [step.pod for step in moves if step.move != "sleep"]
    assert len(given_to) <= 1
    if given_to:
        assert not any(engine.state in ("moving", "awake") for engine in card)
    assert len({step.pod for step in moves}) == len(moves)


@settings(max_examples=2 * settings.default.max_examples)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), min_size=2, max_size=5))
def test_everybody_who_asks_gets_the_card_in_time(crowd: list[tuple[bool, int]]) -> None:
    """Engines that all want the card for ever, each coming at its own time: every one has it again and again, within a
    turn and a moment for each other one."""
    card = [
        Engine(str(number), "waiting" if starts else "asleep", float(at), None if starts else float(at), turn=TURN)
        for number, (starts, at) in enumerate(crowd)
    ]
    last = {engine.pod: 40.0 for engine in card}
    for tick in range(40, 40 + 8 * len(card) * int(TURN + SETTLE_SECONDS)):
        now = float(tick)
        for step in steps(card, now):
            index = int(step.pod)
            after = "asleep" if step.move == "sleep" else "awake"
            assert not (after == "awake" and any(engine.state == "awake" for engine in card))
            card[index] = replace(card[index], state=after, since=now, busy_since=0.0)  # type: ignore[arg-type]
        for engine in card:
            if engine.state == "awake":
                last[engine.pod] = now
            assert now - last[engine.pod] <= (TURN + 2) * len(card), engine.pod
