"""Cold path: how long a request waits when no replica is awake, by phase from no node to the first token."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from components.typed.tables import read_table
from infra.stackfile import yaml_source

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


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Phase of a cold path. ``seconds`` is None where no measurement is known. ``on`` is the date of the figure."""

    name: str
    seconds: float | None
    by: By
    source: str
    on: str | None = None


@dataclass(frozen=True)
class ColdPath:
    """Phases in order. ``cold`` is from no node at all, ``warm`` from a node that has the image; both count known
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
        """Return the longest known phase."""
        return max(self.phases, key=lambda phase: phase.seconds or 0)

    @property
    def advice(self) -> str:
        """Return the setting that shortens the dominant phase most."""
        return SHORTEN[self.dominant.name]


# what a running wake shows of itself, as images/gateway/ebbtide_kube/wake_progress.py names it: the driver is not told
# from the node, and the engine reads its weights without a word to the outside
_OBSERVED = {
    "decision": ("decision",),
    "node": ("node", "driver"),
    "image": ("image",),
    "engine": ("weights", "engine", "first token"),
}


def observed_phases(path: ColdPath) -> dict[str, float]:
    """Return the seconds of each phase that is seen of a running wake; one with an unknown part is left out."""
    seconds = {phase.name: phase.seconds for phase in path.phases}
    parts = {observed: [seconds[name] for name in names] for observed, names in _OBSERVED.items()}
    known = {observed: [part for part in each if part is not None] for observed, each in parts.items()}
    return {observed: round(sum(each), 1) for observed, each in known.items() if len(each) == len(parts[observed])}


@cache
def figures() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Return the table in ``cold_path.yaml``."""
    read: Mapping[str, Mapping[str, Mapping[str, Any]]] = read_table(Path(__file__).with_name("cold_path.yaml"))
    return read


def cold_path(
    place: str,
    image_bytes: int | None,
    weight_bytes: int | None,
    measured: Mapping[str, float] | None = None,
) -> ColdPath:
    """Return the cold path of a model on ``place`` with ``weight_bytes`` to fetch for one replica.

    ``measured`` are seconds by phase that replace the table's.
    """
    sizes = {"image": image_bytes, "weights": weight_bytes}
    return ColdPath(tuple(_phase(name, place, sizes.get(name), measured or {}) for name in PHASES))


def _phase(name: str, place: str, size: int | None, measured: Mapping[str, float]) -> Phase:
    if name in measured:
        return Phase(name=name, seconds=measured[name], by="given", source="measured by this deployment")
    table = figures()[name]
    row = table.get(place) or table.get("default") or {"by": "unknown", "source": f"no figure for {place}"}
    by, on = row["by"], str(row["on"]) if "on" in row else None
    if "rate" in row:
        if size is None:
            return Phase(name=name, seconds=None, by="unknown", source=f"its size is unknown; {row['source']}", on=on)
        return Phase(name=name, seconds=size / row["rate"], by=by, source=row["source"], on=on)
    return Phase(name=name, seconds=row.get("seconds"), by=by, source=row["source"], on=on)


# A deployment's own figures in place of the table's: ``--measured FILE``.

ALL = "*"
_ALLOWED = f"a mapping of phases ({', '.join(PHASES)}) to seconds, for all models or under models.NAME; or a wake.json"


class BadMeasurement(ValueError):
    """A file that is no measurement; the text says where, what is allowed and how to fix it."""


def read_measured(file: Path) -> dict[str, dict[str, float]]:
    """Read seconds by phase, under a model's name or ``*``, from YAML or JSON. Raises ``BadMeasurement``."""
    try:
        document = yaml_source.read(file, "seconds by phase").value
    except yaml_source.Unreadable as error:
        message = str(error).replace("is not YAML", "is neither YAML nor JSON")
        raise BadMeasurement(f"{file} {message}; allowed: {_ALLOWED}; fix: {error.problem.fix}") from error
    if not isinstance(document, Mapping):
        raise BadMeasurement(f"{file} is not a mapping; allowed: {_ALLOWED}")
    if "phases_seconds_since_request" in document:
        return {ALL: _wakes(file, document["phases_seconds_since_request"])}
    models = document.get("models", {})
    if not isinstance(models, Mapping):
        raise BadMeasurement(f"{file}: models is not a mapping; allowed: {_ALLOWED}")
    general = {
        key: value for key, value in document.items() if key not in ("models", "what", "date", "machine", "source")
    }
    return {ALL: _phases(file, "", general), **{str(n): _phases(file, f"models.{n}.", p) for n, p in models.items()}}


def _phases(file: Path, at: str, phases: object) -> dict[str, float]:
    if not isinstance(phases, Mapping):
        raise BadMeasurement(f"{file}: {at.rstrip('.')} is not a mapping; allowed: {_ALLOWED}")
    for name, seconds in phases.items():
        if name not in PHASES:
            raise BadMeasurement(f"{file}: {at}{name} is not a phase; allowed: {', '.join(PHASES)}")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
            raise BadMeasurement(f"{file}: {at}{name} is not a time; allowed: a number of seconds from 0")
    return {str(name): float(seconds) for name, seconds in phases.items()}


def _wakes(file: Path, rounds: Any) -> dict[str, float]:
    """Return each phase's median span from what ``benchmarks/wake.py`` writes: when each wake reached each step."""
    try:
        spans = [_spans(each) for each in rounds]
        return {phase: round(statistics.median(span[phase] for span in spans), 2) for phase in spans[0]}
    except (TypeError, KeyError, IndexError, ValueError) as error:
        allowed = "wakes with woken, scheduled, image, engine started, weights, engine ready and first token"
        raise BadMeasurement(f"{file}: phases_seconds_since_request cannot be read; allowed: {allowed}") from error


def _spans(wake: Mapping[str, float]) -> dict[str, float]:
    return {
        "decision": wake["woken"],
        "node": _between(wake, ("woken", "scheduled")),
        "driver": 0.0,
        "image": _between(wake, ("scheduled", "image")),
        "weights": _between(wake, ("engine started", "weights")),
        "engine": _between(wake, ("image", "engine started")) + _between(wake, ("weights", "engine ready")),
        "first token": _between(wake, ("engine ready", "first token")),
    }


def _between(wake: Mapping[str, float], steps: Iterable[str]) -> float:
    first, last = steps
    return max(0.0, wake[last] - wake[first])
