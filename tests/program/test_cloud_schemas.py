"""Graphs of stacks held against the schemas that their clouds publish; and that the checks find what they are for."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from infra.recorder import pulumi_internals
from infra.workspace import PROJECT
from scripts.cloud_schemas import page, wheels
from scripts.cloud_schemas.check import CheckedValue, check_inputs
from scripts.cloud_schemas.resources import request, table

AGENT_POOL = "azure-native:containerservice:AgentPool"
STORAGE = "azure-native:storage:StorageAccount"
NODE_POOL = "gcp:container/nodePool:NodePool"
FIREWALL = "gcp:compute/firewall:Firewall"
CLUSTER = "gcp:container/cluster:Cluster"
REPOSITORY = "gcp:artifactregistry/repository:Repository"
ARM = sorted(kind for kind, entry in table()["resources"].items() if "arm" in entry)
LATE = "${urn:pulumi:s::p::k::n#name}"
GOOD: dict[str, dict[str, Any]] = {
    AGENT_POOL: {
        "resourceGroupName": LATE, "resourceName": "cluster", "agentPoolName": "gpu1", "osType": "Linux",
        "upgradeSettings": {"drainTimeoutInMinutes": 60}, "osDiskSizeGB": 200, "nodeTaints": ["a=b:NoSchedule"],
    },
    STORAGE: {
        "resourceGroupName": "g", "accountName": "abc", "kind": "StorageV2", "location": "westeurope",
        "sku": {"name": "Standard_LRS"}, "enableHttpsTrafficOnly": True,
        "identity": {"type": "UserAssigned", "userAssignedIdentities": [LATE]},
    },
    NODE_POOL: {
        "cluster": LATE, "name": "gpu", "initialNodeCount": 0,
        "nodeConfig": {
            "guestAccelerators": [{"type": "nvidia-l4", "count": 1}],
            "taints": [{"key": "a", "value": "b", "effect": "NO_SCHEDULE"}],
        },
    },
    FIREWALL: {"name": "proxies", "network": LATE, "direction": "INGRESS", "allows": [{"protocol": "tcp"}]},
    CLUSTER: {"name": "c", "maintenancePolicy": {"recurringWindow": {"startTime": "2026-01-05T03:00:00Z"}}},
    REPOSITORY: {
        "repositoryId": "r", "format": "DOCKER",
        "cleanupPolicies": [{"id": "old", "action": "DELETE", "condition": {"olderThan": "86400s"}}],
    },
}  # fmt: skip


def faults(kind: str, changes: dict[str, Any]) -> list[str]:
    """What is wrong with good inputs that are changed so; None takes one out."""
    schema = request(kind)
    inputs = {key: value for key, value in {**GOOD[kind], **changes}.items() if value is not None}
    return [check.fault for check in check_inputs(inputs, schema.fields, schema.names) if check.fault]


@pytest.mark.parametrize("kind", GOOD)
def test_what_the_api_takes_has_no_fault(kind: str) -> None:
    assert faults(kind, {}) == []


@pytest.mark.parametrize(
    ("kind", "changes", "fault"),
    [
        (AGENT_POOL, {"osDiskSizeGb": 200}, "osDiskSizeGb: the API has no osDiskSizeGb; perhaps osDiskSizeGB"),
        (AGENT_POOL, {"gpuProfile": {"drivr": "None"}}, "gpuProfile.drivr: the API has no properties.gpuProfile.drivr"),
        (AGENT_POOL, {"osType": "linux"}, "osType: is 'linux'; properties.osType allowed: Linux, Windows"),
        (AGENT_POOL, {"agentPoolName": "gpu-1"}, "agentPoolName: is 'gpu-1'; {agentPoolName} must match"),
        (AGENT_POOL, {"resourceName": "c" * 64}, "resourceName: is 'ccc"),
        (AGENT_POOL, {"resourceName": None}, "resourceName: is missing, and the API requires it"),
        (AGENT_POOL, {"osDiskSizeGB": 4096}, "osDiskSizeGB: is 4096; properties.osDiskSizeGB must be 0 to 2048"),
        (
            AGENT_POOL,
            {"upgradeSettings": {"drainTimeoutInMinutes": "1h"}},
            "upgradeSettings.drainTimeoutInMinutes: is '1h'",
        ),
        (
            AGENT_POOL,
            {"provisioningState": "x"},
            "provisioningState: the API only reads properties.provisioningState out",
        ),
        (AGENT_POOL, {"osDiskSizeGB": "200"}, "osDiskSizeGB: is '200'; properties.osDiskSizeGB is integer"),
        (AGENT_POOL, {"nodeTaints": "a=b"}, "nodeTaints: is 'a=b'; properties.nodeTaints is list"),
        (AGENT_POOL, {"nodeTaints": [1]}, "nodeTaints: is 1; properties.nodeTaints[] is text"),
        (AGENT_POOL, {"nodeLabels": {"a": 1}}, "nodeLabels.*: is 1; properties.nodeLabels.* is text"),
        (STORAGE, {"sku": {}}, "sku.name: is missing, and the API requires it"),
        (STORAGE, {"accountName": "ab"}, "accountName: is 'ab'; {accountName} must be 3 to 24 long"),
        (
            NODE_POOL,
            {"nodeConfig": {"guestAccelerators": [{"number": 1}]}},
            "nodeConfig.guestAccelerators.number: the API",
        ),
        (
            NODE_POOL,
            {"nodeConfig": {"taints": [{"effect": "NoSchedule"}]}},
            "nodeConfig.taints.effect: is 'NoSchedule'",
        ),
        (
            NODE_POOL,
            {"initialNodeCount": 2**31},
            "initialNodeCount: is 2147483648; initialNodeCount must be -2147483648",
        ),
        (CLUSTER, {"zone": "europe-west4-a"}, "zone: zone is deprecated"),
        (NODE_POOL, {"selfLink": "x"}, "selfLink: the API only reads selfLink out"),
        (FIREWALL, {"name": "Proxies"}, "name: is 'Proxies'; name must match"),
        (FIREWALL, {"name": None}, "name: is missing, and the API requires it"),
        (FIREWALL, {"direction": "IN"}, "direction: is 'IN'; direction allowed: EGRESS, INGRESS"),
        (FIREWALL, {"allows": [{"proto": "tcp"}]}, "allows.proto: the API has no allowed[].proto"),
        (
            CLUSTER,
            {"maintenancePolicy": {"recurringWindow": {"startTime": "03:00"}}},
            "maintenancePolicy.recurringWindow.start",
        ),
        (REPOSITORY, {"cleanupPolicies": [{"id": "a", "action": "DROP"}]}, "cleanupPolicies.action: is 'DROP'"),
        (
            REPOSITORY,
            {"cleanupPolicies": [{"id": "a", "condition": {"olderThan": "30d"}}]},
            "cleanupPolicies.condition.olderThan: is '30d'; cleanupPolicies.*.condition.olderThan must match",
        ),
    ],
)
def test_what_the_api_would_refuse_is_named_with_its_place(kind: str, changes: dict[str, Any], fault: str) -> None:
    (problem,) = faults(kind, changes)
    assert problem.startswith(fault)


@pytest.mark.parametrize("kind", ARM)
def test_the_schema_is_of_the_api_version_that_the_sdk_sends(kind: str) -> None:
    source = inspect.getsource(pulumi_internals.resource_class(kind) or object)
    (sent,) = set(re.findall(r"Uses Azure REST API version ([\w-]+)", source))
    assert request(kind).sends == sent


def test_where_no_package_has_that_version_the_next_later_one_is_read() -> None:
    apart = [kind for kind in ARM if request(kind).sends != request(kind).version]
    assert len(apart) == 2
    assert all(request(kind).version > request(kind).sends for kind in apart)


def test_the_packages_are_those_of_the_lock() -> None:
    locked = re.findall(r"^([a-z-]+)==(\S+)", (PROJECT / "locks" / "schemas.txt").read_text(), re.M)
    assert {name: wheels.version(name.replace("-", "_")) for name, _ in locked} == dict(locked)
    assert {request(kind).package.replace("_", "-") for kind in table()["resources"]} == {name for name, _ in locked}


def test_a_package_that_is_missing_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "FOLDER", tmp_path)
    with pytest.raises(wheels.NoSchemas, match=r"azure_mgmt_other is not in .*; fix: scripts/setup.sh schemas"):
        wheels.wheel("azure_mgmt_other")


@pytest.fixture(scope="module")
def everything() -> list[tuple[str, CheckedValue]]:
    """All that the shipped stacks and their variants send, once."""
    return list(page.everything())


@pytest.mark.slow
def test_the_apis_take_what_the_stacks_send(everything: list[tuple[str, CheckedValue]]) -> None:
    assert {f"{kind}: {check.fault}" for kind, check in everything if check.fault} == set()


@pytest.mark.slow
def test_each_kind_of_resource_is_held_and_none_of_the_table_is_left_over(
    everything: list[tuple[str, CheckedValue]],
) -> None:
    assert {kind for kind, _ in everything} == set(table()["resources"])
    for kind, entry in table()["resources"].items():
        used = {check.path for each, check in everything if each == kind}
        written = {*entry.get("renamed", ()), *entry.get("apart", ()), *entry.get("deprecated", ())}
        assert written - used == set(), f"{kind}: nothing is sent by this name"


@pytest.mark.slow
def test_the_page_is_what_was_looked_at(everything: list[tuple[str, CheckedValue]]) -> None:
    assert page.FILE.read_text() == page.text(page.rows(everything)), "run: python -m scripts.cloud_schemas.page"
