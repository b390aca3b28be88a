"""Every release of every stack that the program can make gives its chart values that the chart takes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pulumi_kubernetes as k8s
import pytest

from infra.recorder import pulumi_internals
from scripts.chart_values import KUBERNETES, records, used_paths, wrong_values
from scripts.record_chart_values import Installed, installed
from tests.program.wire_types import wrong_value

pytest.importorskip("pulumi_aws")
pytest.importorskip("pulumi_azure_native")
pytest.importorskip("pulumi_gcp")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("charts")]  # one worker records the stacks, for all of them
RECORDS = records()
HOW = "run: python -m scripts.record_chart_values"


@cache
def charts() -> dict[str, Installed]:
    return installed()


def test_every_chart_that_a_stack_installs_is_recorded_at_the_pinned_version() -> None:
    pinned = {name: chart.version for name, chart in charts().items()}
    assert {name: record.version for name, record in RECORDS.items()} == pinned, HOW


@pytest.mark.parametrize("name", RECORDS)
def test_every_value_is_one_that_its_chart_takes(name: str) -> None:
    assert {sentence for values in charts()[name].values for sentence in wrong_values(RECORDS[name], values)} == set()


@pytest.mark.parametrize("name", RECORDS)
def test_the_values_that_are_listed_are_those_that_the_stacks_give(name: str) -> None:
    paths = set().union(*(used_paths(RECORDS[name], values) for values in charts()[name].values))
    assert set(RECORDS[name].used) == paths, HOW


def _at(values: Mapping[str, Any], path: str) -> Any:
    for step in path.split("."):
        values = values.get(step) or {}
    return values


@pytest.mark.parametrize("name", RECORDS)
def test_what_is_kubernetes_own_fits_its_types(name: str) -> None:
    wrong = set()
    for path in RECORDS[name].used:
        if named := KUBERNETES.get(path.rpartition(".")[2]):
            hint = pulumi_internals.hint(getattr(k8s.core.v1, named[0]), named[1])
            values = (_at(values, path) for values in charts()[name].values)
            wrong |= {sentence for value in values if value for sentence in wrong_value(value, hint, path)}
    assert wrong == set()
