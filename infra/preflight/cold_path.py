"""How long a request waits that finds nothing awake: the phases of the way from no node to the first token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

PHASES = ("decision", "node", "driver", "image", "weights", "engine", "first token")
By = Literal["measured", "vendor", "derived", "unknown", "given"]

SHORTEN: Mapping[str, str] = {
    "decision": "nothing: the wake is pushed, not polled for",
    "node": "pools.<pool>.min: 1 keeps one machine warm; capacity bought ahead (reservation) is found sooner",
    "driver": "pools.<pool>.nodeImage: an image that carries the driver",
    "image": "pools.<pool>.disk.throughput: more MiB/s; a node image that streams images",
    "weights": "the model store in the same region; a quantized variant has fewer bytes",
    "engine": "fewer graph sizes (extraArgs: --cuda-graph-sizes); a kept compile cache",
    "first token": "a shorter prompt",
}


@dataclass(frozen=True)
class Phase:
    """``seconds`` is None where nobody is known to have measured it. ``on`` is the date of the figure."""

    name: str
    seconds: float | None
    by: By
    source: str
    on: str | None = None


@dataclass(frozen=True)
class ColdPath:
    """The phases in order. ``cold`` is from no node at all, ``warm`` from a node that has the image; both count known
    phases only, and ``unknown`` names the others."""

    phases: tuple[Phase, ...]

    @property
    def cold(self) -> float:
        return sum(phase.seconds or 0 for phase in self.phases)

    @property
    def warm(self) -> float:
        return sum(phase.seconds or 0 for phase in self.phases if phase.name not in ("node", "driver", "image"))

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(phase.name for phase in self.phases if phase.seconds is None)

    @property
    def dominant(self) -> Phase:
        """The longest known phase."""
        return max(self.phases, key=lambda phase: phase.seconds or 0)

    @property
    def advice(self) -> str:
        """Which setting shortens it most."""
        return SHORTEN[self.dominant.name]


@cache
def figures() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """The table as it is kept."""
    read: Mapping[str, Mapping[str, Mapping[str, Any]]] = yaml.safe_load(
        Path(__file__).with_name("cold_path.yaml").read_text()
    )
    return read


def cold_path(
    place: str,
    image_bytes: int | None,
    weight_bytes: int | None,
    measured: Mapping[str, float] | None = None,
) -> ColdPath:
    """For a model on ``place`` with ``weight_bytes`` to fetch for one replica.

    ``measured`` are seconds by phase that take the place of the table's.
    """
    sizes = {"image": image_bytes, "weights": weight_bytes}
    return ColdPath(tuple(_phase(name, place, sizes.get(name), measured or {}) for name in PHASES))


def _phase(name: str, place: str, size: int | None, measured: Mapping[str, float]) -> Phase:
    if name in measured:
        return Phase(name, measured[name], "given", "measured by this deployment")
    table = figures()[name]
    row = table.get(place) or table.get("default") or {"by": "unknown", "source": f"no figure for {place}"}
    by, on = row["by"], str(row["on"]) if "on" in row else None
    if "rate" in row:
        if size is None:
            return Phase(name, None, "unknown", f"its size is unknown; {row['source']}", on)
        return Phase(name, size / row["rate"], by, row["source"], on)
    return Phase(name, row.get("seconds"), by, row["source"], on)
