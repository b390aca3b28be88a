"""What a GPU pool asks of GKE."""

from __future__ import annotations

import dataclasses

import pytest
from google.protobuf import json_format

from components.catalog.machine import Machine
from components.platforms.contract import Disk, Sharing, Taint
from tests.program.gcp_kit import A100, H100, L4, OWN, node, request, resources_of


def test_a_gpu_pool_starts_at_zero_and_its_size_is_left_to_the_autoscaler() -> None:
    graph = resources_of(request())
    pool, registered = graph.inputs("NodePool", "gpu-1xl4"), graph.one("NodePool", "gpu-1xl4")
    assert pool["initialNodeCount"] == 0
    assert "nodeCount" not in pool
    assert pool["autoscaling"] == {"totalMinNodeCount": 0, "totalMaxNodeCount": 2, "locationPolicy": "ANY"}
    # wire case: the engine compares these with the wire's names, and ignores a spelling it does not find
    assert set(registered.ignoreChanges) == {"initialNodeCount", "nodeCount"}
    assert pool["nodeLocations"] == ["europe-west4-a", "europe-west4-b"]


def test_a_pool_that_keeps_nodes_asks_for_enough_at_its_creation() -> None:
    kept = request(most=4)
    kept = dataclasses.replace(kept, pool=dataclasses.replace(kept.pool, min_nodes=3))
    assert resources_of(kept).inputs("NodePool", "gpu-1xl4")["initialNodeCount"] == 2  # a number a zone, of two


def test_another_machine_replaces_a_pool_and_never_beside_one_of_the_same_name() -> None:
    registered = resources_of(request()).one("NodePool", "gpu-1xl4")
    assert "nodeConfig.machineType" in registered.replaceOnChanges
    assert registered.deleteBeforeReplace


def test_models_tolerate_every_taint_a_node_carries_and_none_that_it_does_not() -> None:
    graph = resources_of(request())
    assert node(graph)["taints"] == [{"key": "workerType", "value": "gpu_1xl4", "effect": "NO_SCHEDULE"}]
    pool = graph.platform.pools["gpu-1xl4"]
    assert pool.taints == (OWN, Taint("nvidia.com/gpu", "present"))
    assert pool.labels == node(graph)["labels"]
    assert pool.node_image == "gke-cos"


def test_a_taint_of_gkes_own_is_not_written_twice() -> None:
    both = request()
    taints = (OWN, Taint("nvidia.com/gpu", "present"))
    both = dataclasses.replace(both, pool=dataclasses.replace(both.pool, taints=taints))
    graph = resources_of(both)
    assert [taint["key"] for taint in node(graph)["taints"]] == ["workerType"]
    assert graph.platform.pools["gpu-1xl4"].taints == taints


def test_pools_that_a_model_orders_belong_to_one_class_that_tries_them_in_that_order() -> None:
    spot, od = request("gpu-spot", spot=True, preference=3), request("gpu-od", preference=1)
    graph = resources_of(od, spot, request("gpu-late", preference=1), request("gpu-1xl4"))
    compute_class = graph.inputs("ComputeClass")
    assert (compute_class["apiVersion"], compute_class["metadata"]["name"]) == (
        "cloud.google.com/v1",
        "ebbtide-gcp-dev",
    )
    assert compute_class["spec"]["priorities"] == [{"nodepools": ["gpu-spot"]}, {"nodepools": ["gpu-od", "gpu-late"]}]
    # no node that the stack file does not name
    assert compute_class["spec"]["whenUnsatisfiable"] == "DoNotScaleUp"
    assert compute_class["spec"]["nodePoolAutoCreation"] == {"enabled": False}
    mark = {"key": "cloud.google.com/compute-class", "value": "ebbtide-gcp-dev", "effect": "NO_SCHEDULE"}
    for name in ("gpu-spot", "gpu-od"):
        # GKE takes a pool into a class by its label and only with the taint, and a pod by what it selects
        assert mark in node(graph, name)["taints"]
        assert node(graph, name)["labels"][mark["key"]] == mark["value"]
        assert graph.platform.pools[name].labels == node(graph, name)["labels"]
        assert Taint(mark["key"], mark["value"]) in graph.platform.pools[name].taints
    assert mark not in node(graph)["taints"]
    assert mark["key"] not in graph.platform.pools["gpu-1xl4"].labels


def test_without_an_order_there_is_no_class() -> None:
    assert not resources_of(request()).all("ComputeClass")


