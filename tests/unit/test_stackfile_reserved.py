"""Labels and taints that are Kubernetes' or the product's own, and taints that throw others' pods out, are refused."""

from __future__ import annotations

from typing import Any

import pytest

from infra.stackfile.findings.owner_needed import needs_owner
from infra.stackfile.load import read_values
from tests.unit.test_stackfile_messages import EXISTING, messages, stack

POOL = ("pools", "gpu-8xa100")
RESERVED = (
    "node-role.kubernetes.io/control-plane",
    "kubernetes.io/hostname",
    "node.kubernetes.io/unschedulable",
    "k8s.io/role",
    "beta.k8s.io/x",
    "ebbtide.dev/pool",
    "own.ebbtide.dev/x",
)
FREE = ("workerType", "nvidia.com/gpu", "example.com/team", "notkubernetes.io/x", "kubernetes.io.example.com/x")


def lines_of(*changes: tuple[tuple[Any, ...], Any]) -> list[str]:
    pool = {"gpu": {"count": 8, "product": "A100", "memory": "80Gi"}, "max": 2, "nodes": ["a"]}
    raw = stack((("platform",), EXISTING), (("pools",), {"gpu-8xa100": pool}), *changes)
    for model in raw["models"].values():
        model["pool"] = "gpu-8xa100"
    return [each for each in messages(raw) if "EBB118" in each or "EBB044" in each]


@pytest.mark.parametrize("key", RESERVED)
def test_a_label_with_a_reserved_prefix_is_refused(key: str) -> None:
    (line,) = lines_of(((*POOL, "labels"), {key: "x", "team": "a"}))
    assert "has a prefix that Kubernetes or this product keeps for itself" in line
    assert "allowed: no prefix of kubernetes.io, k8s.io, ebbtide.dev, nor one below them" in line


@pytest.mark.parametrize("key", RESERVED)
def test_a_taint_with_a_reserved_prefix_is_refused(key: str) -> None:
    (line,) = lines_of(((*POOL, "taints"), [{"key": key, "value": "x"}]))
    assert f"pools.gpu-8xa100.taints[0].key: '{key}' has a prefix" in line


@pytest.mark.parametrize("key", FREE)
def test_other_prefixes_are_free(key: str) -> None:
    assert lines_of(((*POOL, "labels"), {key: "x"}), ((*POOL, "taints"), [{"key": key, "value": "x"}])) == []


def test_labels_that_the_nodes_have_already_may_be_named() -> None:
    labels = {"node.kubernetes.io/instance-type": "dgx"}
    beside: list[Any] = [((*POOL, "nodeLabels"), labels), ((*POOL, "taints"), [])]
    assert lines_of(((*POOL, "labels"), labels), *beside) == []
    assert len(lines_of(((*POOL, "labels"), {"node.kubernetes.io/instance-type": "other"}), *beside)) == 1


@pytest.mark.parametrize(
    "taints",
    [
        [{"key": "workerType", "value": "x", "effect": "NoExecute"}],
        [{"key": "team", "value": "", "effect": "NoExecute"}],
        [{"key": "a", "value": "x"}, {"key": "a", "value": "x", "effect": "NoExecute"}],
        [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoExecute"}],
    ],
)
def test_a_taint_that_throws_pods_off_nodes_that_are_there_is_refused(taints: list[dict[str, str]]) -> None:
    (line,) = lines_of(((*POOL, "taints"), taints))
    assert "'NoExecute' throws every pod that does not tolerate it off nodes that are there already" in line
    assert f"taints[{len(taints) - 1}].effect" in line
    assert "fix: set effect: NoSchedule" in line


@pytest.mark.parametrize("name", ["acme/own-model", "acme/Other-7B", "x/y", "meta-llama/Llama-9"])
def test_a_model_that_nobody_knows_needs_a_code_owner(name: str) -> None:
    from infra.planner.facts import presets
    from infra.planner.judgement import judge

    raw = stack()
    for model in raw["models"].values():
        model["id"] = name
    asked = needs_owner(judge(read_values(raw, "stacks/Pulumi.x.yaml"), presets.find).findings)
    assert [each.code for each in asked] == ["EBB250"] * len(raw["models"])
    assert all("a code owner has to agree" in str(each) for each in asked)
    known = judge(read_values(stack(), "stacks/Pulumi.x.yaml"), presets.find)
    assert all(each.code != "EBB250" for each in needs_owner(known.findings))
