"""KEDA's own rhythm, in seconds, for whoever reckons with it without wanting Pulumi."""

from __future__ import annotations

from typing import Final

POLLING_SECONDS: Final = 5

RATE_WINDOW_SECONDS: Final = 10
"""A short request stays visible this long, which is added to the idle TTL; twice the polling interval, so that KEDA
sees it even while its push stream is broken (it retries that one only after up to a minute)."""
