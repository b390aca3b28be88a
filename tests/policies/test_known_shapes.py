"""The list of known shapes is what the program makes, and every stack that the stack file can describe keeps to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from components.typed.tables import read_table
from infra.policies.shapes import FILE
from infra.stackfile.schema.stack import StackConfig
from scripts.record_shapes import shapes_of, text
from tests.policies import shapes_kit as kit

pytest.importorskip("pulumi_aws")
pytest.importorskip("pulumi_azure_native")
pytest.importorskip("pulumi_gcp")
INDEXES = range(len(kit.stacks()))


def test_the_list_is_what_the_program_makes_now() -> None:
    components, types = shapes_of(kit.graph(index) for index in INDEXES)
    written = FILE.read_text(encoding="utf-8")
    date = str(read_table(FILE)["date"])
    assert written == text(components, types, date), "run: python -m scripts.record_shapes"


@pytest.mark.parametrize("index", INDEXES)
def test_no_stack_of_ours_is_blocked_by_a_rule_over_its_graph(index: int) -> None:
    assert kit.blocks(index, kit.graph(index)) == {}


# nodes found by their labels need a cluster that answers; they are patched like those that are named
NOT_IN_A_GRAPH = {"nodeLabels"}


def _keys(model: type[BaseModel], seen: frozenset[type] = frozenset()) -> Iterator[str]:
    for name, field in model.model_fields.items():
        alias = field.alias or name
        if not alias.startswith("<"):
            yield alias
        for inner in _models(field.annotation):
            if inner not in seen:
                yield from _keys(inner, seen | {inner})


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in get_args(kind):
        yield from _models(inner)


def _written(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _written(item)
    if isinstance(value, list):
        for item in value:
            yield from _written(item)


def test_together_the_stacks_use_every_key_of_the_stack_file() -> None:
    used = {key for _, told in kit.stacks() for key in _written(told)}
    assert set(_keys(StackConfig)) - used - NOT_IN_A_GRAPH == set()
