"""Every hop that can cut a held request or a slow stream, compared with the time a wake may take. Pure.

Two silences matter. A *held* request is silent from its sending until its first byte: as long as the wake. A *stream*
is silent between two pieces: as long as the engine computes one prompt. A hop that ends by its own clock, whatever
passes through it, is a *limit* on the whole request.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from components.gateway.config import GatewaySettings
from components.model_service.timing import startup_budget_seconds, termination_grace_seconds
from components.typed.tables import read_table
from infra.stackfile.schema.model import ModelConfig
from infra.stackfile.schema.stack import StackConfig

Cuts = Literal["held request", "whole request", "load", "stream at scale-in"]


@dataclass(frozen=True)
class Hop:
    """One hop that may give up. ``seconds`` None: it has no limit of its own. ``setting`` is where to change it; empty:
    nowhere.
    """

    name: str
    cuts: Cuts
    seconds: int | None
    setting: str


@dataclass(frozen=True)
class Timers:
    """One model's timers, in seconds. ``window`` is how long a short request counts beyond its end."""

    name: str
    cold_start: int
    hold: int
    idle_ttl: int
    drain: int
    window: int


def chain(
    timers: Timers, ingress_idle_seconds: int | None, place: str, rollout_seconds: int | None = None
) -> tuple[Hop, ...]:
    """Return the hops from the client to the engine, in order. ``rollout_seconds``: how long a request may be held in a
    gateway pod that is being replaced."""
    at = f"models.{timers.name}"
    budget = startup_budget_seconds(timers.cold_start, timers.hold)
    return (
        Hop("client", "held request", timers.hold + 60, "the client's own time-out: set it to this at least"),
        Hop(f"load balancer of {place}", "held request", ingress_idle_seconds, "platform.ingress"),
        Hop("roll-out of the gateway", "held request", rollout_seconds, ""),
        Hop("gateway", "whole request", GatewaySettings.request_seconds, "components/gateway: request_seconds"),
        Hop("interceptor", "held request", timers.hold, f"{at}.hold"),
        Hop("idle timer, with nobody waiting", "load", timers.idle_ttl + timers.window, f"{at}.idleTtl"),
        Hop("startup probe", "load", budget, f"{at}.coldStart"),
        Hop("grace period", "stream at scale-in", termination_grace_seconds(timers.drain), f"{at}.drain"),
    )


def shortest(hops: Iterable[Hop], cuts: Iterable[Cuts] = ("held request", "whole request", "load")) -> Hop | None:
    """Return the hop that gives up first among those of ``cuts``, by default of a wake; None if none has a limit."""
    kinds = set(cuts)
    limited = [hop for hop in hops if hop.cuts in kinds and hop.seconds is not None]
    return min(limited, key=lambda hop: hop.seconds or 0, default=None)


# The time-out of the load balancer in front of the gateway, as far as it is known before anything exists.

# From the end of a load to the first byte of an answer; the program sets the same on the platform's load balancer.
FIRST_BYTE_SECONDS = 5 * 60


@dataclass(frozen=True)
class Front:
    """The time-out in ``seconds``; None if there is none, or if it is unknown, which the text says.
    ``rollout_seconds``: the longest hold that a roll-out of the gateway cuts nothing of; None: any."""

    seconds: int | None
    description: str
    rollout_seconds: int | None = None


@cache
def _table() -> dict[str, Any]:
    read: dict[str, Any] = read_table(Path(__file__).with_name("ingress_timeouts.yaml"))
    return read


def silence_seconds(stack: StackConfig, model: ModelConfig) -> int:
    """Return how long a request for ``model`` may go without a byte: waiting for the guard, then for the wake."""
    waits = stack.wait_limit(model).seconds if stack.guard.when_full == "wait" else 0
    return waits + model.hold.seconds


def longest_silence_seconds(stack: StackConfig) -> int:
    """Return the longest silence of all models, up to the first byte of the answer."""
    return max((silence_seconds(stack, m) for m in stack.models.values()), default=0) + FIRST_BYTE_SECONDS


def front(stack: StackConfig) -> Front:
    """Return the time-out of the load balancer of the stack's place."""
    row = _table().get(stack.platform.kind) or {"seconds": None, "told": "unknown"}
    # a request may come at the last moment of `leave`, and its first byte FIRST_BYTE_SECONDS after its hold
    rollout = row["drain"] - row["leave"] - FIRST_BYTE_SECONDS if "drain" in row else None
    seconds = longest_silence_seconds(stack) + int(row["wake"]) if "wake" in row else row["seconds"]
    return Front(seconds, row["told"], rollout)
