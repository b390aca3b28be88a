"""Replicas that the stack keeps without requests, over a week: each model's ``min`` and its windows. Pure.

A window counts as KEDA keeps it: from ``ahead`` before it begins until one idle TTL after its end. Time zones are
aligned by their winter offsets; a zone that has changed its clocks is off by an hour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from components.idle_scaling.clocks import WEEK, winter_offset
from components.idle_scaling.schedule import Span, spans
from infra.stackfile.limits import limits
from infra.stackfile.schema.model import ModelConfig

Replicas = Mapping[str, int]


def week(models: Sequence[ModelConfig], tail: bool = True) -> list[tuple[float, Replicas]]:
    """Return shares of a week, together 1, each with every model's replicas. Without ``tail`` no idle TTL is added."""
    warm_spans = {model.name: _warm_spans(model, tail) for model in models}
    least = {model.name: model.min for model in models}
    edges = {0, WEEK} | {edge for each in warm_spans.values() for span, _ in each for edge in (span.start, span.end)}
    marks = sorted(edge for edge in edges if 0 <= edge <= WEEK)
    return [
        (
            (end - start) / WEEK,
            {
                name: max([least[name], *(n for span, n in each if span.start <= start < span.end)])
                for name, each in warm_spans.items()
            },
        )
        for start, end in pairwise(marks)
    ]


def always_kept(models: Sequence[ModelConfig]) -> Replicas:
    """Return the replicas that each model keeps without requests for so much of a week that they count as its min:
    those of its windows together, however they are cut."""
    return {model.name: _always(model) for model in models}


def _always(model: ModelConfig) -> int:
    shares = [(replicas[model.name], share) for share, replicas in week([model])]
    counts = sorted({count for count, _ in shares}, reverse=True)
    longest = (n for n in counts if sum(share for count, share in shares if count >= n) > limits().keep_warm.share)
    return max(model.min, next(longest, model.min))


def _warm_spans(model: ModelConfig, tail: bool) -> list[tuple[Span, int]]:
    """Return spans in minutes of the week in UTC, none across its end, with the replicas that run in each."""
    warm = []
    for window in model.windows:
        after = -(-model.idle_ttl.seconds // 60) if tail else 0
        for span in spans(window):
            start = (span.start - winter_offset(window.timezone)) % WEEK
            end = start + min(WEEK, span.end - span.start + after)
            warm.append((Span(start, min(end, WEEK)), window.replicas))
            if end > WEEK:
                warm.append((Span(0, end - WEEK), window.replicas))
    return warm
