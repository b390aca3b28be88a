"""Every hop that can cut a held request or a slow stream, against the time a wake may take. Pure.

Two silences matter. A *held* request is silent from its sending until its first byte: as long as the wake. A *stream*
is silent between two pieces: as long as the engine computes one prompt. What ends on its own clock, whatever passes
through it, is a *limit* on the whole request.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from components.model_service.timing import startup_budget_seconds, termination_grace_seconds

Cuts = Literal["held request", "whole request", "load", "stream at scale-in"]
GATEWAY_REQUEST_SECONDS = 3600  # components/gateway/config.py: GatewaySettings.request_seconds


@dataclass(frozen=True)
class Hop:
    """One part that may give up. ``seconds`` None: it has no limit of its own. ``setting`` is where to change it."""

    name: str
    cuts: Cuts
    seconds: int | None
    setting: str


@dataclass(frozen=True)
class Timers:
    """One model's timers, in seconds. ``seen``: how long a short request counts beyond its end."""

    name: str
    cold_start: int
    hold: int
    idle_ttl: int
    drain: int
    seen: int


def chain(timers: Timers, ingress_idle_seconds: int | None, place: str) -> tuple[Hop, ...]:
    """The hops from the client to the engine, in order."""
    at = f"models.{timers.name}"
    budget = startup_budget_seconds(timers.cold_start, timers.hold)
    return (
        Hop("client", "held request", timers.hold + 60, "the client's own time-out: set it to this at least"),
        Hop(f"load balancer of {place}", "held request", ingress_idle_seconds, "platform.ingress"),
        Hop("gateway", "whole request", GATEWAY_REQUEST_SECONDS, "components/gateway: request_seconds"),
        Hop("interceptor", "held request", timers.hold, f"{at}.hold"),
        Hop("idle timer, with nobody waiting", "load", timers.idle_ttl + timers.seen, f"{at}.idleTtl"),
        Hop("startup probe", "load", budget, f"{at}.coldStart"),
        Hop("grace period", "stream at scale-in", termination_grace_seconds(timers.drain), f"{at}.drain"),
    )


def shortest(hops: Iterable[Hop], cuts: Iterable[Cuts] = ("held request", "whole request", "load")) -> Hop | None:
    """The hop that gives up first among those that could cut a wake; None where none has a limit."""
    wanted = set(cuts)
    limited = [hop for hop in hops if hop.cuts in wanted and hop.seconds is not None]
    return min(limited, key=lambda hop: hop.seconds or 0, default=None)


def too_short(hops: Iterable[Hop], needed_seconds: float) -> tuple[Hop, ...]:
    """The hops that would cut a wake of ``needed_seconds``, the shortest first."""
    cutting = [
        hop
        for hop in hops
        if hop.cuts != "stream at scale-in" and hop.seconds is not None and hop.seconds < needed_seconds
    ]
    return tuple(sorted(cutting, key=lambda hop: hop.seconds or 0))
