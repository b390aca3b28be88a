"""The pools models may run on, and the one order of pools that follows from all their preferences. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from infra.stackfile.partial import Draft, Part
from infra.stackfile.schema.model import ModelConfig


@dataclass(frozen=True)
class Contrary:
    """A contradiction: fall-back ``index`` of ``model`` comes before pool ``before`` for a model above it."""

    model: str
    index: int
    before: str


def named(part: Part[ModelConfig]) -> tuple[str, ...]:
    """Return the pools a model names, as far as they could be read."""
    first = (part.value.pool,) if part.sound("pool") else ()
    return (*first, *(part.value.fallback_pools if part.sound("fallback_pools") else ()))


def users(draft: Draft, pool: str) -> list[str]:
    """Return the models that may run on ``pool``."""
    return [name for name, part in draft.models.items() if pool in named(part)]


def preferences(orders: Mapping[str, Sequence[str]]) -> tuple[dict[str, int], list[Contrary]]:
    """Return a number for each pool that some model orders before or after another (higher is preferred), and the
    contradictions. ``orders`` are pools by model. An autoscaler that knows one order for all pods takes these numbers;
    where two models want the opposite, the first one in the file wins."""
    after: dict[str, set[str]] = {}
    contrary = []
    for model, pools in orders.items():
        for index, (sooner, later) in enumerate(pairwise(pools)):
            if sooner == later or sooner in _below(after, later):
                contrary.append(Contrary(model, index, sooner))
                continue
            after.setdefault(sooner, set()).add(later)
            after.setdefault(later, set())
    return {pool: _height(after, pool) for pool in after}, contrary


def _below(after: Mapping[str, set[str]], pool: str) -> set[str]:
    below: set[str] = set()
    waiting = [pool]
    while waiting:
        fresh = after.get(waiting.pop(), set()) - below
        below |= fresh
        waiting += fresh
    return below


def _height(after: Mapping[str, set[str]], pool: str) -> int:
    """Return 1 for a pool that no model prefers to another, else one more than the highest of those after it."""
    return 1 + max((_height(after, each) for each in after[pool]), default=0)
