"""A GPU pool as a managed node group."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from components.platforms.aws.cluster import Cluster
from components.platforms.aws.group_size import SENT_ONCE, report_size, scaling_config
from components.platforms.aws.names import prefix
from components.platforms.aws.network import Network
from components.platforms.aws.nodes import NodeRole, launch_template
from components.platforms.aws.tables import node_image
from components.platforms.aws.template_tags import node_labels, template_tags
from components.platforms.contract import PoolRequest

# Source: EKS API reference, Taint
_EFFECTS = {"NoSchedule": "NO_SCHEDULE", "PreferNoSchedule": "PREFER_NO_SCHEDULE", "NoExecute": "NO_EXECUTE"}


def capacity_type(request: PoolRequest) -> str:
    """Return how the group's instances are bought. Source: EKS API reference, Nodegroup capacityType."""
    if request.capacity_block:
        return "CAPACITY_BLOCK"
    return "SPOT" if request.spot else "ON_DEMAND"


def group_arguments(request: PoolRequest) -> dict[str, Any]:
    """Return the plain part of the node group's arguments."""
    pool = request.pool
    assert request.machine is not None  # already checked
    image = node_image(pool.node_image)
    return {
        "ami_type": image.ami_type,
        "capacity_type": capacity_type(request),
        # a capacity block's machine is in the launch template, and may be in one place only
        **({} if request.capacity_block else {"instance_types": [request.machine.name]}),
        "labels": node_labels(request),
        "taints": [{"key": t.key, "value": t.value, "effect": _EFFECTS[t.effect]} for t in pool.taints],
        "scaling_config": scaling_config(pool.min_nodes, pool.max_nodes),
        "update_config": {"max_unavailable": 1},
        "node_repair_config": {"enabled": True},
    }


class AwsGpuPool(pulumi.ComponentResource):
    """Nodes with GPUs that come when a pod asks for one and go when none does.

    It has a launch template, a managed node group and the tags of its auto scaling group. At rest, with ``min`` 0, it
    costs nothing. The Cluster Autoscaler sets the number of nodes; ``min`` and ``max`` of a group that is there change
    by a command (``group_size.py``), another machine replaces it. It installs no driver: the node image carries it.
    """

    def __init__(
        self,
        name: str,
        request: PoolRequest,
        cluster: Cluster,
        network: Network,
        role: NodeRole,
        idle_seconds: int,
        tags: Mapping[str, str],
        protect: bool,
        after: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        pool = request.pool.name
        super().__init__("ebbtide:platforms:AwsGpuPool", f"{name}-{pool}", None, opts)
        mine = pulumi.ResourceOptions(parent=self)
        arguments = launch_template(request, node_image(request.pool.node_image), {**tags, "Name": f"{name}-{pool}"})
        template = aws.ec2.LaunchTemplate(
            f"{name}-{pool}", name_prefix=prefix(f"{name}-{pool}", 100), opts=mine, **arguments
        )
        group = aws.eks.NodeGroup(
            f"{name}-{pool}",
            cluster_name=cluster.ref,
            # a prefix, because a replacement exists beside what it replaces
            node_group_name_prefix=prefix(pool),
            node_role_arn=role.arn,
            subnet_ids=network.subnets(request.zones),
            version=cluster.version,
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*after], protect=protect, ignore_changes=SENT_ONCE),
            **group_arguments(request),
        )
        report_size(group, request.pool.min_nodes, request.pool.max_nodes)
        self.scaling_group = scaling_group = group.resources.apply(_scaling_group)
        ebs = arguments["block_device_mappings"][0]["ebs"]
        for key, value in template_tags(request, ebs["volume_size"], idle_seconds).items():
            aws.autoscaling.Tag(
                f"{name}-{pool}-{_short(key)}",
                autoscaling_group_name=scaling_group,
                tag={"key": key, "value": value, "propagate_at_launch": False},
                opts=mine,
            )
        self.register_outputs({"autoscalingGroup": scaling_group})


def _scaling_group(resources: Sequence[aws.eks.outputs.NodeGroupResource]) -> str:
    """Return the name EKS gave the node group's auto scaling group: there is one."""
    groups = resources[0].autoscaling_groups or []
    return str(groups[0].name)


def _short(key: str) -> str:
    """Return a tag's key as part of a resource's name: its subject, and a hash, since two keys may end alike."""
    what = "-".join(key.split("/")[2:]).replace(".", "-")
    return f"{what}-{hashlib.sha256(key.encode()).hexdigest()[:6]}"
