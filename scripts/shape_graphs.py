"""Graphs of the shipped stacks, and of variants of them that together use every key of the stack file."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from components.typed.tables import read_table
from infra.planner.judgement import SKIP
from infra.recorder.command import STACKS, recording_of
from infra.recorder.recorder import graph
from infra.recorder.stack_source import read_stack, stack_file, stack_names
from infra.stackfile.schema.model import TEMPLATES

VARIANTS = Path(__file__).with_name("shape_variants.yaml")
PREFIX = "ebbtide:"
Entry = dict[str, Any]


def sections(stack: str) -> dict[str, Any]:
    """Return what a shipped stack's file says, keyed without namespace."""
    read = read_table(stack_file(STACKS, stack))["config"]
    return {key.removeprefix(PREFIX): value for key, value in read.items()}


def changed(original: Any, changes: Any) -> Any:
    """Return ``original`` with ``changes`` merged in; a None takes a key out."""
    if not isinstance(original, Mapping) or not isinstance(changes, Mapping):
        return copy.deepcopy(changes)
    merged = {key: copy.deepcopy(value) for key, value in original.items() if changes.get(key, "") is not None}
    for key, value in changes.items():
        if value is not None:
            merged[key] = changed(original.get(key, {}), value)
    return merged


def files() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield stack and sections: first of every shipped file, then of every variant."""
    for stack in stack_names(STACKS):
        yield stack, sections(stack)
    for variant in read_table(VARIANTS):
        stack = str(variant.pop("of"))
        yield stack, changed(sections(stack), variant)


def recorded(stack: str, config: Mapping[str, Any]) -> list[Entry]:
    """Return the graph of a stack file that says this, on a machine where nothing is up. The planner's doubts stop
    nothing: what is asked for is looked at, not whether it can be served."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(STACKS / TEMPLATES, Path(folder) / TEMPLATES)
        file = Path(folder) / f"Pulumi.{stack}.yaml"
        file.write_text(yaml.safe_dump({"config": {f"{PREFIX}{key}": value for key, value in config.items()}}))
        environ = {"EBBTIDE_STATE": str(Path(folder) / "state"), SKIP: "shapes are looked at"}
        with mock.patch.dict(os.environ, environ):
            return graph(recording_of(read_stack(file), stack).records)
