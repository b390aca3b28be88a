"""The machine catalogue: one data file per place in ``machines/``, read once and checked.

A place's name is that of its file, and the word after ``kind:`` in a stack file.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from components.catalog.gpus import gpus
from components.catalog.machine import PART_SHARE, Machine, Price
from components.typed.tables import read_table

_FOLDER = Path(__file__).with_name("machines")

Dollars = Annotated[float, Field(gt=0, lt=1000)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    gpu: str
    gpus: int = Field(ge=1, le=16)
    vcpus: int = Field(ge=1)
    memory_gib: float = Field(gt=0)
    local_disk_gib: int | None
    interconnect: str = Field(pattern=r"none|PCIe|NVLink|unknown")
    on_demand: Mapping[str, Dollars]
    spot: Mapping[str, Dollars] = Field(default_factory=dict)
    regions: tuple[str, ...] = ()
    gpu_memory_gib: float | None = None
    architecture: str = "amd64"
    reservation_usual: bool = False
    vgpu: bool = False
    price_reason: str | None = None
    read_on: datetime.date | None = None


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    read_on: datetime.date
    source: str = Field(min_length=1)
    spot_reason: str | None = None
    regions_complete: bool
    # sources of refreshed prices by day; a machine whose own ``read_on`` is such a day has its price from there
    refreshed: Mapping[datetime.date, str] = Field(default_factory=dict)
    machines: Mapping[str, _Row]


def _machine(name: str, place: str, row: _Row, table: _Table) -> Machine:
    product = gpus()[row.gpu]
    day = row.read_on or table.read_on
    read_on, source = day.isoformat(), table.refreshed.get(day, table.source)
    where = sorted({*row.on_demand, *row.spot})
    return Machine(
        name=name,
        place=place,
        gpu=row.gpu,
        gpus=row.gpus,
        gpu_memory_gib=row.gpu_memory_gib or product.memory_gib,
        compute_capability=product.compute_capability,
        vcpus=row.vcpus,
        memory_gib=row.memory_gib,
        interconnect=row.interconnect,
        architecture=row.architecture,
        local_disk_gib=row.local_disk_gib or 0,
        reservation_usual=row.reservation_usual,
        # a price list of some regions says nothing about the others
        regions=tuple(sorted({*row.regions, *where})) if row.regions or table.regions_complete else (),
        prices={r: Price(row.on_demand.get(r), row.spot.get(r), read_on, source) for r in where},
        vgpu=row.vgpu,
        part=row.gpu_memory_gib is not None,
        cuda_gib=product.cuda_gib if row.gpu_memory_gib is None else row.gpu_memory_gib * PART_SHARE,
    )


@cache
def machines(place: str, folder: Path = _FOLDER) -> Mapping[str, Machine]:
    """Return every machine sold by ``place``, by name; empty for a place that sells none. Raises ``ValueError`` naming
    the file and a GPU that is unknown, or pydantic's with the path of what is wrong."""
    file = folder / f"{place}.yaml"
    if not file.is_file():
        return {}
    table = _Table.model_validate(read_table(file))
    for name, row in table.machines.items():
        if row.gpu not in gpus():
            raise ValueError(f"{file.name}: machines.{name}.gpu: {row.gpu!r} is not in gpus.yaml")
    return {name: _machine(name, place, row, table) for name, row in table.machines.items()}


def find(place: str, name: str) -> Machine | None:
    """Return the machine called ``name`` at ``place``; None if there is none. Names must match exactly."""
    return machines(place).get(name)


def near(place: str, name: str) -> str | None:
    """Return the machine a misspelled name most likely means; None if nothing is near."""
    by_lower = {known.lower(): known for known in machines(place)}
    nearest = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[nearest[0]] if nearest else None
