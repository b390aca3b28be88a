"""Recorder of the values that charts take: ``python -m scripts.record_chart_values CHART[=FOLDER or .tgz]…``.

Each chart that a stack installs has a record in ``tests/fixtures/charts``: the names of its values, read out of its
``values.yaml`` and templates, each with its kind, and nothing else of it. A chart named without a place is fetched by
helm from the repository that the stack names. Which values the stacks give is recorded for all charts at each run,
also of a run that names none. It needs every cloud's SDK (``make setup-all``).
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from components.typed.tables import read_table
from infra.atomic_write import atomic_write
from infra.console import say
from infra.recorder.unknown_outputs import joined
from infra.workspace import paths
from lab.toolchain import go_programs
from scripts.chart_values import KUBERNETES, ChartRecord, Kind, chart_name, kind_of, record_file, used_paths
from scripts.shape_graphs import Entry, files, recorded

HELM = go_programs.GoProgram("helm", "helm", "helm.sh/helm/v3/cmd/helm")
RELEASE = "kubernetes:helm.sh/v3:Release"
_HEAD = """\
# The names of the values that this chart takes, and what each is; nothing else of the chart is here. Written by
# `python -m scripts.record_chart_values`, never edited; where the chart cannot be had, `reason` stands for `values`.
"""
_TEMPLATES = (".yaml", ".yml", ".tpl", ".txt")
_COMMENT = re.compile(r"\{\{-?\s*/\*.*?\*/\s*-?\}\}", re.DOTALL)
_PATH = r"\.Values\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
_READ = re.compile(_PATH)
_EACH = re.compile(rf"range\s+\$\w+\s*,\s*\$\w+\s*:=\s*\$?{_PATH}")


@dataclass
class Installed:
    """A chart as the stacks install it: what its releases name, and each set of values that they give."""

    chart: str
    version: str
    repository: str | None
    values: list[dict[str, Any]] = field(default_factory=list)


def releases(entries: Iterable[Entry]) -> Iterator[dict[str, Any]]:
    """Yield the inputs of every release of a graph."""
    return (entry["inputs"] for entry in entries if entry["type"] == RELEASE)


def installed() -> dict[str, Installed]:
    """Return every chart that the shipped stacks and their variants install, by name."""
    charts: dict[str, Installed] = {}
    for stack, config in files():
        for release in releases(recorded(stack, config)):
            repository = (release.get("repositoryOpts") or {}).get("repo")
            name = chart_name(release["chart"])
            one = charts.setdefault(name, Installed(release["chart"], release["version"], repository))
            one.values.append(release["values"])
    return charts


def chart_texts(chart: Path) -> dict[PurePosixPath, str]:
    """Return the values and templates of a chart and of the charts in it, by path from its top."""
    if chart.is_dir():
        texts = {
            PurePosixPath(file.relative_to(chart)): file.read_text() for file in chart.rglob("*") if file.is_file()
        }
        return {path: text for path, text in texts.items() if _counts(path)}
    with tarfile.open(chart) as archive:
        members = (
            (PurePosixPath(*PurePosixPath(member.name).parts[1:]), archive.extractfile(member)) for member in archive
        )
        return {path: file.read().decode() for path, file in members if file and _counts(path)}


def _counts(path: PurePosixPath) -> bool:
    return path.name == "values.yaml" or ("templates" in path.parts and path.suffix in _TEMPLATES)


def kinds(texts: Mapping[PurePosixPath, str]) -> dict[str, Kind]:
    """Return the kind of every value of a chart by its path, those of the charts in it under their names."""
    by_path: dict[str, Kind] = {}
    charts: defaultdict[str, dict[PurePosixPath, str]] = defaultdict(dict)
    for path, text in texts.items():
        if path.parts[0] == "charts" and len(path.parts) > 2:
            charts[path.parts[1]][PurePosixPath(*path.parts[2:])] = text
    for name, inner in charts.items():
        by_path[name] = "map"
        by_path |= {f"{name}.{path}": kind for path, kind in kinds(inner).items()}
    values = yaml.safe_load(texts.get(PurePosixPath("values.yaml"), "")) or {}
    templates = [_COMMENT.sub("", text) for path, text in texts.items() if path.parts[0] == "templates"]
    named = _Named(_matches(_READ, templates), _matches(_EACH, templates))
    by_path |= dict(_kinds(values, "", named))
    for name in sorted(named.read | named.above):
        if not any(by_path.get(parent) == "open" for parent in _parents(name)) and by_path.get(name, "null") == "null":
            by_path[name] = "map" if name in named.above else by_path.get(name, "any")
    return dict(sorted(by_path.items()))


@dataclass(frozen=True)
class _Named:
    """The paths that templates name: all of them, and those of maps whose every entry they go through."""

    read: set[str]
    each: set[str]

    @property
    def above(self) -> set[str]:
        return {parent for path in self.read for parent in _parents(path)}


def _matches(pattern: re.Pattern[str], templates: Iterable[str]) -> set[str]:
    return {match for text in templates for match in pattern.findall(text)}


def _kinds(values: Mapping[str, Any], at: str, named: _Named) -> Iterator[tuple[str, Kind]]:
    for key, value in values.items():
        path, kind = joined(at, str(key)), kind_of(value)
        entries = kind == "map" and path in named.each
        if kind == "map" and (
            (key in KUBERNETES and path not in named.above)
            or (entries and not all(isinstance(entry, Mapping) for entry in value.values()))
        ):
            kind = "open"
        yield path, kind
        if kind == "map":
            yield from _alike(value, path, named) if entries else _kinds(value, path, named)


def _alike(entries: Mapping[str, Mapping[str, Any]], at: str, named: _Named) -> Iterator[tuple[str, Kind]]:
    """Yield for each entry of a map what any of them has: a template reads all of them by the same names."""
    by_path: dict[str, Kind] = {}
    for key, entry in entries.items():
        for path, kind in _kinds(entry, joined(at, key), named):
            rest = path.removeprefix(joined(at, key))
            by_path[rest] = kind if by_path.get(rest, "null") == "null" else by_path[rest]
    for key in entries:
        yield joined(at, key), "map"
        yield from ((joined(at, key) + rest, kind) for rest, kind in by_path.items())


def _parents(path: str) -> list[str]:
    return [path[: match.start()] for match in re.finditer(r"\.", path)]


@cache
def helm() -> str:
    """Return the program, built from its Go module the first time."""
    go_programs.build((HELM,), paths(), lambda program: say("building helm, once"), lambda line: None)
    return str(paths().bin / HELM.name)


def fetched(chart: Installed, folder: Path) -> Path:
    """Fetch a chart by helm from where the stacks take it; return its archive in ``folder``."""
    place = [] if chart.repository is None else ["--repo", chart.repository]
    argv = [helm(), "pull", chart.chart, *place, "--version", chart.version, "--destination", str(folder)]
    if subprocess.run(argv, check=False).returncode:
        raise SystemExit(f"helm cannot fetch {chart.chart} here; name its folder or archive: CHART=PATH --source …")
    return next(folder.glob("*.tgz"))


def file_text(record: ChartRecord) -> str:
    """Return what a record's file says."""
    return _HEAD + yaml.safe_dump(record.model_dump(mode="json", exclude_none=True), sort_keys=False, width=120)


