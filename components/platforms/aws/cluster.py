"""The EKS control plane, created or adopted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.platforms.aws.names import managed_policy, role_prefix
from components.platforms.aws.network import Network
from components.platforms.aws.rights import trust_service
from components.platforms.aws.settings import ClusterSettings

# Source: EKS user guide, Send control plane logs to CloudWatch Logs
AUDIT_LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")
_ALL_RIGHTS = "cluster-access-policy/AmazonEKSClusterAdminPolicy"


@dataclass(frozen=True)
class Cluster:
    """A cluster as the rest of the place needs it. ``ref`` is also its name, but known only once it exists, so that
    whatever uses it is made after it. ``authority`` is base64 PEM; ``version`` the minor version."""

    name: str
    ref: pulumi.Input[str]
    endpoint: pulumi.Input[str]
    authority: pulumi.Input[str]
    security_group: pulumi.Input[str]
    version: pulumi.Input[str]


def cluster_arguments(settings: ClusterSettings) -> dict[str, Any]:
    """Return the plain part of the control plane's arguments."""
    public = bool(settings.api_allowed_networks)
    return {
        "version": settings.version,
        # EKS's own default is to go on for six times the price without a word
        "upgrade_policy": {"support_type": settings.support.upper()},
        # nodes and people in the VPC always use the private address; the public one exists only for the named networks
        "vpc_config": {
            "endpoint_private_access": True,
            "endpoint_public_access": public,
            **({"public_access_cidrs": list(settings.api_allowed_networks)} if public else {}),
        },
        "access_config": {
            "authentication_mode": "API",
            # the identity behind the first `up` deploys into it; all others are listed under cluster.admins
            "bootstrap_cluster_creator_admin_permissions": True,
        },
        "enabled_cluster_log_types": list(AUDIT_LOGS),
        # networking and DNS come as add-ons, whose versions can be seen and set
        "bootstrap_self_managed_addons": False,
    }


def adopted(name: str, opts: pulumi.InvokeOptions) -> Cluster:
    """Read an existing cluster by name; nothing of it is changed."""
    cluster = aws.eks.get_cluster_output(name=name, opts=opts)
    return Cluster(
        name=name,
        ref=name,
        endpoint=cluster.endpoint,
        authority=cluster.certificate_authorities.apply(lambda authorities: authorities[0].data),
        security_group=cluster.vpc_config.cluster_security_group_id,
        version=cluster.version,
    )


class AwsCluster(pulumi.ComponentResource):
    """The control plane: private nodes, an API without public address unless networks are named, all five audit logs,
    secrets encrypted with ``key_arn``, rights by access entries alone.

    At rest it costs EKS's hourly fee (more once the version has left standard support), and the logs by the GB. The
    first creation takes 10 to 15 minutes. It makes no node.
    """

    cluster: Cluster

    def __init__(
        self,
        name: str,
        region: str,
        settings: ClusterSettings,
        network: Network,
        key_arn: pulumi.Input[str],
        protect: bool,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:AwsCluster", f"{name}-cluster", None, opts)
        mine = pulumi.ResourceOptions(parent=self)
        # before the cluster, which would otherwise make one that keeps its logs for ever
        logs = aws.cloudwatch.LogGroup(
            f"{name}-audit",
            name=f"/aws/eks/{name}/cluster",
            retention_in_days=settings.log_retention_days,
            opts=mine,
        )
        role = aws.iam.Role(
            f"{name}-cluster",
            name_prefix=role_prefix(name, "cluster"),
            assume_role_policy=trust_service("eks.amazonaws.com"),
            opts=mine,
        )
        rights = aws.iam.RolePolicyAttachment(
            f"{name}-cluster",
            role=role.name,
            policy_arn=managed_policy(region, "AmazonEKSClusterPolicy"),
            opts=mine,
        )
        arguments = cluster_arguments(settings)
        subnets = list(network.private.values())
        eks = aws.eks.Cluster(
            f"{name}-cluster",
            name=name,
            role_arn=role.arn,
            **(arguments | {"vpc_config": {**arguments["vpc_config"], "subnet_ids": subnets}}),
            encryption_config={"provider": {"key_arn": key_arn}, "resources": ["secrets"]},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[logs, rights], protect=protect),
        )
        group = eks.vpc_config.cluster_security_group_id
        for index, source in enumerate(settings.api_private_networks):
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-api-{index}",
                security_group_id=group.apply(str),
                ip_protocol="tcp",
                from_port=443,
                to_port=443,
                cidr_ipv4=source,
                description="Kubernetes API from a connected network",
                opts=mine,
            )
        self._admins(name, region, eks, settings)
        self.cluster = Cluster(
            name=name,
            ref=eks.name,
            endpoint=eks.endpoint,
            authority=eks.certificate_authority.data.apply(str),
            security_group=group.apply(str),
            version=settings.version,
        )
        self.register_outputs({"endpoint": eks.endpoint})

    def _admins(self, name: str, region: str, eks: aws.eks.Cluster, settings: ClusterSettings) -> None:
        mine = pulumi.ResourceOptions(parent=self)
        partition = managed_policy(region, "").split(":")[1]
        for principal in settings.admins:
            who = principal.rpartition("/")[2]
            entry = aws.eks.AccessEntry(
                f"{name}-admin-{who}", cluster_name=eks.name, principal_arn=principal, opts=mine
            )
            aws.eks.AccessPolicyAssociation(
                f"{name}-admin-{who}",
                cluster_name=eks.name,
                principal_arn=principal,
                policy_arn=f"arn:{partition}:eks::aws:{_ALL_RIGHTS}",
                access_scope={"type": "cluster"},
                opts=pulumi.ResourceOptions(parent=self, depends_on=[entry]),
            )
