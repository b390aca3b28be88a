"""How long what answers the longest request may take to go, which three clocks must agree on."""

from __future__ import annotations

from typing import Final

from components.platforms.contract import About

LONGEST_STREAM_SECONDS: Final = 3600
GRACE_MARGIN_SECONDS: Final = 60
"""How much longer a pod that was told to go may stay than what it answers takes."""


def patience_seconds(about: About) -> int:
    """Return how long one request may take: the longest wait for its first byte, then a stream of an hour."""
    return about.longest_silence_seconds + LONGEST_STREAM_SECONDS


def drain_minutes(about: About) -> int:
    """Return how long an upgrade waits for a node's pods: longer than any may stay, or one long answer fails it.
    Source: AKS documentation, Upgrade options: drain timeout."""
    return -(-(patience_seconds(about) + 2 * GRACE_MARGIN_SECONDS) // 60)
