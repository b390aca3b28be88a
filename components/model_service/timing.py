"""Times a replica may take to come up and to go: one place for arithmetic that several parts must agree on."""

from __future__ import annotations

from typing import Final

PRE_STOP_SECONDS: Final = 5
"""The engine keeps accepting while its address leaves every proxy; else the last requests meet a closed port."""

SHUTDOWN_MARGIN_SECONDS: Final = 25
"""Time the engine needs after its last answer to stop its workers and free the GPU."""

STARTUP_FACTOR: Final = 3
"""How far a load may exceed its estimate before the kubelet calls it hung and restarts it."""

CANARY_PERIOD_SECONDS: Final = 60
CANARY_FAILURES: Final = 3
CANARY_TIMEOUT_SECONDS: Final = 55
"""Longer than the probe's own waits together: /health 10 s, /metrics 10 s, one token 20 s, /metrics again 10 s."""

WEDGED_GRACE_SECONDS: Final = PRE_STOP_SECONDS + SHUTDOWN_MARGIN_SECONDS
"""Grace of an engine that is ended because it computes nothing: there is no answer left that a drain could save."""


def canary_patience_seconds(stall_seconds: int) -> int:
    """Return how long the probe itself tolerates an engine without a sign of life, so that kubelet and probe together
    come to ``stall_seconds``: the kubelet requires ``CANARY_FAILURES`` in a row, a period apart.

    The engine is restarted no sooner than ``stall_seconds`` after its last sign, and at most three periods later: the
    silence is noticed by the next probe, which takes up to one itself, and outlasts the patience by the one after. An
    engine whose /health fails is restarted after two to three periods. The kubelet probes no pod that is loading
    (startup probe) or terminating (pkg/kubelet/prober/worker.go, Kubernetes 1.34).
    """
    return max(0, stall_seconds - (CANARY_FAILURES - 1) * CANARY_PERIOD_SECONDS)


def termination_grace_seconds(drain_seconds: int) -> int:
    """Return more than preStop and drain together: the kubelet never kills a stream that was promised its end."""
    return PRE_STOP_SECONDS + drain_seconds + SHUTDOWN_MARGIN_SECONDS


def startup_budget_seconds(cold_start_seconds: int, hold_seconds: int) -> int:
    """Return how long the startup probe waits: generous against the estimate, and never less than a client is held.

    It does not bound the cost of a hopeless load, the hold and the idle TTL do: it only must not restart a slow one.
    """
    return max(STARTUP_FACTOR * cold_start_seconds, hold_seconds)
