"""Which pools models may run on, and the one order of pools that all their preferences make together. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from infra.stackfile.partial import Draft, Part
from infra.stackfile.schema.model import ModelConfig


@dataclass(frozen=True)
class Contrary:
    """Fall-back ``index`` of ``model`` that stands before ``before`` in the orders of models above it."""

    model: str
    index: int
    before: str


def named(part: Part[ModelConfig]) -> tuple[str, ...]:
    """The pools a model names, as far as they could be read."""
    first = (part.value.pool,) if part.sound("pool") else ()
    return (*first, *(part.value.fallback_pools if part.sound("fallback_pools") else ()))


def users(draft: Draft, pool: str) -> list[str]:
    """Models that may run on ``pool``."""
    return [name for name, part in draft.models.items() if pool in named(part)]


def preferences(orders: Mapping[str, Sequence[str]]) -> tuple[dict[str, int], list[Contrary]]:
    """A number for each pool that some model chooses before or after another, the higher the sooner; ``orders`` are
    pools by model. An autoscaler that knows one order for all pods takes these numbers; where two models want the
    opposite, the one that stands first in the file is followed."""
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
    found: set[str] = set()
    waiting = [pool]
    while waiting:
        fresh = after.get(waiting.pop(), set()) - found
        found |= fresh
        waiting += fresh
    return found


def _height(after: Mapping[str, set[str]], pool: str) -> int:
    """1 for a pool that is nobody's sooner choice, and one more than the highest of those that come after it."""
    return 1 + max((_height(after, each) for each in after[pool]), default=0)
