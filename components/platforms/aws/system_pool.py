"""The nodes for everything that is not a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws

from components.platforms.aws.cluster import Cluster
from components.platforms.aws.names import prefix
from components.platforms.aws.network import Network
from components.platforms.aws.nodes import IMDS, NodeRole
from components.platforms.aws.settings import SystemPool
from components.platforms.aws.tables import node_images

_DISK = aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
    volume_type="gp3", volume_size=60, encrypted="true", delete_on_termination="true"
)


class AwsSystemPool(pulumi.ComponentResource):
    """A managed node group without GPUs, in all zones, never empty.

    At rest it costs ``min`` instances and their 60 GiB disks. The Cluster Autoscaler moves it between min and max.
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
            block_device_mappings=[aws.ec2.LaunchTemplateBlockDeviceMappingArgs(device_name="/dev/xvda", ebs=_DISK)],
            tag_specifications=[
                {"resource_type": kind, "tags": {**tags, "Name": f"{name}-system"}} for kind in ("instance", "volume")
            ],
            update_default_version=True,
            opts=pulumi.ResourceOptions(parent=self),
            metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(**IMDS),
        )
        aws.eks.NodeGroup(
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
            scaling_config={"min_size": settings.min, "max_size": settings.max, "desired_size": settings.min},
            update_config={"max_unavailable": 1},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*after], ignore_changes=["scalingConfig.desiredSize"]),
        )
        self.register_outputs({})
