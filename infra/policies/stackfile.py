"""Pools and models as the stack file has them: raw values, read with care, because the loader has its own findings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from components.catalog import machines
from components.catalog.machine import Machine
from infra.policies.model import Graph

_MODELS = Path(machines.__file__).with_name("models")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(Ki|Mi|Gi|Ti|k|M|G|T)?B?")
_SCALE = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@dataclass(frozen=True)
class FilePool:
    """One pool. ``gpu_memory`` is in bytes of one GPU; None where nobody has said."""

    name: str
    machine: Machine | None
    machine_name: str
    min: int
    max: int | None
    gpus: int
    gpu_memory: float | None
    own_price: float | None
    spot: bool
    on_cpu: bool
    is_priced: bool

    def price(self, graph: Graph) -> float | None:
        """US dollars an hour of one node: what the stack says, else the catalogue. A spot pool whose spot price is
        unknown counts with the price on demand, which it does not exceed."""
        if self.own_price is not None:
            return self.own_price
        here = region(graph)
        known = self.machine.prices.get(here) if self.machine is not None and here is not None else None
        if known is None:
            return None
        return known.spot if self.spot and known.spot is not None else known.on_demand


def pools(graph: Graph) -> Iterator[FilePool]:
    """All pools of the stack file."""
    place = str(graph.section("platform").get("kind"))
    for name, raw in graph.entries("pools"):
        machine_name = raw.get("machine")
        machine = machines.find(place, machine_name) if isinstance(machine_name, str) else None
        gpu = mapping(raw.get("gpu"))
        count = machine.gpus if machine is not None else gpu.get("count")
        memory = machine.gpu_memory_gib * 2**30 if machine is not None else size(gpu.get("memory"))
        price = raw.get("pricePerHour")
        yield FilePool(
            name=name,
            machine=machine,
            machine_name=str(machine_name or ""),
            min=raw["min"] if isinstance(raw.get("min"), int) else 0,
            max=raw["max"] if isinstance(raw.get("max"), int) else None,
            gpus=count if isinstance(count, int) else 0,
            gpu_memory=memory,
            own_price=float(price) if isinstance(price, (int, float)) else None,
            spot=raw.get("capacity") == "spot",
            on_cpu=raw.get("device") == "cpu",
            # machines that are there already were paid for elsewhere
            is_priced=machine_name is not None or price is not None,
        )


def model_pools(model: Mapping[str, Any]) -> tuple[str, ...]:
    """The pools a model names, the first choice first."""
    more = model.get("fallbackPools")
    return (str(model.get("pool")), *(str(name) for name in (more if isinstance(more, Sequence) else ())))


def region(graph: Graph) -> str | None:
    """Where the stack's machines are bought."""
    value = graph.section("platform").get("region")
    return value if isinstance(value, str) else None


def mapping(value: Any) -> dict[str, Any]:
    """``value`` where it is a mapping, else an empty one."""
    return dict(value) if isinstance(value, Mapping) else {}


def size(value: Any) -> float | None:
    """Bytes of ``15Gi``, ``24GB`` or a number; None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) * _SCALE[match[2] or ""] if match else None


def version(text: str) -> tuple[int, ...]:
    """``v26.7.0`` → (26, 7, 0), for comparing; what follows the numbers does not count."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


@cache
def catalogue() -> Mapping[str, Mapping[str, Any]]:
    """The models that are known, by id."""
    found: dict[str, Mapping[str, Any]] = {}
    for file in sorted(_MODELS.glob("*.yaml")):
        for entry in (yaml.safe_load(file.read_text(encoding="utf-8")).get("models") or {}).values():
            found[str(entry["id"])] = entry
    return found
