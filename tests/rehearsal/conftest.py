"""Stages, and the one real cluster that every rehearsed cluster is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.workspace import paths
from lab.plugins.rehearsal import Api
from lab.rehearsal.cluster import RehearsalCluster
from tests.rehearsal.stage import StackStage, Stage

DEFINITION = "CustomResourceDefinition"


def kinds(cluster: RehearsalCluster) -> None:
    """Install the custom kinds that charts would bring, since no chart can be fetched here."""
    cluster.install_kinds()
    kinds_listed = yaml.safe_load((Path(__file__).parent / "kinds.yaml").read_text())
    cluster.api.apply_kinds([definition(**each) for each in kinds_listed])


def definition(group: str, version: str, kind: str, plural: str, source: str, scope: str = "Namespaced") -> Any:
    """A kind whose objects may have any ``spec``; ``source`` says who brings the real one."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": DEFINITION,
        "metadata": {"name": f"{plural}.{group}", "annotations": {"ebbtide.dev/brought-by": source}},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Clouds without a cluster behind them."""
    return Stage(tmp_path)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RehearsalCluster]:
    """An empty real control plane, for one stack."""
    with RehearsalCluster(tmp_path / "cluster", paths()) as running:
        running.start()
        kinds(running)
        yield running


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RehearsalCluster]:
    """One for all tests that leave it as empty as they found it."""
    with RehearsalCluster(tmp_path_factory.mktemp("shared") / "cluster", paths()) as running:
        running.start()
        kinds(running)
        yield running


def api_of(cluster: RehearsalCluster) -> Api:
    """How the clouds' stand-ins and their credential programs reach it."""
    return Api(cluster.server, str(cluster.authority), str(cluster.certificate), str(cluster.key))


OnStage = Callable[[str], StackStage]


@pytest.fixture
def on_stage(tmp_path: Path, cluster: RehearsalCluster) -> OnStage:
    """One of the project's stacks, before its first ``up``."""
    return partial(_on_stage, tmp_path, cluster)


@pytest.fixture
def on_shared_stage(tmp_path: Path, shared_cluster: RehearsalCluster) -> OnStage:
    """One of the project's stacks that will not keep anything in its cluster, before its first ``up``."""
    return partial(_on_stage, tmp_path, shared_cluster)


def _on_stage(folder: Path, cluster: RehearsalCluster, stack: str) -> StackStage:
    root = folder / "project"
    root.mkdir()
    return StackStage(root, stack, api_of(cluster))
