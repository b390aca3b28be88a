"""The hourly price of one GPU node, the one price that plan, caps, policies, gate and gateway use. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from components.catalog.machine import Machine, Price
from infra.stackfile.pool_machine import find
from infra.stackfile.schema.pool import Capacity, PoolConfig


@dataclass(frozen=True, kw_only=True)
class NodePrice:
    """US dollars an hour for one node; None is unknown. ``paid`` is what counts for this pool: the catalogue's price
    for its capacity, or its own ``pricePerHour`` where that is more or the catalogue has none. ``known`` is what the
    pool's own figure is held against: the catalogue's price here, else the lowest of any region. ``billed`` is False
    where the nodes already exist and are not billed by the hour. ``source`` is where the price is from."""

    paid: float | None
    on_demand: float | None = None
    spot: float | None = None
    known: float | None = None
    billed: bool = True
    source: str

    def for_nodes(self, nodes: float, capacity: Capacity | None = None) -> float | None:
        """Return dollars an hour for ``nodes`` at what the pool pays, or at the catalogue's price for ``capacity``.
        None is unknown; zero nodes cost nothing, even at an unknown price."""
        if not self.billed or nodes == 0:
            return 0.0
        each = {None: self.paid, "onDemand": self.on_demand, "spot": self.spot}[capacity]
        return None if each is None else nodes * each


def node_price(pool: PoolConfig, region: str | None) -> NodePrice:
    """Return a node's price. An unknown spot price counts as the price on demand, which it does not exceed. A figure of
    the stack file can only raise the price: the file that asks for a machine does not decide what it costs."""
    machine, own = find(pool.place, pool.machine), pool.price_per_hour
    if machine is None:
        source = "the nodes are there already: no price by the hour" if own is None else _OWN
        return NodePrice(paid=own, billed=own is not None, source=source)
    here = machine.prices.get(region) if region is not None else None
    on_demand, spot = (here.on_demand, here.spot) if here else (None, None)
    known, source = _known(pool, machine, here, region)
    paid = known if here else None
    if own is not None:
        paid = max(own, known or 0)
        source = _OWN if paid == own else f"{source}; counted as it is more than pricePerHour"
    return NodePrice(paid=paid, on_demand=on_demand, spot=spot, known=known, source=source)


_OWN = "pricePerHour of the stack file"


def _known(pool: PoolConfig, machine: Machine, here: Price | None, region: str | None) -> tuple[float | None, str]:
    """Return the catalogue's price for the pool's capacity, and its source; without one here the lowest anywhere."""
    if here is not None:
        source = f"{here.source}, read {here.read_on}"
        if pool.capacity == "spot" and here.spot is None:
            source += "; spot unknown, counted at the price on demand"
        return _for_capacity(pool, here), source
    unknown = f"unknown: no price of {machine.name} in {region} has been looked up"
    elsewhere = [each for price in machine.prices.values() if (each := _for_capacity(pool, price)) is not None]
    if pool.price_per_hour is None or not elsewhere:
        return min(elsewhere, default=None), unknown
    return min(elsewhere), f"{unknown}; the lowest of any region"


def _for_capacity(pool: PoolConfig, price: Price) -> float | None:
    return price.spot if pool.capacity == "spot" and price.spot is not None else price.on_demand
