"""What Karpenter's controller may do: launch, tag and end instances that carry this cluster's tags. Pure.

Source: Karpenter 1.14 documentation, CloudFormation reference, Controller Authorization.
"""

from __future__ import annotations

from components.platforms.aws.names import partition
from components.platforms.aws.rights import allow, document

_LAUNCHED = ("fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request")
_CHOSEN = ("security-group", "subnet", "capacity-reservation", "placement-group")


def karpenter(cluster: str, region: str, account: str, node_role_arn: str, queue_arn: str) -> str:
    """The controller's policy. ``node_role_arn`` is the only role it may give to instances."""
    ec2 = f"arn:{partition(region)}:ec2:{region}"
    profiles = [f"arn:{partition(region)}:iam::{account}:instance-profile/*"]
    owned = f"kubernetes.io/cluster/{cluster}"
    here = {"aws:RequestTag/topology.kubernetes.io/region": region}
    asked = {f"aws:RequestTag/{owned}": "owned", "aws:RequestTag/eks:eks-cluster-name": cluster}
    ours = {f"aws:ResourceTag/{owned}": "owned"}
    launched = [f"{ec2}:*:{kind}/*" for kind in _LAUNCHED]
    return document(
        allow(
            ["ec2:RunInstances", "ec2:CreateFleet"],
            [f"{ec2}::image/*", f"{ec2}::snapshot/*", *(f"{ec2}:*:{kind}/*" for kind in _CHOSEN)],
        ),
        allow(
            ["ec2:RunInstances", "ec2:CreateFleet"],
            [f"{ec2}:*:launch-template/*"],
            {"StringEquals": ours, "StringLike": {"aws:ResourceTag/karpenter.sh/nodepool": "*"}},
        ),
        allow(
            ["ec2:RunInstances", "ec2:CreateFleet", "ec2:CreateLaunchTemplate"],
            launched,
            {"StringEquals": asked, "StringLike": {"aws:RequestTag/karpenter.sh/nodepool": "*"}},
        ),
        allow(
            ["ec2:CreateTags"],
            launched,
            {
                "StringEquals": {
                    **asked,
                    "ec2:CreateAction": ["RunInstances", "CreateFleet", "CreateLaunchTemplate"],
                }
            },
        ),
        allow(
            ["ec2:CreateTags"],
            [f"{ec2}:*:instance/*"],
            {
                "StringEquals": ours,
                "ForAllValues:StringEquals": {
                    "aws:TagKeys": ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"]
                },
            },
        ),
        allow(
            ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"],
            [f"{ec2}:*:instance/*", f"{ec2}:*:launch-template/*"],
            {"StringEquals": ours, "StringLike": {"aws:ResourceTag/karpenter.sh/nodepool": "*"}},
        ),
        allow(
            ["iam:PassRole"],
            [node_role_arn],
            {"StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"]}},
        ),
        allow(["iam:CreateInstanceProfile", "iam:TagInstanceProfile"], profiles, {"StringEquals": {**asked, **here}}),
        allow(
            ["iam:AddRoleToInstanceProfile", "iam:RemoveRoleFromInstanceProfile", "iam:DeleteInstanceProfile"],
            profiles,
            {"StringEquals": {**ours, "aws:ResourceTag/topology.kubernetes.io/region": region}},
        ),
        allow(["iam:GetInstanceProfile"], profiles),
        allow(["iam:ListInstanceProfiles", "pricing:GetProducts"]),
        allow(
            [
                *("ec2:DescribeCapacityReservations", "ec2:DescribeImages", "ec2:DescribeInstances"),
                *("ec2:DescribeInstanceStatus", "ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstanceTypes"),
                *("ec2:DescribeLaunchTemplates", "ec2:DescribePlacementGroups", "ec2:DescribeSecurityGroups"),
                *("ec2:DescribeSpotPriceHistory", "ec2:DescribeSubnets"),
            ],
            condition={"StringEquals": {"aws:RequestedRegion": region}},
        ),
        allow(["ssm:GetParameter"], [f"arn:{partition(region)}:ssm:{region}::parameter/aws/service/*"]),
        allow(["eks:DescribeCluster"], [f"arn:{partition(region)}:eks:{region}:{account}:cluster/{cluster}"]),
        allow(["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueUrl"], [queue_arn]),
    )
