"""GPU nodes come from zero when a model's own pod asks for one, and go when it is gone: the components' manifests
before a real API server, a real scheduler and a real autoscaler. Only the machines are told instead of bought."""

from __future__ import annotations

from typing import Any

import pytest

from components.model_service.namespace import INSTANCE_QUOTA_NAME, QUOTA_NAME
from components.platforms.contract import Pool
from tests.karpenter.conftest import ACT_SECONDS, GONE_SECONDS, LARGE, SMALL, World

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


def taints_of(node: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(t["key"], t.get("value", ""), t["effect"]) for t in node["spec"].get("taints", ())}


def test_a_sleeping_model_brings_no_node_and_a_woken_one_brings_its_own_and_gives_it_back(world: World) -> None:
    pool = SMALL.pool
    world.open(max_gpus=2)
    world.model("llama-8b", pool)
    world.never(world.gpu_nodes, "a node for a model that sleeps", ACT_SECONDS)

    world.scale("llama-8b", 1)
    world.soon(lambda: world.running_on("llama-8b"), "the woken model to run on a node of its own")
    (node,) = world.gpu_nodes()
    assert node["metadata"]["labels"]["karpenter.sh/nodepool"] == pool.name
    assert node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == "g5.8xlarge"
    assert pool.labels.items() <= node["metadata"]["labels"].items()
    assert {(t.key, t.value, t.effect) for t in pool.taints} <= taints_of(node)
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "1"

    world.scale("llama-8b", 0)
    world.soon(lambda: not world.gpu_nodes(), "the idle node to go", GONE_SECONDS)


def pending(world: World, name: str) -> bool:
    pod = world.cluster.api.get(f"/api/v1/namespaces/default/pods/{name}") or {}
    return not pod["spec"].get("nodeName")


def test_a_pod_without_the_toleration_neither_gets_a_gpu_node_nor_holds_one_up(world: World) -> None:
    pool = SMALL.pool
    gpu = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    world.pod("asks-for-the-pool", {"nodeSelector": dict(pool.labels), "container": gpu})
    world.pod("asks-for-a-gpu", {"container": gpu})
    world.never(world.gpu_nodes, "a node for pods that do not tolerate it", ACT_SECONDS)

    world.open(max_gpus=2)
    world.model("llama-8b", pool)
    world.scale("llama-8b", 1)
    world.soon(lambda: world.running_on("llama-8b"), "the model to run")
    world.pod("anybody", {})
    world.soon(lambda: not pending(world, "anybody"), "a plain pod to find its place")
    anybody = world.cluster.api.get("/api/v1/namespaces/default/pods/anybody") or {}
    assert anybody["spec"]["nodeName"] == "rehearsal-system"
    assert pending(world, "asks-for-the-pool")
    assert pending(world, "asks-for-a-gpu")

    world.scale("llama-8b", 0)
    world.soon(lambda: not world.gpu_nodes(), "the node to go although others would like it", GONE_SECONDS)


def test_a_driver_on_every_node_does_not_keep_an_idle_one(world: World) -> None:
    agent = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "driver", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "driver"}},
            "template": {
                "metadata": {"labels": {"app": "driver"}},
                "spec": {"containers": [{"name": "c", "image": "driver:1"}], "tolerations": [{"operator": "Exists"}]},
            },
        },
    }
    world.cluster.api.apply(agent)
    world.made.append("/apis/apps/v1/namespaces/default/daemonsets/driver")
    world.open(max_gpus=2)
    world.model("llama-8b", SMALL.pool)
    world.scale("llama-8b", 1)
    world.soon(lambda: world.running_on("llama-8b"), "the model to run")
    (node,) = world.gpu_nodes()

    def drivers() -> list[dict[str, Any]]:
        pods = world.cluster.api.items("/api/v1/namespaces/default/pods")
        return [p for p in pods if p["spec"].get("nodeName") == node["metadata"]["name"]]

    world.soon(drivers, "the driver to be on the node")
    world.scale("llama-8b", 0)
    world.soon(lambda: not world.gpu_nodes(), "the node to go although the driver is on it", GONE_SECONDS)


def test_above_the_pools_limit_a_replica_waits_and_no_further_node_is_bought(world: World) -> None:
    pool = SMALL.pool
    world.open(max_gpus=8)
    world.model("llama-8b", pool, most=3)
    world.scale("llama-8b", 3)
    world.soon(lambda: len(world.running_on("llama-8b")) == pool.max_nodes, "as many replicas as the pool has nodes")
    world.never(lambda: len(world.gpu_nodes()) > pool.max_nodes, "a node above the pool's limit", ACT_SECONDS)
    waiting = [p for p in world.pods("llama-8b") if p["status"]["phase"] == "Pending"]
    assert len(waiting) == 1


@pytest.mark.parametrize(
    ("guard", "quota"),
    [({"max_gpus": 1}, QUOTA_NAME), ({"max_gpus": 8, "max_instances": 1}, INSTANCE_QUOTA_NAME)],
)
def test_above_the_guard_there_is_no_pod_and_so_no_node(world: World, guard: dict[str, int], quota: str) -> None:
    world.open(**guard)
    world.model("llama-8b", SMALL.pool, most=2)
    world.scale("llama-8b", 2)
    world.soon(lambda: world.running_on("llama-8b"), "the first replica to run")

    def refusals() -> list[str]:
        events = world.cluster.api.items(f"/api/v1/namespaces/{world.namespace}/events")
        why = f"exceeded quota: {quota}"
        return [e["message"] for e in events if e["reason"] == "FailedCreate" and why in e["message"]]

    world.soon(refusals, "the quota to refuse the second replica")
    world.never(lambda: len(world.gpu_nodes()) > 1, "a node for a replica above the guard", ACT_SECONDS)
    assert len(world.pods("llama-8b")) == 1
    assert set(world.quota(quota)["used"].values()) == {"1"}


def test_two_pools_at_once_serve_each_its_own_model(world: World) -> None:
    world.open(max_gpus=9)
    models: dict[str, Pool] = {"llama-8b": SMALL.pool, "llama-70b": LARGE.pool}
    for name, pool in models.items():
        world.model(name, pool, gpus=pool.gpus_per_node)
        world.scale(name, 1)
    for name, pool in models.items():
        world.soon(lambda name=name: world.running_on(name), f"{name} to run")
        (node,) = world.running_on(name)
        assert node["metadata"]["labels"]["karpenter.sh/nodepool"] == pool.name
        assert node["status"]["allocatable"]["nvidia.com/gpu"] == str(pool.gpus_per_node)
    assert len(world.gpu_nodes()) == 2

    world.scale("llama-70b", 0)
    world.soon(lambda: not world.gpu_nodes(LARGE.pool), "the dear node to go", GONE_SECONDS)
    assert world.running_on("llama-8b"), "the other model keeps its own"
