"""Which of the engines on one card may have it: pure. One is awake, the others sleep in main memory or wait to start.

Nothing here can cut an answer: who is put to sleep finishes what it runs, and takes up what came meanwhile when it is
awake again. A wrong guess costs a moment, so the rules are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["waiting", "moving", "awake", "asleep"]
Move = Literal["begin", "wake", "sleep"]

SETTLE_SECONDS = 5.0
"""How long an engine that nobody asks keeps the card from others: who was waited for is asked a moment after it came.
"""


@dataclass(frozen=True)
class Engine:
    """One pod. ``waiting``: it asks to start. ``moving``: it has the card and can do nothing with it yet, or does not
    say what it does. Times are seconds of one clock: in ``state`` ``since``; requests are there since ``asked``, or
    there are none. ``idle``: seconds without one. ``leaving``: told to go.
    """

    pod: str
    state: State
    since: float
    asked: float | None = None
    idle: float = 0.0
    turn: float = 30.0
    sleep_after: float | None = None
    leaving: bool = False

    @property
    def claims(self) -> float | None:
        """Since when it wants the card and has it not; None: it does not."""
        if self.leaving or self.state in ("moving", "awake"):
            return None
        if self.state == "waiting":
            return self.since
        return None if self.asked is None else max(self.asked, self.since)


@dataclass(frozen=True)
class Turn:
    """What to tell an engine."""

    move: Move
    pod: str


def steps(card: Sequence[Engine], now: float) -> list[Turn]:
    """What is to be done now. Done, and asked again, it is nothing until an engine or the time moves on."""
    claimants = sorted((claims, engine.pod, engine) for engine in card if (claims := engine.claims) is not None)
    holders = [engine for engine in card if engine.state in ("moving", "awake")]
    if not claimants:
        return [Turn("sleep", engine.pod) for engine in holders if _rests(engine, now)]
    if holders:
        return [Turn("sleep", engine.pod) for engine in holders if _gives_way(engine, now)]
    first = claimants[0][2]
    return [Turn("begin" if first.state == "waiting" else "wake", first.pod)]


def _gives_way(engine: Engine, now: float) -> bool:
    """Somebody else wants the card: at once where nobody asks this one, else when its turn is over."""
    if engine.state != "awake" or engine.leaving:
        return False
    return now - engine.since >= (SETTLE_SECONDS if engine.asked is None else engine.turn)


def _rests(engine: Engine, now: float) -> bool:
    if engine.state != "awake" or engine.leaving or engine.sleep_after is None or engine.asked is not None:
        return False
    return min(engine.idle, now - engine.since) >= engine.sleep_after
