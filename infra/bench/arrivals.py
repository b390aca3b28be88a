"""When the requests of an open loop are due, answered or not the earlier ones. Pure: the same seed, the same times."""

from __future__ import annotations

import random


def poisson(rate: float, seed: str, requests: int | None, seconds: float | None) -> list[float]:
    """Seconds since the start, at ``rate`` a second on average, as independent people ask; so many, or for so long."""
    chance, at, found = random.Random(seed), 0.0, list[float]()  # noqa: S311 - chance for load, not for secrets
    while requests is None or len(found) < requests:
        at += chance.expovariate(rate)
        if seconds is not None and at >= seconds:
            break
        found.append(at)
    return found
