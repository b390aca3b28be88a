"""The checker of recorded inputs against the SDKs' types, and that it finds what a recorder would let pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi_aws as aws
import pulumi_azure_native as azure
import pulumi_gcp as gcp
import pulumi_kubernetes as k8s
import pytest

from infra.recorder.run import record
from tests.program.wire_types import checkable, wrong_inputs


def wrong(make: Callable[[], Any]) -> list[str]:
    """What is wrong with the one resource that ``make`` makes."""
    (only,) = record("try", {}, [], lambda: make() and None).records
    return wrong_inputs(only.type, only.inputs)


NODE_GROUP: dict[str, Any] = {
    "cluster_name": "c",
    "node_role_arn": "arn:aws:iam::1:role/r",
    "subnet_ids": ["subnet-1"],
    "scaling_config": {"min_size": 0, "max_size": 2, "desired_size": 0},
    "taints": [{"key": "workerType", "value": "gpu_1xa10", "effect": "NO_SCHEDULE"}],
}


def node_group(**changed: Any) -> Callable[[], Any]:
    return lambda: aws.eks.NodeGroup("g", **{**NODE_GROUP, **changed})


def test_good_inputs_give_no_sentence() -> None:
    assert wrong(node_group()) == []


def test_a_misspelt_nested_key_is_named_with_the_one_that_was_meant() -> None:
    (sentence,) = wrong(node_group(scaling_config={"min_size": 0, "max_size": 2, "desired_size": 0, "maxsize": 3}))
    assert sentence.startswith("scalingConfig.maxsize: NodeGroupScalingConfigArgs has no key maxsize, perhaps maxSize")
    assert "desiredSize, maxSize, minSize" in sentence


def test_a_misspelt_key_in_a_list_is_found_where_it_stands() -> None:
    sentences = wrong(node_group(taints=[NODE_GROUP["taints"][0], {"key": "a", "effect": "NO_EXECUTE", "vlaue": "b"}]))
    assert [sentence.partition(":")[0] for sentence in sentences] == ["taints[1].vlaue"]


def test_a_required_key_that_is_missing_is_named() -> None:
    (sentence,) = wrong(node_group(scaling_config={"min_size": 0, "max_size": 2}))
    assert sentence == "scalingConfig.desiredSize: is missing, and NodeGroupScalingConfigArgs requires it"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"disk_size": "200"}, "diskSize: is text; allowed: int"),
        ({"disk_size": True}, "diskSize: is bool; allowed: int"),
        ({"subnet_ids": "subnet-1"}, "subnetIds: is text; allowed: "),
        ({"labels": {"a": 1}}, "labels.a: is int; allowed: text"),
        ({"scaling_config": "0..2"}, "scalingConfig: is text; allowed: NodeGroupScalingConfigArgs"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(changed: dict[str, Any], sentence: str) -> None:
    (sentence_found,) = wrong(node_group(**changed))
    assert sentence_found.startswith(sentence)


def test_a_word_that_an_enumeration_does_not_have_is_named_with_those_it_has() -> None:
    def pool(**changed: Any) -> Callable[[], Any]:
        inputs = {"resource_group_name": "g", "resource_name_": "c", "mode": "User", "os_type": "Linux", **changed}
        return lambda: azure.containerservice.AgentPool("p", **inputs)

    assert wrong(pool()) == []
    (sentence,) = wrong(pool(scale_set_priority="spot"))
    assert sentence == "scaleSetPriority: is 'spot'; allowed: Spot, Regular"


def test_kubernetes_objects_are_looked_into_down_to_the_container() -> None:
    def deployment(**container: Any) -> Callable[[], Any]:
        pod = {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}], **container}]}
        template = {"metadata": {"labels": {"a": "b"}}, "spec": pod}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        return lambda: k8s.apps.v1.Deployment("d", metadata={"name": "d"}, spec=spec)

    assert wrong(deployment()) == []
    (sentence,) = wrong(deployment(redinessProbe={"httpGet": {"path": "/", "port": "http"}}))
    assert sentence.startswith("spec.template.spec.containers[0].redinessProbe: ContainerArgs has no key redinessProbe")
    assert "perhaps readinessProbe" in sentence


def test_a_google_pool_is_looked_into_as_well() -> None:
    def pool(**config: Any) -> Callable[[], Any]:
        inputs = {"machine_type": "g2-standard-16", **config}
        return lambda: gcp.container.NodePool("p", cluster="c", node_config=inputs)

    assert wrong(pool(guest_accelerators=[{"type": "nvidia-l4", "count": 1}])) == []
    (sentence,) = wrong(pool(guest_accelerators=[{"type": "nvidia-l4", "count": 1, "gpuSharing": {}}]))
    assert sentence.startswith("nodeConfig.guestAccelerators[0].gpuSharing: ")
    assert "perhaps gpuSharingConfig" in sentence


def test_late_values_and_secrets_fit_everywhere() -> None:
    late = "${urn:pulumi:s::p::aws:eks/cluster:Cluster::c#version}"
    assert wrong_inputs("aws:eks/nodeGroup:NodeGroup", {
        "clusterName": late, "nodeRoleArn": "[secret]", "subnetIds": late, "scalingConfig": late, "diskSize": late,
    }) == []  # fmt: skip


def test_a_providers_own_settings_are_read_out_of_their_text() -> None:
    token = "pulumi:providers:aws"
    assert wrong_inputs(token, {"region": "eu-west-1", "allowedAccountIds": '["123456789012"]'}) == []
    (sentence,) = wrong_inputs(token, {"allowedAccounts": '["123456789012"]'})
    assert "perhaps allowedAccountIds" in sentence


def test_every_kind_of_resource_of_the_project_can_be_checked() -> None:
    for token in ("docker-build:index:Image", "random:index/randomPassword:RandomPassword", "aws:s3/bucket:Bucket",
                  "kubernetes:helm.sh/v3:Release", "pulumi:providers:kubernetes", "azure-native:storage:StorageAccount",
                  "gcp:storage/bucket:Bucket"):  # fmt: skip
        assert checkable(token), token
    assert not checkable("kubernetes:keda.sh/v1alpha1:ScaledObject")
