"""What a stack may cost: every pool at its max, at a known price, under the cap; no production on spot alone."""

from __future__ import annotations

from collections.abc import Iterator

from components.typed.refusal import Problem
from infra.config.draft import Draft
from infra.config.judge_fallback import spot_alone
from infra.config.machines import find
from infra.config.pool import PoolConfig


def judge_cost(draft: Draft) -> Iterator[Problem]:
    """Prices that are not known, the cap they go over, and production that spot nodes alone would carry."""
    yield from _prices(draft)
    yield from _cap(draft)
    yield from _spot(draft)


def price_per_hour(pool: PoolConfig, region: str | None) -> float | None:
    """US dollars an hour for one node: what the stack says, else the catalogue's price; None is unknown. A spot pool
    whose spot price is unknown counts with the price on demand, which it does not exceed."""
    if pool.price_per_hour is not None:
        return pool.price_per_hour
    machine = find(pool.place, pool.machine)
    known = machine.prices.get(region) if machine is not None and region is not None else None
    if known is None:
        return None
    return known.spot if pool.capacity == "spot" and known.spot is not None else known.on_demand


def _region(draft: Draft) -> str | None:
    return getattr(draft.platform, "region", None)


def _priced(draft: Draft) -> Iterator[tuple[str, PoolConfig, float | None]]:
    """Pools that can cost something, with the price of a node."""
    for name, part in draft.pools.items():
        if part.sound("machine", "max", "capacity", "price_per_hour") and part.value.max > 0:
            pool = part.value
            if pool.price_per_hour is not None or find(pool.place, pool.machine) is not None:
                yield name, pool, price_per_hour(pool, _region(draft))


def _prices(draft: Draft) -> Iterator[Problem]:
    region = _region(draft)
    if region is None:
        return
    for name, pool, price in _priced(draft):
        if price is None:
            message = f"has no known price in {region}: nobody could say what this pool may cost"
            fix = "add pricePerHour: and what one node costs you in US dollars"
            allowed = "a machine with a price, or a pricePerHour beside it"
            yield Problem(14, ("pools", name, "machine"), message, allowed, fix, pool.machine, severity="mandatory")


def _cap(draft: Draft) -> Iterator[Problem]:
    if draft.guard is None or not draft.guard.sound("max_dollars_per_hour"):
        return
    cap = draft.guard.value.max_dollars_per_hour
    if cap is None:
        return
    costs = [(name, pool.max, price) for name, pool, price in _priced(draft) if price is not None]
    total = sum(most * price for _, most, price in costs)
    if total > cap:
        sums = ", ".join(f"{name} {most} × {price:.2f}" for name, most, price in costs)
        yield Problem(
            9,
            ("guard", "maxDollarsPerHour"),
            f"is less than all pools at their max cost, which is {total:.2f} ({sums})",
            f"{total:.2f} or more",
            "lower max of a pool, take a cheaper machine, or raise the cap",
            cap,
            severity="mandatory",
        )


def _spot(draft: Draft) -> Iterator[Problem]:
    if draft.environment != "prod":
        return
    for name, part in draft.pools.items():
        first = {n: m for n, m in draft.models.items() if m.sound("pool") and m.value.pool == name}
        on_it = [n for n, model in first.items() if spot_alone(model, draft)]
        if part.sound("capacity") and part.value.capacity == "spot" and on_it:
            message = f"is all that carries {', '.join(on_it)} in prod, where spot nodes go at short notice"
            fix = "set capacity: onDemand, or give these models a pool with it under pool or fallbackPools"
            path = ("pools", name, "capacity")
            yield Problem(15, path, message, "onDemand for models of prod", fix, "spot", severity="mandatory")
