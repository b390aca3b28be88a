"""Recorded graphs of the project's own stacks, and what a reader of them asks: pools, pods, doors."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from infra.policies.node_choice import choices
from infra.recorder.command import STACKS, recording_of
from infra.recorder.recorder import Recording, graph
from infra.recorder.stack_source import read_stack, stack_file, stack_names

ALL_STACKS = stack_names(STACKS)
Resource = dict[str, Any]
Taint = tuple[str, str, str]

NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
AGENT_POOL = "azure-native:containerservice:AgentPool"
NODE_POOL = "gcp:container/nodePool:NodePool"
MANAGED_CLUSTER = "azure-native:containerservice:ManagedCluster"
_EFFECTS = {"NO_SCHEDULE": "NoSchedule", "PREFER_NO_SCHEDULE": "PreferNoSchedule", "NO_EXECUTE": "NoExecute"}
_GKE_GPU_TAINT: Taint = ("nvidia.com/gpu", "present", "NoSchedule")
_AKS_SPOT_TAINT: Taint = ("kubernetes.azure.com/scalesetpriority", "spot", "NoSchedule")


@functools.cache
def recording(stack: str) -> Recording:
    """A stack recorded, once, on a machine where nothing is up."""
    with tempfile.TemporaryDirectory() as empty, mock.patch.dict(os.environ, {"EBBTIDE_STATE": empty}):
        return recording_of(read_stack(stack_file(STACKS, stack)), stack)


@functools.cache
def resources(stack: str) -> tuple[Resource, ...]:
    """Its graph."""
    return tuple(graph(recording(stack).records))


def of(graph: tuple[Resource, ...], *types: str) -> list[Resource]:
    """Resources of these types; a Kubernetes one by its kind alone."""
    return [r for r in graph if r["type"] in types or (r["type"].startswith("kubernetes:") and kind(r) in types)]


def kind(resource: Resource) -> str:
    return str(resource["type"].rpartition(":")[2])


@dataclass(frozen=True)
class SeenPool:
    """A pool with GPUs as the scheduler will see it."""

    name: str
    labels: dict[str, str]
    taints: frozenset[Taint]


def gpu_pools(graph: tuple[Resource, ...]) -> list[SeenPool]:
    """Every pool with GPUs, with what its place adds by itself."""
    pools = []
    for resource in graph:
        inputs, pool_seen = resource["inputs"], None
        if resource["type"] == NODE_GROUP:
            pool_seen = inputs.get("labels", {}), _written(inputs.get("taints", []))
        elif resource["type"] == AGENT_POOL and inputs["mode"] == "User":
            spot = {_AKS_SPOT_TAINT} if inputs.get("scaleSetPriority") == "Spot" else set()
            pool_seen = inputs.get("nodeLabels", {}), {_spelled(t) for t in inputs.get("nodeTaints", [])} | spot
        elif resource["type"] == NODE_POOL:
            config = inputs["nodeConfig"]
            # Source: GKE documentation, About GPUs: taint added to GPU node pools
            by_gke = {_GKE_GPU_TAINT} if config.get("guestAccelerators") else set()
            pool_seen = config.get("labels", {}), _written(config.get("taints", [])) | by_gke
        elif kind(resource) == "NodePool" and resource["type"].startswith("kubernetes:karpenter.sh"):
            template = inputs["spec"]["template"]
            pool_seen = template["metadata"].get("labels", {}), _written(template["spec"].get("taints", []))
        elif kind(resource) == "NodePatch":
            pool_seen = inputs["metadata"]["labels"], _written(inputs["spec"]["taints"])
        if pool_seen is not None and "workerType" in pool_seen[0]:
            pools.append(SeenPool(resource["name"], dict(pool_seen[0]), frozenset(pool_seen[1])))
    return pools


def _written(taints: list[dict[str, str]]) -> set[Taint]:
    return {(t["key"], t.get("value", ""), _EFFECTS.get(t["effect"], t["effect"])) for t in taints}


def _spelled(taint: str) -> Taint:
    pair, _, effect = taint.rpartition(":")
    key, _, value = pair.partition("=")
    return key, value, effect


def pods(graph: tuple[Resource, ...]) -> Iterator[tuple[Resource, dict[str, Any]]]:
    """Every workload that is written out here (a chart's are its own) and its pod."""
    for resource in of(graph, "Deployment", "DaemonSet", "StatefulSet", "Job"):
        yield resource, resource["inputs"]["spec"]["template"]["spec"]


def models(graph: tuple[Resource, ...]) -> list[tuple[Resource, dict[str, Any]]]:
    return [(r, pod) for r, pod in pods(graph) if r["inputs"]["metadata"].get("namespace") == "ebbtide-models"]


def tolerates(pod: dict[str, Any], taint: Taint) -> bool:
    """As the scheduler decides it."""
    key, value, effect = taint
    for toleration in pod.get("tolerations", []):
        same = toleration.get("key") in (None, key) and toleration.get("effect") in (None, effect)
        if same and (toleration.get("operator") == "Exists" or toleration.get("value", "") == value):
            return True
    return False


def fits(pod: dict[str, Any], pool: SeenPool) -> bool:
    """Whether the pod's selector, or one alternative of its affinity, is met by the pool's labels."""
    offers = choices(pod)
    return not offers or any(choice.takes(pool.labels) for choice in offers)


def strings(value: Any) -> Iterator[str]:
    """Every text in a nest of mappings and lists."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield key
            yield from strings(child)
    elif isinstance(value, list):
        for child in value:
            yield from strings(child)
    elif isinstance(value, str):
        yield value
