"""The GPU layer as the engine is told of it: what is created, in which order, and nothing more than was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi.runtime import mocks, rpc

from components.catalog.machines import find
from components.gpu_layer.gpu_layer import GpuLayer, gpu_pools
from components.gpu_layer.node_images import node_images
from components.gpu_layer.values import GpuPool
from components.platforms.contract import Pool, PoolRequest, Sharing, Taint
from tests.program.wire_types import wrong_inputs

MINE = Taint("workerType", "gpu_1xa10")


class _Echo(mocks.Mocks):
    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        return {}, None

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        return f"{args.name}-id", args.inputs


class _Recorder(mocks.MockMonitor):
    def __init__(self) -> None:
        super().__init__(_Echo())
        self.requests: dict[str, Any] = {}

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  the SDK's name
        if request.type != "pulumi:pulumi:Stack":
            self.requests[self.make_urn(request.parent, request.type, request.name)] = request
        return super().RegisterResource(request)


def created(pools: Sequence[GpuPool]) -> dict[str, Any]:
    """The layer's resources by kind: what was registered."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    recorder = _Recorder()
    mocks.set_mocks(_Echo(), preview=False, monitor=recorder)
    pulumi.runtime.test(lambda: (GpuLayer("gpu-operator", pools), None)[1])()
    kinds = [request.type.rpartition(":")[2] for request in recorder.requests.values()]
    assert len(kinds) == len(set(kinds))
    return {request.type.rpartition(":")[2]: (urn, request) for urn, request in recorder.requests.items()}


def _whole(value: Any) -> Any:
    """On the wire every number is a float."""
    if isinstance(value, dict):
        return {key: _whole(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_whole(child) for child in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def inputs(resources: dict[str, Any], kind: str) -> dict[str, Any]:
    return dict(_whole(rpc.deserialize_properties(resources[kind][1].object)))


def pool(image: str, sharing: Sharing | None = None) -> GpuPool:
    return GpuPool("a", node_images()[image], sharing, (MINE,))


def test_one_namespace_is_exempt_and_everything_lies_in_it() -> None:
    resources = created([pool("al2023-nvidia")])
    namespace = inputs(resources, "Namespace")["metadata"]
    assert namespace["name"] == "gpu-operator"
    assert set(namespace["labels"].values()) == {"privileged"}
    assert inputs(resources, "Release")["namespace"] == "gpu-operator"


def test_the_chart_is_pinned_and_comes_after_what_it_reads() -> None:
    resources = created([pool("al2023-nvidia", Sharing("timeSlicing", replicas=4))])
    release = inputs(resources, "Release")
    assert (release["chart"], release["version"]) == ("gpu-operator", "v26.7.0")
    needs = set(resources["Release"][1].dependencies)
    assert {resources["Namespace"][0], resources["ConfigMap"][0]} <= needs
    config = inputs(resources, "ConfigMap")
    assert release["values"]["devicePlugin"]["config"]["name"] == config["metadata"]["name"]
    assert release["values"]["devicePlugin"]["config"]["default"] in config["data"]


def test_every_input_is_one_its_provider_knows() -> None:
    for image in ("aks-ubuntu", "al2023-nvidia"):
        resources = created([pool(image, Sharing("timeSlicing", replicas=2))])
        for kind, (_, request) in resources.items():
            assert wrong_inputs(request.type, inputs(resources, kind)) == []


def test_children_belong_to_the_layer() -> None:
    resources = created([pool("al2023-nvidia")])
    layer = resources.pop("GpuLayer")[0]
    assert {request.parent for _, request in resources.values()} == {layer}


def test_nothing_is_installed_for_no_pool_and_for_images_that_need_no_operator() -> None:
    assert set(created([])) == {"GpuLayer"}
    for image in ("bottlerocket-nvidia", "gke-cos", "gke-ubuntu"):
        assert set(created([pool(image)])) == {"GpuLayer"}, "its place does all of it"


def test_the_layer_tolerates_what_the_place_put_on_its_nodes() -> None:
    """The stack knows its own taint; only the place knows those its nodes carry besides."""
    asked = Pool("a", {}, (MINE,), 1)
    spot = Taint("kubernetes.azure.com/scalesetpriority", "spot")
    place_pool = Pool("a", {}, (MINE, spot), 1, node_image="aks-ubuntu")
    machine = find("azure", "Standard_NC24ads_A100_v4")
    (pool_seen,) = gpu_pools("azure", {"a": PoolRequest(asked, machine)}, {"a": place_pool})
    assert (pool_seen.image.key, pool_seen.taints) == ("aks-ubuntu", (MINE, spot))
    release = inputs(created([pool_seen]), "Release")
    tolerated = release["values"]["daemonsets"]["tolerations"]
    assert spot.toleration() in tolerated
    assert MINE.toleration() in tolerated


def test_pretended_gpus_get_no_layer() -> None:
    lab = Pool("a", {}, (MINE,), 2, device="cpu", node_image="debian-12")
    assert gpu_pools("local", {"a": PoolRequest(lab)}, {"a": lab}) == ()
