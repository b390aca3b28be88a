"""The size of a managed node group, which `up` sends once, when it makes the group.

The provider sends a changed scaling block whole, with the number of nodes that it last saw: that of the last `up`, or
of a refresh some minutes ago. A changed ``max`` would take away the nodes that the autoscaler has added since, under
running models. So `up` changes nothing of the block, and says by which command EKS takes new limits alone.
Source: terraform-provider-aws, internal/service/eks/node_group.go, resourceNodeGroupUpdate.
"""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_aws as aws

SENT_ONCE = ["scalingConfig"]
"""What a group's ``ignore_changes`` names, as the wire spells it."""


def scaling_config(least: int, most: int) -> aws.eks.NodeGroupScalingConfigArgsDict:
    """Return the block for a new group, which begins with the fewest nodes."""
    return {"min_size": least, "max_size": most, "desired_size": least}


def resize_hint(cluster: str, group: str, known: tuple[int, int], declared: tuple[int, int]) -> str | None:
    """Return how to give a group its new limits, fewest and most; None if it has them."""
    if known == declared:
        return None
    least, most = declared
    more = f", with desiredSize={least} beside it where fewer run than that" if least > known[0] else ""
    return (
        f"{group} has {known[0]} to {known[1]} nodes and the stack file says {least} to {most}. `up` does not send "
        "this: it would set the number of nodes too, and end what runs on them. Run: aws eks update-nodegroup-config "
        f"--cluster-name {cluster} --nodegroup-name {group} --scaling-config minSize={least},maxSize={most}{more}; "
        "then pulumi refresh"
    )


def report_size(group: aws.eks.NodeGroup, least: int, most: int) -> None:
    """Warn in every preview and `up` while the group that is there has other limits than these."""

    def report(outputs: list[Any]) -> None:
        cluster, name, limits = outputs
        hint = resize_hint(cluster, name, tuple(limits), (least, most))
        if hint is not None:
            pulumi.log.warn(hint, group)

    limits = group.scaling_config.apply(lambda scaling: [scaling.min_size, scaling.max_size])
    pulumi.Output.all(group.cluster_name, group.node_group_name, limits).apply(report)
