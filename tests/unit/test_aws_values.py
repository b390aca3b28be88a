"""What is decided for AWS on plain values: names, addresses, disks, tags, rights."""

from __future__ import annotations

import base64
import ipaddress
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from components.gpu_layer.judge import MOST_REPLICAS
from components.platforms.aws import names
from components.platforms.aws.autoscaler import autoscaler_tag, autoscaler_values
from components.platforms.aws.gpu_pool import capacity_type, group_arguments
from components.platforms.aws.ingress import alb_annotations, ingress
from components.platforms.aws.kubeconfig import kubeconfig
from components.platforms.aws.model_store import S3Store
from components.platforms.aws.network import subnet_plan
from components.platforms.aws.nodes import NODE_POLICIES, disk, launch_template, node_config, user_data_text
from components.platforms.aws.rights import cluster_autoscaler, karpenter, load_balancer_controller, write_weights
from components.platforms.aws.settings import IngressSettings, NetworkSettings
from components.platforms.aws.tables import node_image, node_images, pinned
from components.platforms.aws.template_tags import node_labels, template_tags
from components.platforms.contract import About, Disk, Pool, PoolRequest, Sharing, Taint
from tests.machines import G5

PROJECT = Path(__file__).parents[2]
POOL = Pool("gpu", {"workerType": "gpu"}, (Taint("workerType", "gpu"),), 1, max_nodes=2)
REQUEST = PoolRequest(POOL, machine=G5)
TEMPLATE = "k8s.io/cluster-autoscaler/node-template"


