"""Values of Helm charts: which a chart takes, as recorded in ``tests/fixtures/charts``, and what is wrong with values
that it is given.

A record has the names of a chart's values and what each is, and nothing else of the chart. ``map`` is one whose keys
are the chart's own; ``open`` a map whose keys are not: the chart ships it empty, or it is Kubernetes' own. ``null`` has
no value in the chart and ``any`` is named by a template alone: of these two the kind is not known.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from components.typed.tables import read_table
from infra.recorder.unknown_outputs import joined
from infra.workspace import PROJECT

FOLDER = PROJECT / "tests" / "fixtures" / "charts"
Kind = Literal["map", "open", "list", "string", "number", "bool", "null", "any"]
_OF_ANY_KIND = ("null", "any")
KUBERNETES = {
    "additionalVolumeMounts": ("ContainerArgs", "volumeMounts"),
    "additionalVolumes": ("PodSpecArgs", "volumes"),
    "affinity": ("PodSpecArgs", "affinity"),
    "env": ("ContainerArgs", "env"),
    "nodeSelector": ("PodSpecArgs", "nodeSelector"),
    "podSecurityContext": ("PodSpecArgs", "securityContext"),
    "resources": ("ContainerArgs", "resources"),
    "securityContext": ("ContainerArgs", "securityContext"),
    "spec": ("ServiceArgs", "spec"),
    "tolerations": ("PodSpecArgs", "tolerations"),
}
"""Values by their names whose content is Kubernetes' own: the type of ``core/v1`` and its field that they end up in."""


class ChartRecord(BaseModel):
    """One chart at one version. ``values`` has the kind of each value by its path; it is empty where ``reason`` says
    why the chart could not be read. ``used`` are the paths that the product's stacks give."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chart: str
    version: str
    date: datetime.date
    source: str | None = None
    reason: str | None = None
    used: tuple[str, ...] = ()
    values: dict[str, Kind] = {}

    @model_validator(mode="after")
    def _recorded_or_not(self) -> ChartRecord:
        if bool(self.values) == bool(self.reason) or bool(self.values) != bool(self.source):
            raise ValueError("must have source and values, or the reason why they are not recorded")
        return self


def chart_name(chart: str) -> str:
    """Return a chart's name: the last part where a release names it by its registry."""
    return chart.rpartition("/")[2]


def record_file(chart: str, folder: Path = FOLDER) -> Path:
    """Return the file of a chart's record; there is one a chart, of the version that the product pins."""
    return folder / f"{chart_name(chart)}.yaml"


def records(folder: Path = FOLDER) -> dict[str, ChartRecord]:
    """Return every record by the chart's name."""
    chart_records = (ChartRecord.model_validate(read_table(file)) for file in sorted(folder.glob("*.yaml")))
    return {record.chart: record for record in chart_records}


def kind_of(value: Any) -> Kind:
    """Return what a value is. An empty map is ``open``: a chart that ships one says nothing of its keys."""
    if isinstance(value, Mapping):
        return "map" if value else "open"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return "list" if isinstance(value, list) else "null" if value is None else "string"


def used_paths(record: ChartRecord, values: Mapping[str, Any]) -> set[str]:
    """Return the paths that ``values`` give, down to what the chart takes as it is: lists, and maps open to any key."""
    return {path for path, _ in _leaves(record, values, "")}


def _leaves(record: ChartRecord, value: Any, at: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value and record.values.get(at, "map") == "map":
        for key, item in value.items():
            yield from _leaves(record, item, joined(at, key))
    elif at:
        yield at, value


def wrong_values(record: ChartRecord, values: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with values for a chart: each path it does not take, with the nearest that it does, and each
    value of another kind. A late value (``${URN#property}``) counts as text. Nothing where no values are recorded."""
    if record.reason:
        return []
    return [sentence for path, value in _leaves(record, values, "") for sentence in _wrong(record, path, value)]


def _wrong(record: ChartRecord, path: str, value: Any) -> Iterator[str]:
    if path not in record.values:
        near = difflib.get_close_matches(path, record.values, 1, 0.0)
        yield f"{path}: {record.chart} {record.version} takes no such value, perhaps {near[0]}"
        return
    expected, actual = ("map" if kind == "open" else kind for kind in (record.values[path], kind_of(value)))
    if expected not in (actual, *_OF_ANY_KIND):
        yield f"{path}: is {actual}; {record.chart} {record.version} takes {expected}"
