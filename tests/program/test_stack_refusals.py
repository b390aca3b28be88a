"""Stacks that must not be built, the one that builds almost nothing, and where a cloud's name may stand."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest

from tests.program.stack_kit import PROJECT, Graph, run, run_local, sections

CLOUD = re.compile(r"(?<![A-Za-z])(aws|azure|gcp|eks|aks|gke)(?![A-Za-z])", re.IGNORECASE)


def no_gpus(config: dict[str, Any]) -> None:
    config["ebbtide:models"]["smollm2-135m"]["gpus"] = 0


def short_ttl(config: dict[str, Any]) -> None:
    config["ebbtide:models"]["smollm2-135m"]["idleTtl"] = "10s"


def unknown_pool(config: dict[str, Any]) -> None:
    config["ebbtide:models"]["smollm2-135m"]["pool"] = "gpu-1xa100"


def unknown_section(config: dict[str, Any]) -> None:
    config["ebbtide:model"] = {}


@pytest.mark.parametrize(
    ("spoil", "path"),
    [
        (no_gpus, "models.smollm2-135m.gpus"),
        (short_ttl, "models.smollm2-135m.idleTtl"),
        (unknown_pool, "models.smollm2-135m.pool"),
        (unknown_section, "model"),
    ],
)
def test_a_bad_stack_file_stops_before_any_resource_is_registered(
    spoil: Callable[[dict[str, Any]], None], path: str, tmp_path: Path
) -> None:
    config, graph = sections("local"), Graph()
    spoil(config)
    with pytest.raises(pulumi.RunError, match=rf"stacks/Pulumi\.local\.yaml: {re.escape(path)}: "):
        run_local(config, tmp_path, graph)
    assert not graph.recorded
    assert not graph.exports


def test_every_finding_comes_at_once(tmp_path: Path) -> None:
    config = sections("local")
    for spoil in (no_gpus, short_ttl, unknown_section):
        spoil(config)
    with pytest.raises(pulumi.RunError) as refused:
        run_local(config, tmp_path)
    assert len(str(refused.value).splitlines()) >= 3


def test_without_the_local_cluster_the_local_stack_says_how_to_start_it(tmp_path: Path) -> None:
    graph = Graph()
    with pytest.raises(pulumi.RunError, match=r"the local cluster is not up: run `make local`"):
        run("local", sections("local"), tmp_path, graph)
    assert not graph.recorded


def test_facts_of_another_version_count_as_no_cluster(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text('{"kubeconfig": "x", "gpu_nodes": [], "of_another_time": 1}')
    with pytest.raises(pulumi.RunError, match="the local cluster is not up"):
        run("local", sections("local"), tmp_path)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The local stack without a model."""
    config = sections("local")
    config["ebbtide:models"] = {}
    config["ebbtide:gateway"] = {"groups": {"everyone": {"models": ["*"]}}, "keys": {"demo": {"group": "everyone"}}}
    del config["ebbtide:guard"]
    return run_local(config, tmp_path_factory.mktemp("state"))


def test_without_models_the_platform_alone_is_built(empty: Graph) -> None:
    kinds = {r.kind for r in empty.recorded}
    assert {"LocalPlatform", "IdleScalingEngine", "ModelNamespace", "Gateway"} <= kinds
    absent = {"ModelService", "IdleScalingPolicy", "VllmImage", "ScaledObject", "InterceptorRoute", "PersistentVolume"}
    assert not absent & kinds
    assert [r.name for r in empty.of("Image")] == ["gateway-image"]
    assert empty.exports["models"] == ([], False)


def test_without_models_nothing_wants_a_gpu_and_none_may_be_had(empty: Graph) -> None:
    assert not [d.urn for d in empty.of("Deployment") if "nvidia.com/gpu" in repr(d.pod)]
    assert empty.one("ResourceQuota").inputs["spec"]["hard"] == {"requests.nvidia.com/gpu": "0"}


def sources() -> list[Path]:
    """The project's programs, without the folders that may know a cloud: its platform, its plugin's stand-in."""
    apart = (PROJECT / "components" / "platforms", PROJECT / "lab" / "plugins" / "clouds")
    files = [
        file
        for room in ("infra", "components", "images", "lab")
        for file in (PROJECT / room).rglob("*")
        if file.suffix in (".py", ".sh") and not set(apart) & set(file.parents)
    ]
    assert len(files) > 80
    return files


def test_no_cloud_is_named_outside_the_platforms() -> None:
    named = [
        f"{file.relative_to(PROJECT)}:{number}: {line.strip()}"
        for file in sources()
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if CLOUD.search(line)
    ]
    assert not named


@pytest.mark.parametrize("line", ['if cloud == "aws":', "AZURE_REGION", "make_gke_pool()", "an EKS cluster"])
def test_the_search_for_clouds_would_find_one(line: str) -> None:
    assert CLOUD.search(line)


@pytest.mark.parametrize("line", ["breaks", "tasks", "laws", "seeks"])
def test_the_search_for_clouds_leaves_other_words_alone(line: str) -> None:
    assert not CLOUD.search(line)
