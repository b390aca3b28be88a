"""Charts rendered by Helm with the values that the stacks give, where ``EBBTIDE_CHARTS`` names a folder of them."""

from __future__ import annotations

import copy
import os
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.idle_scaling.manifest_set import type_token
from components.typed.tables import LOADER
from scripts.chart_values import records
from scripts.record_chart_values import Installed, helm, installed
from tests.program.recorded_manifests import filled
from tests.program.wire_types import wrong_inputs

CHARTS = os.environ.get("EBBTIDE_CHARTS", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHARTS, reason="not tried: EBBTIDE_CHARTS names no folder of charts to render"),
]
RECORDS = records()
KUBERNETES = "1.34.4"
_RANDOM = re.compile(r"[A-Za-z0-9+/=]{64,}")  # certificates that a chart makes, and sums of them
_QUANTITY = re.compile(r"\.resources\.(limits|requests)\.\w+: is int")  # to the SDK text, to an API server a number too
_DURATION = re.compile(r"\d+(ms|s|m|h)")
NOT_SEEN = {
    ("aws-load-balancer-controller", "keepTLSSecret"): "it looks in the cluster for the Secret that is there",
    ("keda-add-ons-http", "interceptor.pdb.maxUnavailable"): "no stack has two interceptors, and one has no budget",
    ("keda-add-ons-http", "interceptor.pdb.minAvailable"): "no stack has two interceptors, and one has no budget",
    ("traefik", "image"): "it is empty until the image's digest is known",
}


@cache
def charts() -> dict[str, Installed]:
    return installed()


def sets(name: str) -> list[dict[str, Any]]:
    """The different sets of values that stacks give to a chart, as they are once everything exists."""
    return list({str(values): filled(values) for values in charts()[name].values}.values())


def chart(name: str) -> Path:
    stem = f"{name}-{RECORDS[name].version}"
    for at in (Path(CHARTS) / stem, Path(CHARTS) / f"{stem}.tgz"):
        if at.exists():
            return at
    pytest.skip(f"not tried: {CHARTS} has no {stem} or {stem}.tgz")


def template(name: str, values: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    argv = [helm(), "template", name, str(chart(name)), f"--kube-version={KUBERNETES}", "--values=-"]
    return subprocess.run(argv, input=yaml.safe_dump(values), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", RECORDS)
def test_helm_takes_every_set_of_values_and_what_comes_out_fits_kubernetes(name: str) -> None:
    for values in sets(name):
        done = template(name, values)
        assert done.returncode == 0, done.stderr
        documents = [document for document in yaml.load_all(done.stdout, Loader=LOADER) if document]
        assert documents
        # the SDK spells x-kubernetes-… of a CustomResourceDefinition its own way, and no value reaches them
        ours = [document for document in documents if document["kind"] != "CustomResourceDefinition"]
        wrong = {sentence for document in ours for sentence in wrong_inputs(type_token(document), document)}
        assert {sentence for sentence in wrong if not _QUANTITY.search(sentence)} == set()


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, Mapping):
        return {key: changed(child) for key, child in value.items()}
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, list):
        return []
    return f"1{value}" if _DURATION.fullmatch(value) else f"{value}x"


def has_effect(name: str, values: Mapping[str, Any], path: str) -> bool:
    """Whether another value there makes Helm refuse it or render something else."""
    other = copy.deepcopy(dict(values))
    inner, (*steps, last) = other, path.split(".")
    for step in steps:
        inner = inner.get(step, {})
    if inner.get(last, {}) == {}:
        return False
    inner[last] = changed(inner[last])
    before, after = template(name, values), template(name, other)
    return after.returncode != 0 or _RANDOM.sub("", before.stdout) != _RANDOM.sub("", after.stdout)


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, record in RECORDS.items() for path in record.used])
def test_a_value_has_an_effect(name: str, path: str) -> None:
    has_one = any(has_effect(name, values, path) for values in sets(name))
    assert has_one != ((name, path) in NOT_SEEN)
