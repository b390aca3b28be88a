"""EKS add-ons: network, DNS, Pod Identity, volumes. Their versions are EKS's default for the cluster's version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from components.platforms.aws.cluster import Cluster
from components.platforms.aws.names import managed_policy, role_prefix
from components.platforms.aws.rights import trust_pods

# Source: EKS user guide, Amazon VPC CNI, Configure network policies: without it the cluster accepts a NetworkPolicy
# but lets everything through
_NETWORK = {"enableNetworkPolicy": "true"}
BEFORE_NODES = ("vpc-cni", "kube-proxy", "eks-pod-identity-agent")


class NodeAddons(pulumi.ComponentResource):
    """The add-ons a node needs to become Ready, installed before the first node. Costs nothing beyond the nodes."""

    def __init__(self, name: str, cluster: Cluster, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ebbtide:platforms:AwsNodeAddons", f"{name}-node-addons", None, opts)
        for addon in BEFORE_NODES:
            more = {"configuration_values": json.dumps(_NETWORK)} if addon == "vpc-cni" else {}
            _addon(name, cluster, addon, pulumi.ResourceOptions(parent=self), **more)
        self.register_outputs({})


class ClusterAddons(pulumi.ComponentResource):
    """DNS and the EBS driver: they run as pods and are healthy only once there are nodes (``after``)."""

    def __init__(
        self,
        name: str,
        region: str,
        cluster: Cluster,
        after: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:AwsClusterAddons", f"{name}-cluster-addons", None, opts)
        mine = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-volumes",
            name_prefix=role_prefix(name, "volumes"),
            assume_role_policy=trust_pods(),
            opts=mine,
        )
        # Source: EKS user guide, Store Kubernetes volumes with Amazon EBS
        rights = aws.iam.RolePolicyAttachment(
            f"{name}-volumes",
            role=role.name,
            policy_arn=managed_policy(region, "service-role/AmazonEBSCSIDriverPolicy"),
            opts=mine,
        )
        late = pulumi.ResourceOptions(parent=self, depends_on=[*after, rights])
        _addon(name, cluster, "coredns", late)
        identity = {"role_arn": role.arn, "service_account": "ebs-csi-controller-sa"}
        _addon(name, cluster, "aws-ebs-csi-driver", late, pod_identity_associations=[identity])
        self.register_outputs({})


def _addon(name: str, cluster: Cluster, addon: str, opts: pulumi.ResourceOptions, **more: Any) -> None:
    aws.eks.Addon(
        f"{name}-{addon}",
        cluster_name=cluster.ref,
        addon_name=addon,
        resolve_conflicts_on_create="OVERWRITE",
        resolve_conflicts_on_update="OVERWRITE",
        opts=opts,
        **more,
    )
