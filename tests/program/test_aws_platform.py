"""A place on AWS as the engine would be asked for it: what would break a user if it were otherwise."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import replace

import pulumi
import pytest

from components.platforms.contract import About, Platform
from tests.program.aws_kit import (
    ACCOUNT,
    CERTIFICATE,
    KUBERNETES,
    POOLS,
    Graph,
    policies,
    pool,
    record,
    settings,
    texts,
)
from tests.program.wire_types import checkable, wrong_inputs

INGRESS = {"host": "llm.example.com", "certificate": CERTIFICATE}
ADOPTED = {
    "cluster": {"adopt": "theirs"},
    "network": {
        "adopt": {
            "vpc": "vpc-0123456789abcdef0",
            "subnets": {"eu-west-1a": "subnet-0123456789abcdef0", "eu-west-1b": "subnet-0123456789abcdef1"},
        }
    },
}
TEMPLATE = "k8s.io/cluster-autoscaler/node-template"


@functools.cache
def plain() -> Graph:
    return record(settings(ingress=INGRESS))


@functools.cache
def production() -> Graph:
    return record(settings(ingress=INGRESS), about=About("ebbtide-aws", "prod", protect=True))


@functools.cache
def adopted() -> Graph:
    return record(settings(**ADOPTED))


def platform(graph: Graph) -> Platform:
    assert graph.platform is not None
    return graph.platform


@pytest.mark.parametrize("graph", [plain, production, adopted])
def test_no_provider_would_refuse_a_key_or_a_type(graph: functools._lru_cache_wrapper[Graph]) -> None:
    resources = [one for one in graph().told if one.custom and one.kind != KUBERNETES]
    assert [f"{one.name}: {wrong}" for one in resources for wrong in wrong_inputs(one.kind, one.inputs)] == []
    assert sum(checkable(one.kind) for one in resources) > 30


def test_credentials_of_another_account_are_refused_by_the_provider() -> None:
    provider = plain().one("aws")
    assert json.loads(provider.inputs["allowedAccountIds"]) == [ACCOUNT]
    assert provider.inputs["region"] == "eu-west-1"
    assert json.loads(provider.inputs["defaultTags"])["tags"] == {
        "ebbtide:stack": "ebbtide-aws",
        "ebbtide:environment": "dev",
    }


def test_everything_on_aws_goes_through_that_provider_and_not_through_one_by_default() -> None:
    provider = plain().one("aws").urn
    assert {one.provider.rpartition("::")[0] for one in plain().told if one.kind.startswith("aws:")} == {provider}


def test_the_api_has_no_public_address_until_networks_are_named() -> None:
    closed = plain().one("Cluster").inputs["vpcConfig"]
    assert (closed["endpointPublicAccess"], closed["endpointPrivateAccess"]) == (False, True)
    opened = record(settings(cluster={"apiAllowedNetworks": ["192.0.2.0/24"]})).one("Cluster").inputs["vpcConfig"]
    assert (opened["endpointPublicAccess"], opened["publicAccessCidrs"]) == (True, ["192.0.2.0/24"])


def test_secrets_are_encrypted_with_the_stacks_key_and_every_audit_log_is_kept_for_a_time() -> None:
    cluster = plain().one("Cluster").inputs
    assert cluster["encryptionConfig"]["resources"] == ["secrets"]
    assert cluster["encryptionConfig"]["provider"]["keyArn"].endswith("ebbtide-aws-key")
    assert set(cluster["enabledClusterLogTypes"]) == {
        *("api", "audit", "authenticator", "controllerManager", "scheduler"),
    }
    logs = plain().one("LogGroup")
    assert (logs.inputs["name"], logs.inputs["retentionInDays"]) == ("/aws/eks/ebbtide-aws/cluster", 90)
    assert logs.urn in plain().before(plain().one("Cluster"))


def test_rights_are_given_by_access_entries_alone() -> None:
    assert plain().one("Cluster").inputs["accessConfig"]["authenticationMode"] == "API"
    team = f"arn:aws:iam::{ACCOUNT}:role/team"
    graph = record(settings(cluster={"admins": [team]}))
    assert graph.one("AccessEntry").inputs["principalArn"] == team
    assert graph.one("AccessPolicyAssociation").inputs["policyArn"].endswith("AmazonEKSClusterAdminPolicy")


def test_nodes_stand_in_private_subnets_and_nothing_is_given_a_public_address() -> None:
    private = {f"ebbtide-aws-private-{zone}-id" for zone in ("eu-west-1a", "eu-west-1b")}
    assert all(set(group.inputs["subnetIds"]) <= private for group in plain().of("NodeGroup"))
    assert not any(subnet.inputs["mapPublicIpOnLaunch"] for subnet in plain().of("Subnet"))
    default = plain().one("DefaultSecurityGroup").inputs
    assert (default["ingress"], default["egress"]) == ([], [])


def test_weights_and_image_layers_come_past_the_nat_gateway() -> None:
    endpoint = plain().one("VpcEndpoint").inputs
    assert (endpoint["serviceName"], endpoint["vpcEndpointType"]) == ("com.amazonaws.eu-west-1.s3", "Gateway")
    assert len(plain().of("NatGateway")) == 1
    assert len(production().of("NatGateway")) == 2


def test_pools_start_empty_and_their_size_is_left_to_the_autoscaler() -> None:
    for name, most in (("gpu-1xa10", 2), ("gpu-8xa100", 2)):
        group = plain().one("NodeGroup", name)
        assert group.inputs["scalingConfig"] == {"minSize": 0, "maxSize": most, "desiredSize": 0}
        # nothing of the block is ever sent again: the provider sends it whole, the number of nodes with it
        assert group.ignored == ("scalingConfig",)
    assert plain().one("NodeGroup", "system").ignored == ("scalingConfig",)


def test_a_pools_taint_is_the_one_its_models_tolerate() -> None:
    for name, handed in platform(plain()).pools.items():
        (taint,) = plain().one("NodeGroup", name).inputs["taints"]
        (toleration,) = handed.tolerations()
        assert (taint["key"], taint["value"]) == (toleration["key"], toleration["value"])
        assert taint["effect"] == "NO_SCHEDULE"
        assert set(handed.labels.items()) <= set(plain().one("NodeGroup", name).inputs["labels"].items())
        assert handed.node_image == "al2023-nvidia"


def test_every_group_of_gpus_carries_its_template_on_its_own_auto_scaling_group() -> None:
    for name, request in POOLS.items():
        template = {
            tag.inputs["tag"]["key"]: tag.inputs["tag"]["value"]
            for tag in plain().of("Tag")
            if tag.inputs["autoscalingGroupName"] == f"asg-ebbtide-aws-{name}"
        }
        group = plain().one("NodeGroup", name).inputs
        assert {f"{TEMPLATE}/label/{key}": value for key, value in group["labels"].items()}.items() <= template.items()
        (taint,) = request.pool.taints
        assert template[f"{TEMPLATE}/taint/{taint.key}"] == f"{taint.value}:{taint.effect}"
        assert template[f"{TEMPLATE}/resources/nvidia.com/gpu"] == str(request.pool.gpus_per_node)


def test_another_max_leaves_a_pool_as_it_is_and_another_machine_is_another_group() -> None:
    before, after = POOLS["gpu-1xa10"], pool("gpu-1xa10", max_nodes=4)
    graph = record(pools={"gpu-1xa10": after})
    old, new = (g.one("NodeGroup", "gpu-1xa10").inputs for g in (plain(), graph))
    assert new["scalingConfig"]["maxSize"] == 4
    assert {key for key in old if old[key] != new[key]} == {"scalingConfig"}
    assert before.machine is not None
    assert "nodeGroupName" not in old, "a fixed name could not exist beside its replacement"


def test_what_holds_data_or_is_slow_to_get_back_is_protected_in_production_and_nothing_elsewhere() -> None:
    kept = {one.kind.rpartition(":")[2] for one in production().told if one.protect}
    assert kept == {"Cluster", "Bucket", "Repository", "NodeGroup", "Key"}
    assert not production().one("NodeGroup", "system").protect
    assert not any(one.protect for one in plain().told)
    assert production().one("Bucket").inputs.get("forceDestroy") is not True


def test_the_bucket_is_private_versioned_encrypted_and_takes_only_tls() -> None:
    bucket = f"ebbtide-aws-models-{ACCOUNT}"
    assert plain().one("Bucket").inputs["bucket"] == bucket
    assert all(v for k, v in plain().one("BucketPublicAccessBlock").inputs.items() if k != "bucket")
    assert plain().one("BucketVersioning").inputs["versioningConfiguration"]["status"] == "Enabled"
    (rule,) = plain().one("BucketServerSideEncryptionConfiguration").inputs["rules"]
    assert rule["applyServerSideEncryptionByDefault"]["kmsMasterKeyId"].endswith("ebbtide-aws-key")
    (statement,) = json.loads(plain().one("BucketPolicy").inputs["policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]["Bool"]) == ("Deny", {"aws:SecureTransport": "false"})
    assert platform(plain()).model_store.weights("a/b", "c").path == f"s3://{bucket}/a--b/c"


def test_models_read_the_bucket_and_only_the_mirror_writes_it() -> None:
    roles = {
        (one.inputs["namespace"], one.inputs["serviceAccount"]): one.inputs["roleArn"].rpartition(":::")[2]
        for one in plain().of("PodIdentityAssociation")
    }
    assert roles["ebbtide-models", "ebbtide-model"] == "ebbtide-aws-model"
    assert roles["ebbtide-mirror", "ebbtide-mirror"] == "ebbtide-aws-mirror"
    reads = {action for one in policies(plain(), "-model") for action in one["Action"]}
    assert reads == {"s3:ListBucket", "s3:GetObject", "kms:Decrypt"}
    writers = [one.name for one in plain().of("RolePolicy") if "s3:PutObject" in one.inputs["policy"]]
    assert writers == ["ebbtide-aws-mirror"]


def test_no_pod_starts_before_its_role_is_promised_to_it() -> None:
    store = platform(plain()).model_store
    awaited = store.prepare("ebbtide-models", pulumi.ResourceOptions())
    assert {one._name for one in awaited} >= {"ebbtide-aws-model", "ebbtide-aws-mirror"}


def test_images_cannot_be_moved_under_their_tag_and_are_scanned() -> None:
    repositories = {one.inputs["name"]: one.inputs for one in plain().of("Repository")}
    assert set(repositories) == {f"ebbtide-aws/{image}" for image in ("vllm", "gateway", "mirror")}
    for inputs in repositories.values():
        assert inputs["imageTagMutability"].startswith("IMMUTABLE")
        assert inputs["imageScanningConfiguration"]["scanOnPush"] is True
    assert len(plain().of("LifecyclePolicy")) == 3


def test_network_policies_are_kept_and_add_ons_come_in_the_order_nodes_need_them() -> None:
    addons = {one.inputs["addonName"]: one for one in plain().of("Addon")}
    assert set(addons) == {"vpc-cni", "kube-proxy", "eks-pod-identity-agent", "coredns", "aws-ebs-csi-driver"}
    assert json.loads(addons["vpc-cni"].inputs["configurationValues"]) == {"enableNetworkPolicy": "true"}
    assert not any("addonVersion" in one.inputs for one in addons.values())
    system = plain().one("NodeGroup", "system")
    assert addons["vpc-cni"].urn in plain().before(system)
    assert system.urn in plain().before(addons["coredns"])


def test_the_autoscaler_may_change_the_groups_before_it_starts() -> None:
    release = plain().one("Release", "cluster-autoscaler")
    rights = plain().one("PodIdentityAssociation", "autoscaler")
    assert rights.urn in plain().before(release)
    assert plain().one("RolePolicy", "autoscaler").urn in plain().before(release)
    assert release.inputs["values"]["image"]["tag"].startswith("v1.35.")
    assert release.inputs["values"]["autoDiscovery"]["clusterName"] == "ebbtide-aws"


def test_the_autoscaler_tries_pools_in_the_models_order_by_the_names_their_groups_got() -> None:
    asked = {
        "gpu": replace(pool("gpu"), preference=1),
        "gpu-spot": replace(pool("gpu-spot", spot=True), preference=2),
        "alone": pool("alone"),
    }
    release = record(pools=asked).one("Release", "cluster-autoscaler").inputs["values"]
    assert release["extraArgs"]["expander"] == "priority,least-waste"
    order = release["expanderPriorities"]
    table = {number: [each.replace("\\-", "-") for each in names] for number, names in order.items()}
    assert table == {"1": [".*"], "2": ["^asg-ebbtide-aws-gpu$"], "3": ["^asg-ebbtide-aws-gpu-spot$"]}

    def number(group: str) -> int:
        """As the priority expander gives it: the highest any of whose expressions is found in the name."""
        return max(int(n) for n, names in order.items() if any(re.search(each, group) for each in names))

    assert [number(f"asg-ebbtide-aws-{name}") for name in ("gpu-spot", "gpu", "alone")] == [3, 2, 1]
    plain_values = plain().one("Release", "cluster-autoscaler").inputs["values"]
    assert plain_values["extraArgs"]["expander"] == "least-waste"
    assert "expanderPriorities" not in plain_values


def test_no_output_but_the_kubeconfig_leads_into_the_cluster_and_it_holds_no_credential() -> None:
    provider = plain().one("kubernetes", "cluster")
    assert provider.inputs["clusterIdentifier"] == f"arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/ebbtide-aws"
    user = json.loads(provider.inputs["kubeconfig"])["users"][0]["user"]
    assert set(user) == {"exec"}
    secrets = [one.name for one in plain().told if "letters-of-the-registry" in texts(one.inputs)]
    assert secrets == []


def test_an_adopted_cluster_is_read_and_only_pools_rights_registry_and_bucket_are_added() -> None:
    kinds = {one.kind.rpartition(":")[2] for one in adopted().told if one.kind.startswith("aws:")}
    assert not kinds & {"Cluster", "Vpc", "Subnet", "Addon", "NatGateway", "LogGroup", "AccessEntry"}
    assert {"NodeGroup", "Repository", "Bucket", "PodIdentityAssociation", "Tag"} <= kinds
    assert {group.inputs["clusterName"] for group in adopted().of("NodeGroup")} == {"theirs"}
    assert adopted().of("Release") == []
    identifier = adopted().one("kubernetes", "cluster").inputs["clusterIdentifier"]
    assert identifier == f"arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/theirs"


def test_models_wait_for_all_that_their_pods_need() -> None:
    ready = {type(one).__name__ for one in platform(plain()).ready}
    assert ready == {
        *("NodeAddons", "AwsSystemPool", "ClusterAddons", "AwsAutoscaler", "AwsGpuPool"),
        *("AwsLoadBalancerController", "StorageClass"),
    }
    assert platform(plain()).storage_class == "ebbtide-gp3"


def test_a_group_with_other_limits_than_the_stack_file_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setattr("pulumi.log.warn", lambda message, resource=None: messages.append(message))
    pools = {"gpu-1xa10": POOLS["gpu-1xa10"]}
    record(pools=pools)
    assert messages == []
    record(pools=pools, limits={"maxSize": 7})
    assert len(messages) == 2  # the pool's and the system pool's
    assert "--nodegroup-name gpu-1xa10-1 --scaling-config minSize=0,maxSize=2;" in "".join(messages)


def test_a_cluster_does_not_go_on_at_six_times_the_price_unless_it_is_asked_to() -> None:
    assert plain().one("Cluster").inputs["upgradePolicy"] == {"supportType": "STANDARD"}
    longer = record(settings(cluster={"support": "extended"})).one("Cluster")
    assert longer.inputs["upgradePolicy"] == {"supportType": "EXTENDED"}