def main(argv: list[str] | None = None) -> None:
    """Record the charts that are named, and for every chart which values the stacks give."""
    parser = argparse.ArgumentParser(prog="python -m scripts.record_chart_values", description=__doc__)
    parser.add_argument("charts", nargs="*", metavar="CHART[=PATH]", help="a chart's name; PATH: its folder or archive")
    parser.add_argument("--source", help="where PATH was taken from: a repository and its tag, or an archive")
    options = parser.parse_args(argv)
    known = installed()
    for argument in options.charts:
        name, _, path = argument.partition("=")
        if name not in known:
            parser.error(f"{name}: no stack installs it; they install {', '.join(sorted(known))}")
        if path and known[name].version.removeprefix("v") not in (options.source or ""):
            parser.error(f"--source must say where {path} was taken from, with the version {known[name].version}")
        with tempfile.TemporaryDirectory() as folder:
            at = Path(path) if path else fetched(known[name], Path(folder))
            _write(known[name], kinds(chart_texts(at)), options.source or known[name].repository or known[name].chart)
    for name, chart in known.items():
        if not record_file(name).exists():
            say(f"{name}: there is no record; run this with its name")
            continue
        record = ChartRecord.model_validate(read_table(record_file(name)))
        used = sorted(set().union(*(used_paths(record, values) for values in chart.values)))
        atomic_write(record_file(name), file_text(record.model_copy(update={"used": tuple(used)})))
        say(f"{name} {record.version}: takes {len(record.values)} values, is given {len(used)}")


def _write(chart: Installed, values: dict[str, Kind], source: str) -> None:
    today = datetime.date.today()
    name = chart_name(chart.chart)
    record = ChartRecord(chart=name, version=chart.version, date=today, source=source, values=values)
    atomic_write(record_file(name), file_text(record))


if __name__ == "__main__":
    main()
