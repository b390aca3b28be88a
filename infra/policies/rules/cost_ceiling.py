"""Dollars an hour of all pools at their max against the ceiling of the environment."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.model import Graph, Outcome, Rule, Violation
from infra.policies.settings import Settings
from infra.policies.stackfile import pools, region


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    total = 0.0
    for pool in pools(graph):
        if not pool.max or not pool.is_priced:
            continue
        price = pool.price(graph)
        if price is None:
            message = f"{pool.machine_name or 'its machine'} has no known price in {region(graph) or 'this place'}"
            yield Violation(f"stack:pools.{pool.name}", "machine", message)
        else:
            total += pool.max * price
    most = settings.ceiling.dollars_per_hour
    if total > most:
        message = f"cost up to {total:.2f} $/h; the ceiling of {settings.environment} is {most:.2f} $/h"
        yield Violation("stack:pools", "max", message)


RULE = Rule(
    id="cost-ceiling",
    title="All pools at their max stay under the ceiling of dollars an hour, at known prices",
    reason="max is what a bad day costs; a machine without a known price can cost anything",
    key="pools.<pool>.max",
    fix="lower max or take a cheaper machine; where the price is unknown, add pricePerHour",
    scope="stack",
    judge=judge,
)
