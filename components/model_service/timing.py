"""How long a replica may take to come up and to go: one place for arithmetic that several parts must agree on."""

from __future__ import annotations

from typing import Final

PRE_STOP_SECONDS: Final = 5
"""The engine goes on accepting while its address leaves every proxy; else the last requests meet a closed port."""

SHUTDOWN_MARGIN_SECONDS: Final = 25
"""What the engine needs after its last answer to stop its workers and free the GPU."""

STARTUP_FACTOR: Final = 3
"""How far a load may exceed its estimate before the kubelet calls it hung and starts it again."""


def termination_grace_seconds(drain_seconds: int) -> int:
    """Longer than preStop and drain together, so that the kubelet never kills a stream that was promised its end."""
    return PRE_STOP_SECONDS + drain_seconds + SHUTDOWN_MARGIN_SECONDS


def startup_budget_seconds(cold_start_seconds: int, hold_seconds: int) -> int:
    """How long the startup probe waits: generous against the estimate, and never less than a client is held.

    It does not bound what a hopeless load costs, the hold and the idle TTL do: it only must not restart a slow one.
    """
    return max(STARTUP_FACTOR * cold_start_seconds, hold_seconds)
