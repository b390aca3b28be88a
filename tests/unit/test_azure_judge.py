"""What Azure says to a stack file, before anything is asked of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from components.platforms.azure import judge as azure
from components.platforms.azure.settings import AzureSettings
from components.platforms.contract import Disk, Pool, PoolRequest, Taint
from components.typed.refusal import Problem
from tests.machines import NV36ADS

SUBSCRIPTION, TENANT = "11111111-2222-3333-4444-555555555555", "99999999-8888-7777-6666-555555555555"
VAULT = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/certs/providers/Microsoft.KeyVault/vaults/certs"
SUBNET = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/n/providers/Microsoft.Network/virtualNetworks/net/subnets/aks"
CLUSTER: Mapping[str, Any] = {"adminGroups": [TENANT]}


def settings(**more: Any) -> AzureSettings:
    plain = {"kind": "azure", "subscription": SUBSCRIPTION, "tenant": TENANT, "region": "westeurope"}
    return AzureSettings.model_validate({**plain, "cluster": dict(CLUSTER), **more})


def request(name: str = "gpu-1xa10", most: int = 2, **changes: Any) -> PoolRequest:
    labels = changes.pop("labels", {"workerType": "gpu_1xa10"})
    pool = Pool(name, labels, (Taint("workerType", "gpu_1xa10"),), 1, max_nodes=most)
    pool = dataclasses.replace(pool, node_image=changes.pop("node_image", "unknown"))
    return PoolRequest(pool, machine=NV36ADS, **changes)


def findings(place: AzureSettings, *pools: PoolRequest) -> list[Problem]:
    return list(azure.judge(place, {p.pool.name: p for p in pools}, "dev"))


def places(problems: list[Problem]) -> set[tuple[int, str]]:
    return {(int(each.code[3:]), ".".join(map(str, each.path))) for each in problems}


def test_a_sound_stack_has_no_finding() -> None:
    assert findings(settings(network={"zones": ["1", "2"]}), request(zones=("1",))) == []


def test_nodes_stay_for_whole_minutes_and_only_where_the_cluster_is_ones_own() -> None:
    assert findings(settings(nodeIdle="20m"), request()) == []
    (odd,) = findings(settings(nodeIdle="90s"), request())
    assert (int(odd.code[3:]), odd.path, odd.value) == (160, ("platform", "nodeIdle"), "90s")
    assert "whole number of minutes" in odd.message
    theirs = {"adopt": "theirs", "resourceGroup": "g"}
    (vain,) = findings(settings(cluster=theirs, nodeIdle="90s"), request())
    assert vain.message == "has no effect: the autoscaler of theirs is set up with that cluster"
    assert findings(settings(cluster=theirs), request()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("subscription", "my-subscription"),
        ("tenant", "contoso.onmicrosoft.com"),
        ("region", "West Europe"),
        ("cluster", {"version": "34"}),
        ("cluster", {"systemPool": {"machine": "D4s_v5"}}),
        ("cluster", {"systemPool": {"min": 1}}),
        ("cluster", {"apiAllowedNetworks": ["home"]}),
        ("network", {"zones": ["westeurope-1"]}),
        ("network", {"adopt": {"subnet": "aks"}}),
        ("ingress", {"host": "https://llm.example.com", "certificate": f"{VAULT}/certificates/llm"}),
        ("ingress", {"host": "llm.example.com", "certificate": "llm"}),
    ],
)
def test_a_field_that_azure_would_refuse_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ValidationError) as error:
        settings(**{key: value})
    (problem,) = error.value.errors()
    assert problem["loc"][0] == key
    assert problem["type"].startswith("EBB")
    assert problem["ctx"]["fix"]


@pytest.mark.parametrize("kind", ["certificates", "secrets"])
def test_a_certificate_may_be_named_as_either_of_its_two_faces(kind: str) -> None:
    assert settings(ingress={"host": "llm.example.com", "certificate": f"{VAULT}/{kind}/llm"}).ingress is not None


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ({}, (161, "platform.cluster.adminGroups")),
        ({"adopt": "theirs"}, (160, "platform.cluster.resourceGroup")),
        ({"adminGroups": [TENANT], "resourceGroup": "theirs"}, (160, "platform.cluster.resourceGroup")),
        (
            {"adopt": "theirs", "resourceGroup": "g", "apiAllowedNetworks": []},
            (160, "platform.cluster.apiAllowedNetworks"),
        ),
        ({**CLUSTER, "systemPool": {"min": 4, "max": 3}}, (6, "platform.cluster.systemPool.min")),
        ({**CLUSTER, "apiAllowedNetworks": ["10.0.0.0/8", "0.0.0.0/0"]}, (39, "platform.cluster.apiAllowedNetworks.1")),
        ({**CLUSTER, "apiAllowedNetworks": ["10.0.0.1/8"]}, (154, "platform.cluster.apiAllowedNetworks.0")),
    ],
)
def test_a_cluster_nobody_or_everybody_could_reach_is_refused(
    cluster: Mapping[str, Any], expected: tuple[int, str]
) -> None:
    assert places(findings(settings(cluster=cluster))) == {expected}


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ({"cidr": "10.240.0.0/12"}, (154, "platform.network.cidr")),
        ({"cidr": "10.40.0.0/28"}, (154, "platform.network.cidr")),
        ({"cidr": "8.8.0.0/16"}, (154, "platform.network.cidr")),
        ({"cidr": "10.40.0.1/16"}, (154, "platform.network.cidr")),
        ({"zones": ["1", "1"]}, (152, "platform.network.zones")),
        ({"cidr": "10.40.0.0/16", "adopt": {"subnet": SUBNET}}, (160, "platform.network.cidr")),
    ],
)
def test_a_network_that_the_clusters_own_ranges_or_azure_would_not_bear_is_refused(
    network: Mapping[str, Any], expected: tuple[int, str]
) -> None:
    assert places(findings(settings(network=network))) == {expected}


def test_a_public_door_names_who_may_come_in() -> None:
    door = {"host": "llm.example.com", "certificate": f"{VAULT}/certificates/llm", "public": True}
    (problem,) = findings(settings(ingress=door))
    assert (int(problem.code[3:]), problem.severity) == (39, "mandatory")
    (open_,) = findings(settings(ingress={**door, "allowedNetworks": ["0.0.0.0/0"]}))
    assert (int(open_.code[3:]), open_.severity) == (39, "mandatory")
    assert findings(settings(ingress={**door, "allowedNetworks": ["198.51.100.0/24"]})) == []


RESERVATION = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/r/providers/Microsoft.Compute/capacityReservationGroups/g"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"zones": ("3",)}, (152, "pools.gpu-1xa10.zones.0")),
        ({"zones": ("westeurope-1",)}, (152, "pools.gpu-1xa10.zones.0")),
        ({"capacity_block": True}, (163, "pools.gpu-1xa10.capacityBlock")),
        ({"reservation": "cr-0123"}, (163, "pools.gpu-1xa10.reservation")),
        ({"reservation": RESERVATION, "spot": True}, (163, "pools.gpu-1xa10.capacity")),
        ({"disk": Disk(throughput_mib=1000)}, (164, "pools.gpu-1xa10.disk.throughput")),
        ({"disk": Disk(iops=4000)}, (164, "pools.gpu-1xa10.disk.iops")),
        ({"disk": Disk(size_gib=8192)}, (164, "pools.gpu-1xa10.disk.size")),
        ({"node_image": "al2023-nvidia"}, (165, "pools.gpu-1xa10.nodeImage")),
        ({"most": 1001}, (166, "pools.gpu-1xa10.max")),
        ({"labels": {"kubernetes.azure.com/mode": "user"}}, (169, "pools.gpu-1xa10.labels.kubernetes.azure.com/mode")),
    ],
)
def test_a_pool_that_aks_would_refuse_is_refused_by_path(changes: dict[str, Any], expected: tuple[int, str]) -> None:
    assert places(findings(settings(network={"zones": ["1", "2"]}), request(**changes))) == {expected}


def test_two_pools_that_become_one_on_aks_are_told_apart() -> None:
    (problem,) = findings(settings(), request("gpu-1xa10"), request("gpu1-xa10"))
    assert (int(problem.code[3:]), problem.path) == (162, ("pools", "gpu1-xa10"))
    (own,) = findings(settings(), request("system"))
    assert own.code == "EBB162"


def test_every_finding_says_what_is_allowed_and_how_to_mend_it() -> None:
    place = settings(cluster={"adopt": "theirs"}, network={"zones": ["1", "1"]})
    problems = findings(place, request(capacity_block=True, disk=Disk(iops=1)))
    assert len(problems) >= 4
    assert [each for each in problems if not (each.message and each.allowed and each.fix)] == []


def test_a_missing_login_program_is_told_before_the_cluster_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure.shutil, "which", lambda name: None)
    (problem,) = azure.inspect_machine(settings())
    assert "kubelogin" in problem.message
    assert problem.severity == "warning"
    monkeypatch.setattr(azure.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert list(azure.inspect_machine(settings())) == []
