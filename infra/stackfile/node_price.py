"""The hourly price of one GPU node, the one price that plan, caps, policies, gate and gateway use. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from infra.stackfile.pool_machine import find
from infra.stackfile.schema.pool import Capacity, PoolConfig


@dataclass(frozen=True, kw_only=True)
class NodePrice:
    """US dollars an hour for one node; None is unknown. ``paid`` is what this pool pays: its own ``pricePerHour``, or
    the catalogue's price for its capacity. ``billed`` is False where the nodes already exist and are not billed by
    the hour. ``source`` is where the price is from."""

    paid: float | None
    on_demand: float | None = None
    spot: float | None = None
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
    """Return a node's price. An unknown spot price counts as the price on demand, which it does not exceed."""
    machine = find(pool.place, pool.machine)
    known = machine.prices.get(region) if machine is not None and region is not None else None
    on_demand, spot = (known.on_demand, known.spot) if known else (None, None)
    if pool.price_per_hour is not None:
        source = "pricePerHour of the stack file"
        return NodePrice(paid=pool.price_per_hour, on_demand=on_demand, spot=spot, source=source)
    if machine is None:
        return NodePrice(paid=None, billed=False, source="the nodes are there already: no price by the hour")
    if known is None:
        source = f"unknown: no price of {machine.name} in {region} has been looked up"
        return NodePrice(paid=None, source=source)
    source = f"{known.source}, read {known.read_on}"
    if pool.capacity == "spot" and spot is None:
        source += "; spot unknown, counted at the price on demand"
    paid = spot if pool.capacity == "spot" and spot is not None else on_demand
    return NodePrice(paid=paid, on_demand=on_demand, spot=spot, source=source)