@pytest.mark.slow
def test_the_settings_load_where_amazons_sdk_is_not_imported() -> None:
    script = (
        "import sys; import components.platforms.aws.judge; assert not [m for m in sys.modules if 'pulumi_aws' in m]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=PROJECT)


def test_a_bucket_name_is_one_s3_takes_and_two_long_stacks_do_not_share_it() -> None:
    assert names.bucket_name("ebbtide-aws-dev", "123456789012") == "ebbtide-aws-dev-models-123456789012"
    long = [names.bucket_name("stack-" * 12 + letter, "123456789012") for letter in "ab"]
    assert len(set(long)) == 2
    assert all(len(name) <= 63 for name in long)


def test_a_role_says_what_it_is_for_however_long_the_stacks_name_is() -> None:
    prefix = names.role_prefix("a-very-long-name-for-a-stack-of-somebody", "load-balancer")
    assert prefix.endswith("-load-balancer-")
    assert len(prefix) <= 38


def test_a_china_region_has_its_own_partition_and_domain() -> None:
    assert names.managed_policy("cn-north-1", "X") == "arn:aws-cn:iam::aws:policy/X"
    assert names.registry_host("1", "cn-north-1") == "1.dkr.ecr.cn-north-1.amazonaws.com.cn"


def test_subnets_do_not_overlap_and_a_further_zone_moves_none() -> None:
    plan = subnet_plan("10.40.0.0/16", ["a", "b", "c", "d", "e", "f"])
    blocks = [ipaddress.IPv4Network(cidr) for part in plan for cidr in (part.private, part.public)]
    assert not any(one.overlaps(other) for i, one in enumerate(blocks) for other in blocks[i + 1 :])
    assert all(block.subnet_of(ipaddress.IPv4Network("10.40.0.0/16")) for block in blocks)
    assert subnet_plan("10.40.0.0/16", ["a", "b"]) == plan[:2]


def test_production_keeps_its_way_out_when_a_zone_fails() -> None:
    assert NetworkSettings().nat_gateways("prod") == "perZone"
    assert NetworkSettings().nat_gateways("dev") == "single"
    assert NetworkSettings(nat="single").nat_gateways("prod") == "single"


@pytest.mark.parametrize(
    ("asked", "size", "iops", "throughput"),
    [
        (Disk(), 200, 4000, 1000),
        (Disk(500), 500, 4000, 1000),
        (Disk(throughput_mib=2000), 200, 8000, 2000),
        (Disk(iops=3000), 200, 3000, 750),
        (Disk(100, 16000, 250), 100, 16000, 250),
    ],
)
def test_a_disk_is_one_that_gp3_takes_and_fast_unless_asked_otherwise(
    asked: Disk, size: int, iops: int, throughput: int
) -> None:
    settings = disk(asked)
    assert (settings["volume_size"], settings["iops"], settings["throughput"]) == (size, iops, throughput)
    assert throughput <= iops / 4
    assert settings["encrypted"] == "true"


def test_local_disks_hold_the_images_and_layers_are_pulled_in_parallel() -> None:
    assert node_config(REQUEST) == {
        "instance": {"localStorage": {"strategy": "RAID0"}},
        "featureGates": {"FastImagePull": True},
    }
    slow = replace(REQUEST, machine=replace(G5, local_disk_gib=0), disk=Disk(iops=3000, throughput_mib=125))
    assert node_config(slow) == {}


def test_the_user_data_is_a_node_config_that_nodeadm_reads() -> None:
    head, _, rest = user_data_text(node_config(REQUEST)).partition("\n\n--ebbtide\n")
    assert 'boundary="ebbtide"' in head
    body = rest.partition("\n\n")[2].partition("\n--ebbtide--")[0]
    document = yaml.safe_load(body)
    assert (document["apiVersion"], document["kind"]) == ("node.eks.aws/v1alpha1", "NodeConfig")
    assert document["spec"]["featureGates"]["FastImagePull"] is True


def test_a_pod_cannot_take_the_nodes_role() -> None:
    options = launch_template(REQUEST, node_image("unknown"), {})["metadata_options"]
    assert (options["http_tokens"], options["http_put_response_hop_limit"]) == ("required", 1)


def test_a_capacity_block_is_bought_by_the_template_and_its_machine_stands_there_alone() -> None:
    block = replace(REQUEST, reservation="cr-1", capacity_block=True)
    template = launch_template(block, node_image("unknown"), {})
    assert template["instance_market_options"] == {"market_type": "capacity-block"}
    assert template["instance_type"] == "g5.8xlarge"
    target = template["capacity_reservation_specification"]["capacity_reservation_target"]
    assert target == {"capacity_reservation_id": "cr-1"}
    assert "instance_types" not in group_arguments(block)
    assert capacity_type(block) == "CAPACITY_BLOCK"


def test_a_plain_pool_has_its_machine_in_the_group_and_nothing_that_eks_forbids_in_the_template() -> None:
    template = launch_template(REQUEST, node_image("unknown"), {})
    forbidden = {"instance_market_options", "instance_type", "image_id", "iam_instance_profile", "network_interfaces"}
    assert not forbidden & set(template)
    assert group_arguments(REQUEST)["instance_types"] == ["g5.8xlarge"]
    assert capacity_type(replace(REQUEST, spot=True)) == "SPOT"


def test_bottlerocket_pulls_images_to_its_second_disk_and_gets_no_foreign_user_data() -> None:
    image = node_image("bottlerocket-nvidia")
    template = launch_template(REQUEST, image, {})
    assert template["block_device_mappings"][0]["device_name"] == "/dev/xvdb"
    assert "user_data" not in template
    assert "user_data" in launch_template(REQUEST, node_image("al2023-nvidia"), {})
    assert base64.b64decode(launch_template(REQUEST, node_image("al2023-nvidia"), {})["user_data"])


def test_the_autoscaler_knows_label_taint_gpu_and_disk_of_a_node_that_is_not_there() -> None:
    tags = template_tags(REQUEST, 200, 600)
    assert tags[f"{TEMPLATE}/label/workerType"] == "gpu"
    assert tags[f"{TEMPLATE}/label/k8s.amazonaws.com/accelerator"] == "nvidia-a10g"
    assert tags[f"{TEMPLATE}/taint/workerType"] == "gpu:NoSchedule"
    assert tags[f"{TEMPLATE}/resources/nvidia.com/gpu"] == "1"
    assert tags[f"{TEMPLATE}/resources/ephemeral-storage"] == "900Gi"
    # Source: EC2 API reference, Tag: 128 and 256 characters at most
    assert all(len(key) <= 128 and len(value) <= 256 for key, value in tags.items())


def test_no_model_is_moved_off_a_node_that_is_mostly_idle() -> None:
    options = template_tags(REQUEST, 200, 900)
    least = 1 / (8 * MOST_REPLICAS)  # a pod's share of a node, at the least
    for threshold in ("scaledowngpuutilizationthreshold", "scaledownutilizationthreshold"):
        below = float(options[f"{TEMPLATE}/autoscaling-options/{threshold}"])
        assert below < least
        # the autoscaler's own comparison is `use >= threshold: keep`, and an empty node's use is 0
        assert below > 0.0, "an empty node would be kept, and billed, for ever"
    assert options[f"{TEMPLATE}/autoscaling-options/scaledownunneededtime"] == "900s"


def test_slices_under_their_own_name_carry_no_label_that_would_keep_the_node_unready() -> None:
    mixed = Sharing("mig", strategy="mixed", profile="1g.10gb")
    sliced = replace(REQUEST, pool=replace(POOL, gpu_resource="nvidia.com/mig-1g.10gb"), sharing=mixed)
    assert "k8s.amazonaws.com/accelerator" not in node_labels(sliced)
    assert template_tags(sliced, 200, 600)[f"{TEMPLATE}/resources/nvidia.com/mig-1g.10gb"] == "1"


def test_a_shared_pools_nodes_carry_the_label_the_gpu_operator_reads() -> None:
    labels = node_labels(replace(REQUEST, sharing=Sharing("timeSlicing", replicas=4)))
    assert labels["nvidia.com/device-plugin.config"] == "time-slicing-4"


def _statements(policy: str) -> list[dict[str, Any]]:
    return list(json.loads(policy)["Statement"])


def test_the_mirror_cannot_delete_what_models_read() -> None:
    actions = {action for one in _statements(write_weights("arn:b", "arn:k")) for action in one["Action"]}
    assert not [action for action in actions if "Delete" in action]
    assert all("*" not in action for action in actions)


@pytest.mark.parametrize(
    "policy",
    [
        cluster_autoscaler("c"),
        load_balancer_controller("c"),
        karpenter("c", "eu-west-1", "123456789012", "arn:role", "arn:queue"),
    ],
)
def test_what_changes_instances_or_groups_is_bound_to_this_clusters_tag(policy: str) -> None:
    bound = ("SetDesiredCapacity", "TerminateInstance", "DeleteLoadBalancer", "DeleteLaunchTemplate")
    for statement in _statements(policy):
        if any(action.rpartition(":")[2].startswith(bound) for action in statement["Action"]):
            assert "c" in json.dumps(statement["Condition"]), statement
        assert "*" not in statement["Action"]


def test_no_role_may_pass_any_role_but_the_nodes() -> None:
    policy = karpenter("c", "eu-west-1", "123456789012", "arn:the-node-role", "arn:queue")
    passing = [one for one in _statements(policy) if "iam:PassRole" in one["Action"]]
    assert [one["Resource"] for one in passing] == [["arn:the-node-role"]]


def test_an_inline_policy_fits_into_a_role() -> None:
    # Source: IAM user guide, IAM and STS quotas: 10,240 characters without white space for a role's inline policies
    role, queue = "arn:aws:iam::123456789012:role/" + "r" * 64, "arn:aws:sqs:eu-west-1:123456789012:" + "q" * 80
    name = "n" * 100
    for policy in (
        karpenter(name, "eu-west-1", "123456789012", role, queue),
        load_balancer_controller(name),
        cluster_autoscaler(name),
    ):
        assert len(policy.replace(" ", "")) < 10_240


def test_the_autoscaler_is_of_the_clusters_minor_version_or_refused_with_what_there_is() -> None:
    assert autoscaler_tag("1.35").startswith("v1.35.")
    with pytest.raises(ValueError, match=r"Kubernetes 1\.20.*versions\.yaml.*1\.35"):
        autoscaler_tag("1.20")
    values = autoscaler_values("c", "eu-west-1", "v1")
    assert values["rbac"]["serviceAccount"]["name"] == "cluster-autoscaler"


def test_the_kubeconfig_holds_no_credential() -> None:
    text = kubeconfig("c", "https://api", "QQ==", "eu-west-1")
    user = json.loads(text)["users"][0]["user"]
    assert set(user) == {"exec"}
    assert user["exec"]["command"] == "aws"
    assert "get-token" in user["exec"]["args"]


def test_weights_are_read_by_revision_from_the_bucket() -> None:
    store = S3Store("b", "eu-west-1")
    read = store.weights("meta-llama/Llama-3.1-8B-Instruct", "0e9e39f")
    assert read.path == "s3://b/meta-llama--Llama-3.1-8B-Instruct/0e9e39f"
    assert (read.load_format, read.volumes, read.mounts) == ("runai_streamer", (), ())
    assert store.upload.root == "s3://b"


def test_the_tables_say_when_and_where_they_were_read() -> None:
    assert node_images().default in node_images().images
    for chart in ("cluster-autoscaler-chart", "karpenter", "aws-load-balancer-controller"):
        assert pinned(chart).source
        assert pinned(chart).version


def test_the_deployers_policy_fits_into_one_and_opens_nothing_beyond_the_stack() -> None:
    text = (PROJECT / "docs" / "clouds" / "aws-deployer-policy.json").read_text()
    # Source: IAM user guide, IAM and STS quotas: 6,144 characters without white space for a managed policy
    assert len("".join(text.split())) < 6144
    for statement in json.loads(text)["Statement"]:
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        reads = all(action.rpartition(":")[2].startswith(("Describe", "List", "Get")) for action in statement["Action"])
        assert reads or "*" not in resources or statement.get("Condition"), statement["Sid"]
        assert "*" not in statement["Action"]


def test_what_the_stack_creates_is_in_the_deployers_policy() -> None:
    statements = json.loads((PROJECT / "docs" / "clouds" / "aws-deployer-policy.json").read_text())["Statement"]
    attached = next(s for s in statements if s["Sid"] == "AwsOwnPolicies")["Condition"]["ArnEquals"]["iam:PolicyARN"]
    policies = {names.managed_policy("eu-west-1", policy) for policy in NODE_POLICIES}
    assert policies <= set(attached)
    cluster = next(s for s in statements if s["Sid"] == "Cluster")["Resource"]
    assert names.cluster_arn("ACCOUNT", "REGION", "STACK") in cluster
    bucket = next(s for s in statements if s["Sid"] == "Bucket")["Resource"]
    assert bucket == "arn:aws:s3:::" + names.bucket_name("stack", "account").replace("stack", "STACK").replace(
        "account", "ACCOUNT"
    )


CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(("held", "kept"), [(1200, 1290), (5000, 3600)])
def test_a_load_balancer_keeps_what_a_pod_that_goes_still_holds_for_as_long_as_it_may(held: int, kept: int) -> None:
    settings = IngressSettings(host="llm.example.com", certificate=CERTIFICATE)
    about = About("ebbtide", "prod", longest_silence_seconds=held)
    annotations = alb_annotations(settings, about, "subnet-1", ["10.0.0.0/16"], {})
    attributes = annotations["alb.ingress.kubernetes.io/target-group-attributes"]
    assert attributes == f"deregistration_delay.timeout_seconds={kept}"


def test_a_gateway_pod_is_ready_once_the_load_balancer_finds_it_so_and_goes_after_it_was_forgotten() -> None:
    settings = IngressSettings(host="llm.example.com", certificate=CERTIFICATE)
    network = SimpleNamespace(public=[], private={})
    way_in = ingress(settings, About("ebbtide", "prod"), cast(Any, network), ["10.0.0.0/16"], {})
    assert way_in.http is not None
    assert way_in.http.namespace_labels == {"elbv2.k8s.aws/pod-readiness-gate-inject": "enabled"}
    # others needed 25 to 70 s until a target that was taken out got nothing more
    assert way_in.leave_seconds > 70
