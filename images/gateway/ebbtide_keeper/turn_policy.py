"""Policy for the engines on one card: pure. One is awake, the others sleep in main memory or wait to start.

Nothing here can cut an answer: an engine put to sleep finishes what it runs, and takes up what came meanwhile when it
is awake again. A wrong guess costs a moment, so the rules are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["waiting", "moving", "awake", "asleep"]
Move = Literal["begin", "wake", "sleep"]

SETTLE_SECONDS = 5.0
"""How long an engine without requests keeps the card from others: its requests arrive a moment after it came."""


@dataclass(frozen=True)
class Engine:
    """One pod. ``waiting``: it asks to start. ``moving``: it has the card and can do nothing with it yet, or does not
    report its state. Times are seconds of one clock: it is in ``state`` since ``since`` and has had requests since
    ``busy_since``, None: it has none. ``idle``: seconds without one. ``leaving``: it was asked to stop.
    """

    pod: str
    state: State
    since: float
    busy_since: float | None = None
    idle: float = 0.0
    turn: float = 30.0
    sleep_after: float | None = None
    leaving: bool = False

    @property
    def claims(self) -> float | None:
        """Return since when the engine wants the card without having it; None: it does not."""
        if self.leaving or self.state in ("moving", "awake"):
            return None
        if self.state == "waiting":
            return self.since
        return None if self.busy_since is None else max(self.busy_since, self.since)


@dataclass(frozen=True)
class Turn:
    """Command to an engine."""

    move: Move
    pod: str


def steps(card: Sequence[Engine], now: float) -> list[Turn]:
    """Return the commands due now. Once carried out, there are none until an engine or the time moves on."""
    claimants = sorted((claims, engine.pod, engine) for engine in card if (claims := engine.claims) is not None)
    holders = [engine for engine in card if engine.state in ("moving", "awake")]
    if not claimants:
        return [Turn("sleep", engine.pod) for engine in holders if _rests(engine, now)]
    if holders:
        return [Turn("sleep", engine.pod) for engine in holders if _gives_way(engine, now)]
    first = claimants[0][2]
    return [Turn("begin" if first.state == "waiting" else "wake", first.pod)]


def _gives_way(engine: Engine, now: float) -> bool:
    """Return True if the engine yields the card: after ``SETTLE_SECONDS`` without requests, else after its turn."""
    if engine.state != "awake" or engine.leaving:
        return False
    return now - engine.since >= (SETTLE_SECONDS if engine.busy_since is None else engine.turn)


def _rests(engine: Engine, now: float) -> bool:
    if engine.state != "awake" or engine.leaving or engine.sleep_after is None or engine.busy_since is not None:
        return False
    return min(engine.idle, now - engine.since) >= engine.sleep_after
