"""The pools and models of the project's own cloud stacks: each model, woken, brings a node of the pool it names, and
nothing else of the stack is on it. The Deployments are the recorded graph's, the pools what the stack file asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from components.platforms.contract import PoolRequest, Taint
from components.platforms.kinds import kind_of
from infra.program import platform
from infra.stackfile.load import load_file
from infra.stackfile.schema.stack import StackConfig
from lab.rehearsal.cluster import RehearsalCluster
from tests.karpenter.conftest import EMPTY_SECONDS, POOLS, World
from tests.program import stack_kit
from tests.program.recorded_manifests import STACKS, Sent, graph, sent

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

MODELS = "ebbtide-models"
CREATED = ("Namespace", "ServiceAccount", "ResourceQuota", "PriorityClass", "ConfigMap", "Secret", "Deployment")
# what a place's nodes carry besides the stack's own taints (GKE: GPUs in node pools; AKS: spot node pools)
OF_THE_PLACE = {"gcp": (Taint("nvidia.com/gpu", "present"),)}
OF_ITS_SPOT = {"azure": (Taint("kubernetes.azure.com/scalesetpriority", "spot"),)}


def config(stack: str) -> StackConfig:
    return load_file(stack_kit.STACKS / f"Pulumi.{stack}.yaml").config


CLOUD_STACKS = [stack for stack in STACKS if stack.rpartition("-")[0] in ("aws", "azure", "gcp")]


@dataclass
class Case:
    stack: StackConfig
    requests: dict[str, PoolRequest]
    objects: list[Sent]


def on_its_nodes(request: PoolRequest, kind: str) -> PoolRequest:
    more = OF_THE_PLACE.get(kind, ()) + (OF_ITS_SPOT.get(kind, ()) if request.spot else ())
    return replace(request, pool=replace(request.pool, taints=(*request.pool.taints, *more)))


@pytest.fixture(params=CLOUD_STACKS)
def case(
    request: pytest.FixtureRequest, cluster: RehearsalCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    stack = config(request.param)
    kind = kind_of(stack.platform)
    assert kind.makes_nodes
    requests = {name: on_its_nodes(each, kind.name) for name, each in platform.requests(stack).items()}
    objects = list(sent(graph(request.param, tmp_path_factory)))
    cluster.start_karpenter(requests.values(), empty_seconds=EMPTY_SECONDS)
    yield Case(stack, requests, objects)
    cluster.start_karpenter(POOLS, empty_seconds=EMPTY_SECONDS)


@pytest.fixture
def world(cluster: RehearsalCluster, case: Case) -> Iterator[World]:
    world = World(cluster, MODELS)
    others = {e.document["metadata"]["name"] for e in case.objects if e.document["kind"] == "Namespace"} - {MODELS}
    world.made += [f"/api/v1/namespaces/{name}" for name in others]
    try:
        yield world
    finally:
        world.close()
        for name in others:
            gone = f"/api/v1/namespaces/{name}"
            cluster.wait(lambda gone=gone: cluster.api.get(gone) is None, f"{gone} to be gone", 60)


def test_each_model_of_the_stack_brings_a_node_of_its_own_pool_and_shares_it_with_nobody(
    world: World, case: Case
) -> None:
    api = world.cluster.api
    for kind in CREATED:
        for each in case.objects:
            if each.document["kind"] == kind:
                api.apply(each.document)
    asleep = [model.name for model in case.stack.models.values() if model.min == 0]
    assert asleep
    for name in asleep:
        world.scale(name, 1)
    for model in case.stack.models.values():
        world.soon(lambda name=model.name: world.running_on(name), f"{model.name} to run")
        (node,) = world.running_on(model.name)
        assert node["metadata"]["labels"]["karpenter.sh/nodepool"] == model.pool
        machine = case.requests[model.pool].machine
        assert machine is not None
        assert node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == machine.name

    def there() -> set[str]:
        """Namespaces of the pods on GPU nodes."""
        gpu = {node["metadata"]["name"] for node in world.gpu_nodes()}
        return {p["metadata"]["namespace"] for p in api.items("/api/v1/pods") if p["spec"].get("nodeName") in gpu}

    assert there() <= {MODELS}
    # a busy autoscaler may take a node for an empty one whose pod was only just bound, and brings another
    world.soon(lambda: there() == {MODELS}, "the models alone on GPU nodes")
    world.soon(
        lambda: [p for p in api.items("/api/v1/namespaces/ebbtide/pods") if p["status"].get("phase") == "Running"],
        "the gateway to run beside them",
    )
