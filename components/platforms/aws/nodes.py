"""The parts common to all nodes (their role, and the launch template's plain part), and the nodes for everything that
is not a model."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws
import yaml

from components.platforms.aws.cluster import Cluster
from components.platforms.aws.group_size import SENT_ONCE, report_size, scaling_config
from components.platforms.aws.names import managed_policy, prefix, role_prefix
from components.platforms.aws.network import Network
from components.platforms.aws.rights import trust_service
from components.platforms.aws.settings import SYSTEM_DISK_GIB, SystemPool
from components.platforms.aws.tables import NodeImage, node_images
from components.platforms.aws.template_tags import local_disk_gib
from components.platforms.contract import Disk, PoolRequest

# Source: EKS user guide, Amazon EKS node IAM role. The network plug-in's rights are on the role because it must work
# before any pod does, even the Pod Identity Agent's; pods cannot use them, see IMDS below.
NODE_POLICIES = ("AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly")
# Version 2 of the metadata service, one hop: a pod, which is a hop further, cannot take the node's role.
# Source: EKS best practices guide, Restrict access to the instance profile assigned to the worker node
IMDS: dict[str, Any] = {"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1}
# an image of 10 GB in about a minute: pulled at the network's pace, unpacked at the disk's
_SIZE_GIB, _THROUGHPUT_MIB = 200, 1000
# Source: EBS user guide, General Purpose SSD volumes: a quarter MiB/s for each provisioned operation
_IOPS_PER_MIB = 4
# Source: amazon-eks-ami, nodeadm feature gates: parallel pulls are slower than plain ones on a slow disk
_FAST_PULL_FROM_MIB = 600
_BOUNDARY = "ebbtide"
_SYSTEM_DISK = aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
    volume_type="gp3", volume_size=SYSTEM_DISK_GIB, encrypted="true", delete_on_termination="true"
)


class NodeRole(pulumi.ComponentResource):
    """The role of the stack's nodes: join the cluster, pull images from the account's registry. Costs nothing."""

    arn: pulumi.Output[str]
    name: pulumi.Output[str]

    def __init__(self, name: str, region: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ebbtide:platforms:AwsNodeRole", f"{name}-node", None, opts)
        mine = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-node",
            name_prefix=role_prefix(name, "node"),
            assume_role_policy=trust_service("ec2.amazonaws.com"),
            opts=mine,
        )
        rights = [
            aws.iam.RolePolicyAttachment(
                f"{name}-node-{policy}", role=role.name, policy_arn=managed_policy(region, policy), opts=mine
            )
            for policy in NODE_POLICIES
        ]
        # a node without its rights never joins: the ARN is passed on only once they are attached
        self.arn = pulumi.Output.all(role.arn, *(right.id for right in rights)).apply(lambda known: str(known[0]))
        self.name = role.name
        self.register_outputs({"arn": self.arn})


def disk(settings: Disk) -> dict[str, Any]:
    """Return the node's gp3 disk in the launch template's terms, encrypted with the account's key for EBS."""
    fits = _THROUGHPUT_MIB if settings.iops is None else min(_THROUGHPUT_MIB, settings.iops // _IOPS_PER_MIB)
    throughput = settings.throughput_mib or fits
    return {
        "volume_type": "gp3",
        "volume_size": settings.size_gib or _SIZE_GIB,
        "throughput": throughput,
        "iops": settings.iops or max(3000, throughput * _IOPS_PER_MIB),
        "encrypted": "true",
        "delete_on_termination": "true",
    }


def node_config(request: PoolRequest) -> dict[str, Any]:
    """Build the NodeConfig's ``spec``: local NVMe as one disk under images and pods, layers pulled in parallel where
    the disk is fast enough. Source: amazon-eks-ami, nodeadm API reference (LocalStorageOptions, Feature)."""
    local = local_disk_gib(request) > 0
    spec: dict[str, Any] = {}
    if local:
        spec["instance"] = {"localStorage": {"strategy": "RAID0"}}
    if local or disk(request.disk)["throughput"] >= _FAST_PULL_FROM_MIB:
        spec["featureGates"] = {"FastImagePull": True}
    return spec


def user_data_text(spec: Mapping[str, Any]) -> str:
    """Return the NodeConfig as a part of a MIME document, to which EKS adds its own part for joining the cluster.
    Source: EKS user guide, Customize managed nodes with launch templates, Amazon EC2 user data."""
    document = {"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": dict(spec)}
    return "\n".join(
        [
            "MIME-Version: 1.0",
            f'Content-Type: multipart/mixed; boundary="{_BOUNDARY}"',
            "",
            f"--{_BOUNDARY}",
            "Content-Type: application/node.eks.aws",
            "",
            yaml.safe_dump(document, sort_keys=False).rstrip(),
            "",
            f"--{_BOUNDARY}--",
            "",
        ]
    )


def launch_template(request: PoolRequest, image: NodeImage, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the launch template of a GPU pool: disk, metadata service, reservation, tags of what it launches.

    It may name neither subnets nor a role nor the spot market, and a machine only for a capacity block.
    Source: EKS user guide, Customize managed nodes with launch templates, and Create a managed node group with Capacity
    Blocks for ML.
    """
    spec = node_config(request) if image.node_config else {}
    template: dict[str, Any] = {
        "block_device_mappings": [{"device_name": image.data_device, "ebs": disk(request.disk)}],
        "metadata_options": IMDS,
        "tag_specifications": [
            {"resource_type": kind, "tags": dict(tags)} for kind in ("instance", "volume", "network-interface")
        ],
        "update_default_version": True,
    }
    if spec:
        template["user_data"] = base64.b64encode(user_data_text(spec).encode()).decode()
    if request.reservation is not None:
        template["capacity_reservation_specification"] = {
            "capacity_reservation_target": {"capacity_reservation_id": request.reservation}
        }
    if request.capacity_block and request.machine is not None:
        template["instance_market_options"] = {"market_type": "capacity-block"}
        template["instance_type"] = request.machine.name
    return template


class AwsSystemPool(pulumi.ComponentResource):
    """A managed node group without GPUs, in all zones, never empty.

    At rest it costs ``min`` instances and their disks. The Cluster Autoscaler scales it between min and max.
    """

    def __init__(
        self,
        name: str,
        settings: SystemPool,
        cluster: Cluster,
        network: Network,
        role: NodeRole,
        tags: Mapping[str, str],
        after: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:AwsSystemPool", f"{name}-system", None, opts)
        template = aws.ec2.LaunchTemplate(
            f"{name}-system",
            name_prefix=f"{name}-system-",
            block_device_mappings=[
                aws.ec2.LaunchTemplateBlockDeviceMappingArgs(device_name="/dev/xvda", ebs=_SYSTEM_DISK)
            ],
            tag_specifications=[
                {"resource_type": kind, "tags": {**tags, "Name": f"{name}-system"}} for kind in ("instance", "volume")
            ],
            update_default_version=True,
            opts=pulumi.ResourceOptions(parent=self),
            metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(**IMDS),
        )
        group = aws.eks.NodeGroup(
            f"{name}-system",
            cluster_name=cluster.ref,
            node_group_name_prefix=prefix("system"),
            node_role_arn=role.arn,
            subnet_ids=network.subnets(()),
            version=cluster.version,
            ami_type=node_images().system,
            instance_types=[settings.machine],
            labels={"ebbtide.dev/pool": "system"},
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            scaling_config=scaling_config(settings.min, settings.max),
            update_config={"max_unavailable": 1},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*after], ignore_changes=SENT_ONCE),
        )
        report_size(group, settings.min, settings.max)
        self.register_outputs({})