@pytest.mark.parametrize(
    ("machine", "card", "count", "disk", "ssds"),
    [
        (L4, "nvidia-l4", 1, "pd-ssd", None),
        (A100, "nvidia-a100-80gb", 8, "pd-ssd", 8),
        (H100, "nvidia-h100-80gb", 8, "hyperdisk-balanced", 16),
    ],
)
def test_a_node_names_its_cards_says_who_installs_the_driver_and_uses_its_fast_disks(
    machine: Machine, card: str, count: int, disk: str, ssds: int | None
) -> None:
    config = node(resources_of(request(machine=machine)))
    (cards,) = config["guestAccelerators"]
    assert (cards["type"], cards["count"]) == (card, count)
    assert cards["gpuDriverInstallationConfig"] == {"gpuDriverVersion": "LATEST"}
    assert config["bootDisk"]["diskType"] == disk
    assert config["bootDisk"]["sizeGb"] >= 200
    assert config.get("ephemeralStorageLocalSsdConfig") == (None if ssds is None else {"localSsdCount": ssds})


@pytest.mark.parametrize(("image", "driver"), [("gke-cos", "LATEST"), ("gke-ubuntu", "DEFAULT")])
def test_a_node_asks_for_a_driver_that_its_image_has(image: str, driver: str) -> None:
    pool_request = request()
    pool_request = dataclasses.replace(pool_request, pool=dataclasses.replace(pool_request.pool, node_image=image))
    (cards,) = node(resources_of(pool_request))["guestAccelerators"]
    assert cards["gpuDriverInstallationConfig"] == {"gpuDriverVersion": driver}


def test_a_disk_whose_speed_is_bought_gets_it() -> None:
    disk = Disk(size_gib=300, iops=6000, throughput_mib=1000)
    boot_disk = node(resources_of(request(machine=H100, disk=disk)))["bootDisk"]
    assert boot_disk["sizeGb"] == 300
    assert (boot_disk["provisionedIops"], boot_disk["provisionedThroughput"]) == (6000, 1000)


def test_cards_are_cut_or_shared_as_asked() -> None:
    cut = request("cut", A100, sharing=Sharing("mig", profile="3g.40gb"))
    shared = request("shared", sharing=Sharing("timeSlicing", replicas=4))
    graph = resources_of(cut, shared)
    assert node(graph, "cut")["guestAccelerators"][0]["gpuPartitionSize"] == "3g.40gb"
    sharing = node(graph, "shared")["guestAccelerators"][0]["gpuSharingConfig"]
    assert sharing == {"gpuSharingStrategy": "TIME_SHARING", "maxSharedClientsPerGpu": 4}


def test_capacity_is_asked_for_in_the_way_the_stack_says() -> None:
    graph = resources_of(
        request("spot", spot=True),
        request("bought", reservation="r1", zones=("europe-west4-b",)),
        request("flex"),
        request("plain"),
        flexStart=["flex"],
    )
    assert node(graph, "spot")["spot"] is True
    assert node(graph, "spot")["reservationAffinity"] == {"consumeReservationType": "NO_RESERVATION"}
    bought = node(graph, "bought")["reservationAffinity"]
    assert bought["consumeReservationType"] == "SPECIFIC_RESERVATION"
    assert (bought["key"], bought["values"]) == ("compute.googleapis.com/reservation-name", ["r1"])
    assert graph.inputs("NodePool", "bought")["nodeLocations"] == ["europe-west4-b"]
    assert node(graph, "flex")["flexStart"] is True
    assert graph.inputs("NodePool", "flex")["management"]["autoRepair"] is False
    assert "reservationAffinity" not in node(graph, "plain")
    assert "spot" not in node(graph, "plain")


def test_no_pod_gets_the_nodes_identity_and_no_node_a_public_address() -> None:
    graph = resources_of(request())
    for pool in graph.all("NodePool"):
        inputs = json_format.MessageToDict(pool.object)
        assert inputs["nodeConfig"]["workloadMetadataConfig"] == {"mode": "GKE_METADATA"}
        assert inputs["nodeConfig"]["serviceAccount"].startswith("ebbtide-gcp-dev-nodes@")
        assert inputs["nodeConfig"]["shieldedInstanceConfig"]["enableSecureBoot"] is True
        assert inputs["networkConfig"]["enablePrivateNodes"] is True


def test_an_upgrade_of_a_gpu_pool_needs_no_gpu_more_than_it_has() -> None:
    assert resources_of(request()).inputs("NodePool", "gpu-1xl4")["upgradeSettings"] == {
        "maxSurge": 0,
        "maxUnavailable": 1,
    }
