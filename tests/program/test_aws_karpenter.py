"""Karpenter in place of node groups: what it is asked for, and that it can do it and no more."""

from __future__ import annotations

import functools
import json

from components.platforms.aws.karpenter_pool import capacity_types, node_class, node_pool
from components.platforms.contract import About, Sharing
from tests.program.aws_kit import KUBERNETES, POOLS, Graph, Told, policies, pool, record, settings
from tests.program.dropped_values import dropped
from tests.program.wire_types import wrong_inputs

A10 = POOLS["gpu-1xa10"]
SETTINGS = {"nodeProvisioning": "karpenter", "nodeImageRelease": "v20260820", "nodeIdle": "15m"}


@functools.cache
def graph() -> Graph:
    return record(settings(**SETTINGS), about=About("ebbtide-aws", "prod", protect=True))


def resource(kind: str, name: str) -> Told:
    matches = [one for one in graph().of(kind) if one.inputs["metadata"]["name"] == name]
    assert len(matches) == 1
    return matches[0]


def test_no_provider_would_refuse_a_key_or_a_type() -> None:
    resources = [one for one in graph().told if one.custom and one.kind != KUBERNETES]
    assert [f"{one.name}: {wrong}" for one in resources for wrong in wrong_inputs(one.kind, one.inputs)] == []


def test_no_object_carries_an_empty_value_that_the_api_server_leaves_out() -> None:
    ours = [one for one in graph().told if one.custom and one.kind.startswith("kubernetes:") and "helm" not in one.kind]
    assert {"NodePool", "EC2NodeClass"} <= {one.inputs["kind"] for one in ours}
    assert dropped(one.inputs for one in ours) == []


def test_there_is_no_second_autoscaler_and_no_group_of_gpus_beside_it() -> None:
    assert [one.name for one in graph().of("NodeGroup")] == ["ebbtide-aws-system"]
    assert sorted(one.inputs["name"] for one in graph().of("Release")) == ["karpenter", "karpenter-crd"]
    assert graph().of("Tag") == []


def test_a_node_comes_as_the_pools_machine_alone_and_never_more_of_them_than_max() -> None:
    spec = resource("NodePool", "gpu-8xa100").inputs["spec"]
    requirements = {one["key"]: one["values"] for one in spec["template"]["spec"]["requirements"]}
    assert requirements["node.kubernetes.io/instance-type"] == ["p4d.24xlarge"]
    assert requirements["topology.kubernetes.io/zone"] == ["eu-west-1b"]
    assert spec["limits"] == {"nodes": "2", "nvidia.com/gpu": "16"}
    assert spec["template"]["metadata"]["labels"] == {"workerType": "gpu_8xa100"}
    assert spec["template"]["spec"]["taints"] == [{"key": "workerType", "value": "gpu_8xa100", "effect": "NoSchedule"}]


def test_a_running_model_is_never_moved_to_save_a_node() -> None:
    spec = resource("NodePool", "gpu-1xa10").inputs["spec"]
    # a node of another image or template stays as long as a model runs there; an empty one goes, and the next is new
    budgets = [{"nodes": "10%"}, {"nodes": "0", "reasons": ["Drifted"]}]
    assert spec["disruption"] == {
        "consolidationPolicy": "WhenEmpty", "consolidateAfter": "900s", "budgets": budgets,
    }  # fmt: skip
    assert spec["template"]["spec"]["expireAfter"] == "Never"


def test_a_node_image_changes_only_with_the_stack_file() -> None:
    spec = resource("EC2NodeClass", "gpu-1xa10").inputs["spec"]
    assert spec["amiSelectorTerms"] == [{"alias": "al2023@v20260820"}]
    assert spec["instanceStorePolicy"] == "RAID0"
    assert (spec["metadataOptions"]["httpTokens"], spec["metadataOptions"]["httpPutResponseHopLimit"]) == (
        "required",
        1,
    )
    assert "FastImagePull: true" in spec["userData"]
    assert "localStorage" not in spec["userData"], "instanceStorePolicy writes that part"


def test_a_reservation_is_used_without_falling_back_to_a_higher_price() -> None:
    reserved = pool("gpu", zones=("eu-west-1a",), reservation="cr-1")
    assert capacity_types(reserved) == ["reserved"]
    spec = node_class(reserved, "v20260820", "role", ["subnet-1"], "sg-1", {})
    assert spec["capacityReservationSelectorTerms"] == [{"id": "cr-1"}]
    assert capacity_types(pool("gpu", spot=True)) == ["spot"]


def test_cards_that_are_shared_are_limited_by_nodes() -> None:
    shared = pool("gpu", sharing=Sharing("timeSlicing", replicas=4))
    assert node_pool(shared, ["eu-west-1a"], 600)["limits"] == {"nodes": "2"}


def test_karpenter_may_launch_and_is_told_of_interruptions_before_it_starts() -> None:
    release = graph().one("Release", "-karpenter")
    before = graph().before(release)
    assert graph().one("PodIdentityAssociation", "karpenter").urn in before
    assert graph().one("AccessEntry", "nodes").urn in before
    assert graph().one("Release", "karpenter-crd").urn in before
    assert release.inputs["skipCrds"] is True
    values = release.inputs["values"]
    assert values["settings"]["interruptionQueue"] == graph().one("Queue").name + "-made"
    assert {"name": "AWS_REGION", "value": "eu-west-1"} in values["controller"]["env"]
    assert len(graph().of("EventRule")) == len(graph().of("EventTarget")) == 5


def test_only_notices_of_the_account_get_into_the_queue() -> None:
    statements = json.loads(graph().one("QueuePolicy").inputs["policy"])["Statement"]
    assert {one["Effect"]: one["Action"] for one in statements} == {"Allow": "sqs:SendMessage", "Deny": "sqs:*"}


def test_it_takes_its_nodes_away_before_it_goes_itself() -> None:
    release = graph().one("Release", "-karpenter").urn
    node_pools = graph().of("NodePool")
    assert len(node_pools) == len(POOLS)
    for one in node_pools:
        assert release in graph().before(one)
        assert resource("EC2NodeClass", one.inputs["metadata"]["name"]).urn in graph().before(one)
        assert one.protect


def test_its_instances_may_join_and_it_may_give_them_that_role_alone() -> None:
    entry = graph().one("AccessEntry", "nodes").inputs
    assert entry["type"] == "EC2_LINUX"
    passing = [one for one in policies(graph(), "karpenter") if "iam:PassRole" in one["Action"]]
    assert [one["Resource"] for one in passing] == [[entry["principalArn"]]]
    assert resource("EC2NodeClass", "gpu-1xa10").inputs["spec"]["role"] == "ebbtide-aws-karpenter-node-made"


def test_the_nodes_entry_is_not_one_that_eks_makes_by_itself() -> None:
    of_groups = {one.inputs["nodeRoleArn"] for one in graph().of("NodeGroup")}
    assert graph().one("AccessEntry", "nodes").inputs["principalArn"] not in of_groups
