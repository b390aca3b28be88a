"""A deployment's own figures in place of the table's: ``--measured FILE``."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.preflight.cold_path import PHASES

ALL = "*"
_ALLOWED = f"a mapping of phases ({', '.join(PHASES)}) to seconds, for all models or under models.NAME; or a wake.json"


class BadMeasurement(ValueError):
    """The file is no measurement; the text says where, what is allowed and how to mend it."""


def read(file: Path) -> dict[str, dict[str, float]]:
    """Seconds by phase, under a model's name or ``*``. YAML or JSON. Raises ``BadMeasurement``."""
    try:
        found = yaml.safe_load(file.read_text())
    except OSError as error:
        raise BadMeasurement(f"{file} cannot be read: {(error.strerror or 'unknown').lower()}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadMeasurement(f"{file} is neither YAML nor JSON; allowed: {_ALLOWED}") from error
    if not isinstance(found, Mapping):
        raise BadMeasurement(f"{file} is not a mapping; allowed: {_ALLOWED}")
    if "phases_seconds_since_request" in found:
        return {ALL: _wakes(file, found["phases_seconds_since_request"])}
    models = found.get("models", {})
    if not isinstance(models, Mapping):
        raise BadMeasurement(f"{file}: models is not a mapping; allowed: {_ALLOWED}")
    general = {key: value for key, value in found.items() if key not in ("models", "what", "date", "machine", "source")}
    return {ALL: _phases(file, "", general), **{str(n): _phases(file, f"models.{n}.", p) for n, p in models.items()}}


def _phases(file: Path, at: str, given: object) -> dict[str, float]:
    if not isinstance(given, Mapping):
        raise BadMeasurement(f"{file}: {at.rstrip('.')} is not a mapping; allowed: {_ALLOWED}")
    for name, seconds in given.items():
        if name not in PHASES:
            raise BadMeasurement(f"{file}: {at}{name} is not a phase; allowed: {', '.join(PHASES)}")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
            raise BadMeasurement(f"{file}: {at}{name} is not a time; allowed: a number of seconds from 0")
    return {str(name): float(seconds) for name, seconds in given.items()}


def _wakes(file: Path, rounds: Any) -> dict[str, float]:
    """Of what ``tests/bench/wake.py`` writes: when each step was reached, once a wake; the medians of the spans."""
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
