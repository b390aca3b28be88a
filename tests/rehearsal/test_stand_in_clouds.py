"""The clouds' stand-ins alone, without an engine: what they refuse, what they answer, and that they fail as told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from infra.gate.replacement import tables as replacement
from infra.gate.replacement.differences import UNKNOWN
from lab.plugins.clouds import credentials, facts, failures, sdk
from lab.plugins.clouds.cloud import Cloud, Record
from lab.plugins.clouds.failures import Failure
from lab.plugins.clouds.provider import CloudStandIn
from lab.plugins.plugin import Call, Engine, InitFailedError, Naming, RefusedError
from lab.plugins.properties import Secret
from lab.plugins.rehearsal import Api, Rehearsal

pytestmark = pytest.mark.engine

NAMING = Naming(b"seed")
POOL = "aws:eks/nodeGroup:NodeGroup"
VPC = "aws:ec2/vpc:Vpc"
SUBNET = "aws:ec2/subnet:Subnet"


class Hand:
    """A provider as the engine would use it, one resource after the other."""

    def __init__(self, folder: Path, package: str = "aws", **config: Any) -> None:
        self.folder = folder
        self.provider = CloudStandIn(Engine(None), package, Rehearsal(folder, {"aws": {"account": "123456789012"}}))
        self.provider.configure(config or {"region": "eu-west-1"})

    def check(self, type_: str, name: str = "r", **inputs: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        return self.provider.check(Call(urn="urn", type=type_, name=name), {}, inputs, NAMING)

    def make(self, type_: str, name: str = "r", **inputs: Any) -> tuple[str, dict[str, Any]]:
        checked, wrong = self.check(type_, name, **inputs)
        assert wrong == []
        return self.provider.create(Call(urn="urn", type=type_, name=name), checked)

    def delete(self, type_: str, id_: str) -> None:
        self.provider.delete(Call(urn="urn", type=type_, name="r", id=id_), {}, {})


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    return Hand(tmp_path)


def pool(**more: Any) -> dict[str, Any]:
    return {
        "clusterName": "c",
        "nodeRoleArn": UNKNOWN,
        "subnetIds": UNKNOWN,
        "scalingConfig": {"desiredSize": 0, "minSize": 0, "maxSize": 2},
        **more,
    }


@pytest.mark.parametrize(
    ("more", "path", "why"),
    [
        ({"amyType": "x"}, "amyType", "is not an input"),
        ({"capacityType": "PREEMPTIBLE"}, "capacityType", "is not one of 'ON_DEMAND', 'SPOT'"),
        ({"diskSize": "20"}, "diskSize", "is not a whole number, but a text"),
        ({"scalingConfig": {"desiredSize": 0, "minSize": 0}}, "scalingConfig.maxSize", "missing"),
        ({"taints": [{"key": "k", "effect": "NoSchedule"}]}, "taints[*].effect", "NO_SCHEDULE"),
        ({"labels": {"a": True}}, "labels.a", "is not a text"),
        (
            {"scalingConfig": {"desired_size": 0, "minSize": 0, "maxSize": 1}},
            "scalingConfig.desired_size",
            "not an input",
        ),
    ],
)
def test_an_unknown_or_ill_typed_input_is_refused_with_its_path(
    hand: Hand, more: dict[str, Any], path: str, why: str
) -> None:
    _, wrong = hand.check(POOL, **pool(**more))
    assert any(at == path and why in reason for at, reason in wrong), wrong


def test_a_value_that_an_azure_enum_does_not_have_is_refused(tmp_path: Path) -> None:
    azure = Hand(tmp_path, "azure-native", subscriptionId="s", tenantId="t")
    inputs = {"resourceGroupName": "g", "resourceName": "c", "mode": "Userr", "gpuProfile": {"driver": "Instal"}}
    _, wrong = azure.check("azure-native:containerservice:AgentPool", **inputs)
    assert {at for at, _ in wrong} == {"mode", "gpuProfile.driver"}


def test_a_refusal_never_repeats_a_value_which_may_be_a_secret(hand: Hand) -> None:
    _, wrong = hand.check(POOL, **pool(diskSize=Secret("hunter22")))
    assert wrong
    assert "hunter22" not in str(wrong)


def test_another_account_than_the_one_allowed_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="AWS account ID not allowed: 123456789012"):
        Hand(tmp_path, region="eu-west-1", allowedAccountIds='["999999999999"]')
    Hand(tmp_path, region="eu-west-1", allowedAccountIds='["123456789012"]')


def test_a_reference_to_what_is_not_there_is_refused(hand: Hand) -> None:
    with pytest.raises(RefusedError, match=r"vpcId.*'vpc-0' does not exist"):
        hand.make(SUBNET, vpcId="vpc-0", cidrBlock="10.0.0.0/24")


def test_a_network_with_a_subnet_in_it_cannot_be_deleted(hand: Hand) -> None:
    vpc, _ = hand.make(VPC, cidrBlock="10.0.0.0/16")
    subnet, _ = hand.make(SUBNET, vpcId=vpc, cidrBlock="10.0.0.0/24")
    with pytest.raises(RefusedError, match=f"DependencyViolation.*Subnet {subnet}"):
        hand.delete(VPC, vpc)
    hand.delete(SUBNET, subnet)
    hand.delete(VPC, vpc)
    assert Cloud(hand.folder, "aws").all() == []


def test_a_name_that_is_taken_is_refused(hand: Hand) -> None:
    hand.make("aws:s3/bucket:Bucket", bucket="weights")
    with pytest.raises(RefusedError, match="BucketAlreadyOwnedByYou"):
        hand.make("aws:s3/bucket:Bucket", bucket="weights")


def test_two_resources_named_by_a_prefix_get_names_of_their_own(hand: Hand) -> None:
    roles = [hand.make("aws:iam/role:Role", namePrefix="gpu-", assumeRolePolicy="{}")[1] for _ in range(2)]
    names = {outputs["name"] for outputs in roles}
    assert len(names) == 2
    assert all(name.startswith("gpu-") for name in names)


def test_a_key_ring_is_forgotten_but_its_name_stays_taken(tmp_path: Path) -> None:
    google = Hand(tmp_path, "gcp", project="p", region="r")
    ring, _ = google.make("gcp:kms/keyRing:KeyRing", name="data", location="r")
    google.delete("gcp:kms/keyRing:KeyRing", ring)
    assert google.provider.read(Call(urn="urn", type="gcp:kms/keyRing:KeyRing", name="r", id=ring), {}, {}) is None
    with pytest.raises(RefusedError, match="409: KeyRing"):
        google.make("gcp:kms/keyRing:KeyRing", name="data", location="r")


def test_a_throttle_is_sat_out_unless_it_never_ends(hand: Hand) -> None:
    failures.order(hand.folder, Failure("Vpc", "create", "throttle", 3))
    hand.make(VPC, cidrBlock="10.0.0.0/16")
    failures.order(hand.folder, Failure("Vpc", "create", "throttle", 99))
    with pytest.raises(RefusedError, match="ThrottlingException"):
        hand.make(VPC, cidrBlock="10.1.0.0/16")
    assert len(Cloud(hand.folder, "aws").all()) == 1


@pytest.mark.parametrize(
    ("kind", "message"), [("quota", "VpcLimitExceeded"), ("stockout", "InsufficientInstanceCapacity")]
)
def test_a_quota_and_a_stock_out_make_nothing_and_happen_once(hand: Hand, kind: failures.Kind, message: str) -> None:
    failures.order(hand.folder, Failure("Vpc", "create", kind))
    with pytest.raises(RefusedError, match=message):
        hand.make(VPC, cidrBlock="10.0.0.0/16")
    assert Cloud(hand.folder, "aws").all() == []
    hand.make(VPC, cidrBlock="10.0.0.0/16")


def test_a_time_out_half_way_leaves_the_resource_and_tells_its_id(hand: Hand) -> None:
    failures.order(hand.folder, Failure("Vpc", "create", "timeoutHalfWay"))
    with pytest.raises(InitFailedError, match="timeout while waiting") as failed:
        hand.make(VPC, cidrBlock="10.0.0.0/16")
    assert [record.id for record in Cloud(hand.folder, "aws").all()] == [failed.value.id]


def test_what_the_cloud_counts_rises_with_every_change_and_is_unknown_before(hand: Hand) -> None:
    template = "aws:ec2/launchTemplate:LaunchTemplate"
    inputs, _ = hand.check(template, userData="")
    id_, outputs = hand.provider.create(Call(urn="urn", type=template, name="r"), inputs)
    assert outputs["latestVersion"] == 1
    changed = {**inputs, "userData": "YQ=="}
    before = hand.provider.update(
        Call(urn="urn", type=template, name="r", id=id_, preview=True), outputs, inputs, changed, []
    )
    assert before["latestVersion"] is UNKNOWN
    assert (
        hand.provider.update(Call(urn="urn", type=template, name="r", id=id_), outputs, inputs, changed, [])[
            "latestVersion"
        ]
        == 2
    )


def test_a_machine_type_is_replaced_where_the_provider_does_and_changed_in_place_where_it_does(tmp_path: Path) -> None:
    def replaces(package: str, type_: str, old: dict[str, Any], new: dict[str, Any]) -> bool:
        return (
            Hand(tmp_path, package, region="r")
            .provider.diff(Call(urn="u", type=type_, name="r"), {}, old, new, [])
            .replaces
        )

    assert replaces("aws", POOL, {"instanceTypes": ["a"]}, {"instanceTypes": ["b"]})
    assert replaces("azure-native", "azure-native:containerservice:AgentPool", {"vmSize": "a"}, {"vmSize": "b"})
    google = "gcp:container/nodePool:NodePool"
    assert not replaces("gcp", google, {"nodeConfig": {"machineType": "a"}}, {"nodeConfig": {"machineType": "b"}})
    assert replaces("gcp", google, {"nodeConfig": {"spot": False}}, {"nodeConfig": {"spot": True}})


def test_what_aks_refuses_to_change_is_refused_by_its_stand_in(tmp_path: Path) -> None:
    azure = Hand(tmp_path, "azure-native", subscriptionId="s", tenantId="t")
    type_ = "azure-native:containerservice:AgentPool"
    inputs = {"resourceGroupName": "g", "resourceName": "c", "agentPoolName": "gpu", "osDiskSizeGB": 128}
    Cloud(tmp_path, "azure-native").put(Record(type=type_, id="x", outputs=dict(inputs)))
    with pytest.raises(RefusedError, match=r"PropertyChangeNotAllowed.*osDiskSizeGB"):
        azure.provider.update(
            Call(urn="u", type=type_, name="gpu", id="x"), inputs, inputs, {**inputs, "osDiskSizeGB": 256}, []
        )


@pytest.mark.parametrize("package", ["aws", "azure-native", "gcp"])
def test_every_fact_is_about_a_property_that_the_sdk_has(package: str) -> None:
    book = facts.book(package)
    assert replacement.table(package).keys() == book.types.keys()
    for token, known in book.types.items():
        shape = sdk.shape(token)
        assert shape is not None, token
        named = [*known.names, *known.unique, *replacement.table(package)[token], *known.frozen, *known.keeps]
        named += [*known.needs, *known.holds, *known.inside, *known.values, *known.defaults]
        named += [known.lock] if known.lock else []
        heads = {path.split(".")[0].split("[")[0] for path in named}
        assert heads <= shape.inputs.keys(), (token, heads - shape.inputs.keys())
        properties = {*known.outputs, *known.keys, *([known.counter] if known.counter else [])}
        assert properties <= shape.outputs.keys(), (token, properties - shape.outputs.keys())
        others = {*known.needs.values(), *known.holds.values(), *known.inside.values()}
        assert others <= book.types.keys(), (token, others - book.types.keys())


def test_a_credential_is_handed_out_only_for_a_cluster_that_is_there(tmp_path: Path) -> None:
    now = Rehearsal(tmp_path, api=Api("https://127.0.0.1:1", "ca.crt", token="t"))
    ask = ["--region", "r", "eks", "get-token", "--cluster-name", "c", "--output", "json"]
    with pytest.raises(LookupError, match="No cluster found for name: c"):
        credentials.credential("aws", ask, now)
    Cloud(tmp_path, "aws").put(Record(type="aws:eks/cluster:Cluster", id="c"))
    with mock.patch.dict(os.environ, {"KUBERNETES_EXEC_INFO": '{"apiVersion": "client.authentication.k8s.io/v1"}'}):
        credential = json.loads(credentials.credential("aws", ask, now))
    assert (credential["apiVersion"], credential["status"]) == ("client.authentication.k8s.io/v1", {"token": "t"})


def test_outside_a_rehearsal_no_stand_in_of_a_cloud_starts() -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("EBBTIDE_")}
    for module, name in (
        ("lab.plugins.clouds", "aws"),
        ("lab.plugins.clouds.credentials", "kubelogin"),
    ):
        done = subprocess.run([sys.executable, "-m", module, name], env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert "stand-in for rehearsals" in done.stderr


def test_a_cluster_that_is_locked_is_not_deleted_and_one_that_was_opened_is(tmp_path: Path) -> None:
    google = Hand(tmp_path, "gcp", project="acme-llm-dev", region="europe-west4")
    kind = "gcp:container/cluster:Cluster"
    id_, _ = google.make(kind, name="c", location="europe-west4", deletionProtection=True)
    with pytest.raises(RefusedError, match="deletion_protection"):
        google.delete(kind, id_)
    other, _ = google.make(kind, name="d", location="europe-west4", deletionProtection=False)
    google.delete(kind, other)
