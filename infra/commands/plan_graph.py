"""Counts of a stack's resources by type, from running its program under the recorder.

Importing a cloud's SDK takes seconds, so the counts are kept in the cache folder under a hash of everything they
depend on: the stack file, this program's sources, the SDKs' versions. Nothing is kept where a place's program looks at
this machine (its nodes already exist).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.platforms.kinds import KINDS
from infra.atomic_write import atomic_write
from infra.planner.report.document import ResourceCounts
from infra.workspace import PROJECT, paths

_SOURCES = ("infra", "components", "images")
_KEPT_FILES = 20


class NoGraph(Exception):
    """The reason why nothing could be counted, for a person to read."""


def graph_of(file: Path, stack: str, kind: str) -> ResourceCounts:
    """Return the counts of the stack in ``file``. Raises ``NoGraph``."""
    cached = _cache_file(file, stack) if KINDS[kind].makes_nodes else None
    if cached is not None and (counts := _read(cached)) is not None:
        return counts
    graph = _recorded(file, stack, kind)
    if cached is not None:
        _write(cached, graph)
    return graph


def counted(resources: list[dict[str, Any]]) -> ResourceCounts:
    """Count the resources in the list that ``ebbtide graph`` writes."""
    types = Counter(str(resource["type"]) for resource in resources)
    components = sum(1 for resource in resources if not resource["custom"])
    return ResourceCounts(len(resources), components, dict(sorted(types.items(), key=lambda item: (-item[1], item[0]))))


def _recorded(file: Path, stack: str, kind: str) -> ResourceCounts:
    try:
        from infra.recorder import command
        from infra.recorder.recorder import graph
        from infra.recorder.stack_source import read_stack
    except ImportError as error:
        raise NoGraph(_missing(error, kind)) from error
    try:
        # the program logs the stack file's warnings, which the plan already shows
        with contextlib.redirect_stderr(io.StringIO()):
            recording = command.recording_of(read_stack(file), stack)
        return counted(graph(recording.records))
    except command.GraphProblem as problem:
        cause = problem.__cause__
        raise NoGraph(_missing(cause, kind) if isinstance(cause, ImportError) else str(problem)) from problem


def _missing(error: ImportError, kind: str) -> str:
    named = (error.name or "").partition(".")[0]
    if named.startswith("pulumi_"):
        fix = f"install the extra {kind} (pip install 'ebbtide[{kind}]')"
        return f"the SDK of {kind} ({named}) is not installed; fix: {fix}"
    return f"{named or error} cannot be imported; fix: install ebbtide with the extra {kind}"


def _cache_file(file: Path, stack: str) -> Path:
    digest = hashlib.sha256(f"{stack}\n".encode())
    for part in _depends_on(file):
        digest.update(part)
    return paths(os.environ).cache / "graphs" / f"{digest.hexdigest()[:32]}.json"


def _depends_on(file: Path) -> Iterator[bytes]:
    for read in (file, PROJECT / "Pulumi.yaml", PROJECT / "waivers.yaml"):
        yield _bytes(read)
    for room in _SOURCES:
        for source in sorted((PROJECT / room).rglob("*")):
            if source.is_file() and "__pycache__" not in source.parts:
                yield f"\n{source.relative_to(PROJECT)}\n".encode() + _bytes(source)
    installed = Path(sysconfig.get_paths()["purelib"])
    yield "\n".join(sorted(each.name for each in installed.glob("pulumi*.dist-info"))).encode()


def _bytes(file: Path) -> bytes:
    """Return what can be read: whoever needs the file says what is wrong with it."""
    try:
        return file.read_bytes() if file.is_file() else b""
    except OSError:
        return b""


def _read(cached: Path) -> ResourceCounts | None:
    try:
        read = json.loads(cached.read_text())
        return ResourceCounts(int(read["total"]), int(read["components"]), dict(read["by_type"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(cached: Path, graph: ResourceCounts) -> None:
    """Write the file whole or not at all; a folder that cannot be written only costs time."""
    try:
        atomic_write(cached, json.dumps(asdict(graph)))
        old = sorted(cached.parent.glob("*.json"), key=lambda each: each.stat().st_mtime, reverse=True)[_KEPT_FILES:]
        for each in old:
            each.unlink(missing_ok=True)
    except OSError:
        return
