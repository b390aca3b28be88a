"""Statistics of many replies: percentiles, rates, errors by kind, and one side against the other. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from infra.bench.client import Reply


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Spread of ``count`` values, in their own unit."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    most: float


@dataclass(frozen=True)
class Summary:
    """Summary of one side of one level. Times are in seconds; spreads are over whole answers only."""

    seconds: float  # in which requests were sent and answered, over all its turns
    sent: int
    whole: int
    errors: dict[str, int]
    prompt_tokens: int
    tokens: int
    ttft: Spread | None
    tpot: Spread | None
    gap: Spread | None
    latency: Spread | None
    tokens_per_second: float
    requests_per_second: float
    latest_send: float  # the longest time the client itself was late: well above zero, the client was the limit


@dataclass(frozen=True)
class Ratio:
    """Comparison of the measured side with the other: milliseconds added at the percentiles, shares of throughput."""

    ttft_added_ms: dict[str, float] | None
    tpot_added_ms: dict[str, float] | None
    latency_added_ms: dict[str, float] | None
    tokens_share: float | None
    requests_share: float | None


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of sorted values, linear between the two nearest ranks. Raises ``ValueError`` for none."""
    if not ordered:
        raise ValueError("a percentile of nothing")
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return the spread of the known values; None where there are none."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    p50, p90, p99 = (percentile(known, percent) for percent in (50, 90, 99))
    return Spread(count=len(known), mean=math.fsum(known) / len(known), p50=p50, p90=p90, p99=p99, most=known[-1])


def summary(replies: Sequence[Reply], seconds: float) -> Summary:
    whole = [reply for reply in replies if reply.whole]
    tokens = sum(reply.tokens or 0 for reply in whole)
    errors = Counter(reply.fault for reply in replies if reply.fault is not None)
    return Summary(
        seconds=seconds,
        sent=len(replies),
        whole=len(whole),
        errors=dict(sorted(errors.items())),
        prompt_tokens=sum(reply.prompt_tokens or 0 for reply in whole),
        tokens=tokens,
        ttft=spread(reply.to_first for reply in whole),
        tpot=spread(reply.per_token for reply in whole),
        gap=spread(gap for reply in whole for gap in reply.gaps),
        latency=spread(reply.latency for reply in whole),
        tokens_per_second=_rate(tokens, seconds),
        requests_per_second=_rate(len(whole), seconds),
        latest_send=max((reply.late for reply in replies), default=0.0),
    )


def ratio(measured: Summary, against: Summary) -> Ratio:
    return Ratio(
        ttft_added_ms=_added(measured.ttft, against.ttft),
        tpot_added_ms=_added(measured.tpot, against.tpot),
        latency_added_ms=_added(measured.latency, against.latency),
        tokens_share=_share(measured.tokens_per_second, against.tokens_per_second),
        requests_share=_share(measured.requests_per_second, against.requests_per_second),
    )


def _added(measured: Spread | None, against: Spread | None) -> dict[str, float] | None:
    if measured is None or against is None:
        return None
    return {
        "p50": 1000 * (measured.p50 - against.p50),
        "p90": 1000 * (measured.p90 - against.p90),
        "p99": 1000 * (measured.p99 - against.p99),
    }


def _share(measured: float, against: float) -> float | None:
    return measured / against if against > 0 else None


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0
