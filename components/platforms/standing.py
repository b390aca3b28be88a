"""The bill of a place while every model sleeps: control plane, nodes without GPUs, ways in and out, keys, disks. Pure.

A place's folder has ``standing.py``, which counts the items by the same settings that its components read, and
``standing.yaml`` with the prices: dated, sourced, by region. A price that nobody looked up is unknown, never zero.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from components.typed.tables import read_table

HOURS_A_MONTH = 730
_HOURS = {"hour": 1, "day": 24, "month": HOURS_A_MONTH}
_FOLDER = Path(__file__).parent

Dollars = Annotated[float, Field(gt=0, lt=10_000)]


@dataclass(frozen=True, kw_only=True)
class StandingFacts:
    """The facts that set the quantities, besides the place's own settings. ``protect`` is as in ``About``;
    ``gpu_nodes`` is the minimum and maximum number of GPU nodes; ``weights_gib`` is the size of the models' weights in
    the store, as far as the stack file says."""

    environment: str
    protect: bool = False
    gpu_nodes: tuple[int, int] = (0, 0)
    weights_gib: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Item:
    """A quantity of one thing. ``price`` is its row in the price table, or it is a ``machine`` with a price of its own;
    ``least`` is the quantity while every model sleeps, ``most`` with every pool at its max (None: as many)."""

    what: str
    price: str = ""
    machine: str | None = None
    least: float = 1
    most: float | None = None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The items on the bill. ``elsewhere`` names what the stack uses and others make and pay for."""

    items: tuple[Item, ...]
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Line:
    """An item with its price: US dollars an hour for one ``unit``, None where it is unknown. ``highest`` is the price,
    or the highest of any region where it is unknown here; ``machine`` is set for nodes."""

    what: str
    unit: str
    least: float
    most: float
    price: float | None
    source: str
    machine: str | None = None
    highest: float | None = None

    @property
    def floor(self) -> float | None:
        """Return dollars an hour while every model sleeps."""
        return None if self.price is None else self.least * self.price

    @property
    def ceiling(self) -> float | None:
        """Return dollars an hour with every pool at its max."""
        return None if self.price is None else self.most * self.price


class Row(BaseModel):
    """One price in US dollars, for one ``unit`` an hour, a day or a month (of 730 hours): in every region, or by
    region. With neither, it is known to be billed, but not for how much."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    unit: str = ""
    each: Literal["hour", "day", "month"] = "hour"
    everywhere: Dollars | None = None
    regions: Mapping[str, Dollars] = Field(default_factory=dict)
    read_on: datetime.date | None = None
    source: str = ""

    @model_validator(mode="after")
    def _sourced(self) -> Row:
        if (self.everywhere is not None or self.regions) and not (self.read_on and self.source):
            raise ValueError("a price needs readOn and source")
        return self

    def hourly(self, region: str | None) -> float | None:
        """Return dollars an hour in ``region``; None where unknown."""
        price = self.regions.get(region or "", self.everywhere)
        return None if price is None else price / _HOURS[self.each]

    def highest(self) -> float | None:
        """Return the most dollars an hour of any region; None where no price is known."""
        known = [*self.regions.values(), *([] if self.everywhere is None else [self.everywhere])]
        return max(known) / _HOURS[self.each] if known else None


class Machines(BaseModel):
    """Hourly prices of machines without GPUs, by name and region."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    read_on: datetime.date
    source: str = Field(min_length=1)
    prices: Mapping[str, Mapping[str, Dollars]]

    def row(self, name: str) -> Row:
        """Return the machine's row of the price table; without a price where the machine is not known."""
        known = self.prices.get(name, {})
        return Row(unit="node", regions=known, read_on=self.read_on, source=self.source) if known else Row(unit="node")


class Prices(BaseModel):
    """A place's ``standing.yaml``. ``by_use`` names what is billed by use, and is in no sum. ``resources`` maps each
    type of resource to what bills it: a row of ``prices``, ``byUse``, ``gpuNodes``, ``systemNodes`` (their machines'
    prices) or ``free``."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    prices: Mapping[str, Row]
    machines: Machines
    by_use: tuple[str, ...]
    resources: Mapping[str, str]

    @model_validator(mode="after")
    def _rows_are_there(self) -> Prices:
        known = {*self.prices, "byUse", "gpuNodes", "systemNodes", "free"}
        strange = {kind: row for kind, row in self.resources.items() if row not in known}
        if strange:
            raise ValueError(f"resources: {strange}; allowed: {', '.join(sorted(known))}")
        return self


@cache
def prices(place: str) -> Prices:
    """Return the table of a place. Raises ``pydantic.ValidationError`` with the path of what is wrong."""
    return Prices.model_validate(read_table(_FOLDER / place / "standing.yaml"))


def lines(place: str, items: Iterable[Item], region: str | None) -> tuple[Line, ...]:
    """Return the items with their prices in ``region``. Raises ``KeyError`` for a row that is not in the table."""
    table = prices(place)
    rows = ((item, table.machines.row(item.machine) if item.machine else table.prices[item.price]) for item in items)
    return tuple(_line(item, row, region) for item, row in rows)


def _line(item: Item, row: Row, region: str | None) -> Line:
    price = row.hourly(region)
    where = f" in {region}" if region else ""
    return Line(
        what=item.what,
        unit=row.unit,
        least=item.least,
        most=item.least if item.most is None else item.most,
        price=price,
        source=f"unknown: not looked up{where}" if price is None else f"{row.source}, read {row.read_on}",
        machine=item.machine,
        highest=row.highest() if price is None else price,
    )
