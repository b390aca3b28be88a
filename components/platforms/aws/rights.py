"""Policy documents as plain values: who may take a role, and what each role may do. Pure.

Every document is as small as the work allows; what a service's own page asks for is cited where it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Document = dict[str, Any]
_VERSION = "2012-10-17"


def document(*statements: Document) -> str:
    """A policy as IAM takes it, the same text from run to run."""
    return json.dumps({"Version": _VERSION, "Statement": list(statements)}, sort_keys=True)


def allow(
    actions: Sequence[str], resources: Sequence[str] = ("*",), condition: Mapping[str, Any] | None = None
) -> Document:
    """One statement."""
    statement: Document = {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return statement | ({"Condition": dict(condition)} if condition else {})


def trust_service(service: str) -> str:
    """A role that a service of AWS takes."""
    return document({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"})


def trust_pods() -> str:
    """A role that pods take through an association. Source: EKS user guide, Pod Identity, Create IAM role."""
    return document(
        {
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
        }
    )


def read_weights(bucket_arn: str, key_arn: str) -> str:
    """What a model's pod may do: list the bucket and read its objects."""
    return document(
        allow(["s3:ListBucket"], [bucket_arn]),
        allow(["s3:GetObject"], [f"{bucket_arn}/*"]),
        allow(["kms:Decrypt"], [key_arn]),
    )


def write_weights(bucket_arn: str, key_arn: str) -> str:
    """What the mirror may do: add and replace objects. It may not delete: an old revision stays whole."""
    return document(
        allow(["s3:ListBucket", "s3:ListBucketMultipartUploads"], [bucket_arn]),
        allow(
            ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
            [f"{bucket_arn}/*"],
        ),
        allow(["kms:Decrypt", "kms:GenerateDataKey"], [key_arn]),
    )


def tls_only(bucket_arn: str) -> str:
    """The bucket's own policy. Source: S3 user guide, Security best practices, Enforce encryption in transit."""
    return document(
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [bucket_arn, f"{bucket_arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    )


def cluster_autoscaler(cluster: str) -> str:
    """Read node groups; size and shrink only those of this cluster, told by the tag EKS puts on them.
    Source: kubernetes/autoscaler, Cluster Autoscaler on AWS, IAM Policy."""
    own = {"StringEquals": {f"aws:ResourceTag/k8s.io/cluster-autoscaler/{cluster}": "owned"}}
    return document(
        allow(
            [
                *("autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances"),
                *("autoscaling:DescribeLaunchConfigurations", "autoscaling:DescribeScalingActivities"),
                *("autoscaling:DescribeTags", "ec2:DescribeImages", "ec2:DescribeInstanceTypes"),
                *("ec2:DescribeLaunchTemplateVersions", "ec2:GetInstanceTypesFromInstanceRequirements"),
                "eks:DescribeNodegroup",
            ]
        ),
        allow(["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"], condition=own),
    )


def load_balancer_controller(cluster: str) -> str:
    """Load balancers, target groups and security groups that carry this cluster's tag; certificates to read.

    Firewalls, Shield and Cognito are left out: the stack's Ingress uses none, and the chart is told so.
    Source: kubernetes-sigs/aws-load-balancer-controller v3.5.0, Installation, Configure IAM.
    """
    tag = "elbv2.k8s.aws/cluster"
    on_request = {"StringEquals": {f"aws:RequestTag/{tag}": cluster}}
    on_resource = {"StringEquals": {f"aws:ResourceTag/{tag}": cluster}}
    groups = ["arn:*:ec2:*:*:security-group/*"]
    balancer = "elasticloadbalancing"
    return document(
        allow(
            ["iam:CreateServiceLinkedRole"],
            condition={"StringEquals": {"iam:AWSServiceName": "elasticloadbalancing.amazonaws.com"}},
        ),
        allow(["ec2:Describe*", "ec2:GetSecurityGroupsForVpc", f"{balancer}:Describe*"]),
        allow(["acm:ListCertificates", "acm:DescribeCertificate"]),
        # nodes' own security group lets the balancer in: it carries no tag of the controller
        allow(["ec2:CreateSecurityGroup", "ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"]),
        allow(
            ["ec2:CreateTags"],
            groups,
            {"StringEquals": {"ec2:CreateAction": "CreateSecurityGroup", f"aws:RequestTag/{tag}": cluster}},
        ),
        allow(["ec2:CreateTags", "ec2:DeleteTags", "ec2:DeleteSecurityGroup"], groups, on_resource),
        allow(
            [f"{balancer}:CreateLoadBalancer", f"{balancer}:CreateTargetGroup", f"{balancer}:AddTags"],
            condition=on_request,
        ),
        allow(
            [
                f"{balancer}:{action}"
                for action in (
                    *("ModifyLoadBalancerAttributes", "SetIpAddressType", "SetSecurityGroups", "SetSubnets"),
                    *("DeleteLoadBalancer", "ModifyTargetGroup", "ModifyTargetGroupAttributes", "DeleteTargetGroup"),
                    *("RegisterTargets", "DeregisterTargets", "AddTags", "RemoveTags"),
                )
            ],
            condition=on_resource,
        ),
        # a listener and a rule come without a tag of their own
        allow(
            [
                f"{balancer}:{action}"
                for action in (
                    *("CreateListener", "ModifyListener", "DeleteListener", "ModifyListenerAttributes"),
                    *("CreateRule", "ModifyRule", "DeleteRule", "SetRulePriorities"),
                    *("AddListenerCertificates", "RemoveListenerCertificates"),
                )
            ]
        ),
        allow(
            [f"{balancer}:AddTags", f"{balancer}:RemoveTags"],
            [
                "arn:*:elasticloadbalancing:*:*:listener/app/*/*/*",
                "arn:*:elasticloadbalancing:*:*:listener-rule/app/*/*/*",
            ],
        ),
    )
