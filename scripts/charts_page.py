"""Generator of ``docs/charts.md``: which values the stacks give to charts, and what holds them."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.chart_values import KUBERNETES, ChartRecord, records

_HEAD = """\
# Charts and their values

What the stacks install by Helm, the values that they give, and what holds each of them without the chart: its name and
kind against what was recorded of the chart at that very version, and Kubernetes' types where its content is theirs.
Whether a value has the effect that is meant only [rendering](#to-render-them) tells. Written by `make docs` out of
`tests/fixtures/charts`.

| chart | version | values it takes | values given | recorded from |
|---|---|---|---|---|
"""
_FOOT = """
## To record a chart anew

After its version was moved, with every cloud's SDK (`make setup-all`):

```
.venv/bin/python -m scripts.record_chart_values keda                       # helm fetches it, from where the stacks do
.venv/bin/python -m scripts.record_chart_values lws=FOLDER --source "…"    # from its folder or .tgz
.venv/bin/python -m scripts.record_chart_values                            # only which values the stacks give
```

Names and kinds are recorded, and nothing else of the chart. Where it cannot be had, write its file by hand with
`chart`, `version`, `date` and a `reason`: its values are then held by nothing, and the table above says so.

## To render them

Tests render each chart that is there with every set of values that the stacks give: Helm must take them (with the
chart's own schema, where it has one), what comes out must fit Kubernetes' types, and each value must have an effect.
Helm is built from its Go module. Without charts these tests are skipped and say so. FOLDER has NAME-VERSION.tgz or
NAME-VERSION/ for each:

```
EBBTIDE_CHARTS=FOLDER .venv/bin/pytest tests/program/test_charts_rendered.py
```
"""
_KINDS = {
    "null": "name (the chart gives it no value)",
    "any": "name (read by a template alone)",
    "open": "name, kind; its keys are the stack's own",
}


def charts_page() -> str:
    """Return the whole page."""
    chart_records = records().values()
    return (
        _HEAD
        + "".join(map(_row, chart_records))
        + "".join(line for record in chart_records for line in _section(record))
        + _FOOT
    )


def _row(record: ChartRecord) -> str:
    source = record.source or f"not recorded: {record.reason}"
    return f"| `{record.chart}` | {record.version} | {len(record.values)} | {len(record.used)} | {source} |\n"


def _section(record: ChartRecord) -> Iterator[str]:
    if not record.used:
        return
    yield f"\n## {record.chart}\n\n| value | kind in the chart | held by |\n|---|---|---|\n"
    for path in record.used:
        yield f"| `{path}` | {record.values.get(path, 'unknown')} | {_held_by(record, path)} |\n"


def _held_by(record: ChartRecord, path: str) -> str:
    if not record.values:
        return "nothing"
    if path.rpartition(".")[2] in KUBERNETES:
        return "name, kind, Kubernetes' types"
    return _KINDS.get(record.values[path], "name, kind")
