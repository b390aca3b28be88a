"""The stack file's settings of a place on AWS. No SDK is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from components.platforms.aws.rules import (
    IDENTIFIER_INVALID,
    NETWORK_INVALID,
    NODE_RELEASE_INVALID,
    REGION_INVALID,
    VERSION_UNKNOWN,
    ZONES_INVALID,
)
from components.typed.fields import StackModel, integer, pattern
from components.typed.rules.file import COUNT_INVALID
from components.typed.rules.stack import HOST_WITHOUT_TLS, MACHINE_UNKNOWN
from components.typed.units import Duration

_CIDR = r"[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}"

Region = Annotated[str, pattern(REGION_INVALID, "Region", r"[a-z]{2}(-[a-z]+)+-[0-9]")]
Account = Annotated[str, pattern(IDENTIFIER_INVALID, "Account", r"[0-9]{12}")]
Zone = Annotated[str, pattern(ZONES_INVALID, "Zone", r"[a-z]{2}(-[a-z]+)+-[0-9][a-z]")]
Cidr = Annotated[str, pattern(NETWORK_INVALID, "Cidr", _CIDR)]
Minor = Annotated[str, pattern(VERSION_UNKNOWN, "Minor", r"1\.[0-9]{2}")]
MachineType = Annotated[str, pattern(MACHINE_UNKNOWN, "MachineType", r"[a-z][a-z0-9-]*\.[a-z0-9-]+")]
ClusterName = Annotated[str, pattern(IDENTIFIER_INVALID, "ClusterName", r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")]
VpcId = Annotated[str, pattern(IDENTIFIER_INVALID, "VpcId", r"vpc-[0-9a-f]{8,17}")]
SubnetId = Annotated[str, pattern(IDENTIFIER_INVALID, "SubnetId", r"subnet-[0-9a-f]{8,17}")]
Principal = Annotated[
    str, pattern(IDENTIFIER_INVALID, "Principal", r"arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[\w+=,.@/-]+")
]
Certificate = Annotated[
    str, pattern(HOST_WITHOUT_TLS, "Certificate", r"arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/[0-9a-f-]{36}")
]
Host = Annotated[str, pattern(HOST_WITHOUT_TLS, "Host", r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")]
AmiRelease = Annotated[str, pattern(NODE_RELEASE_INVALID, "AmiRelease", r"v[0-9]{8}|v?[0-9]+\.[0-9]+\.[0-9]+")]
Nodes = Annotated[int, integer(COUNT_INVALID, 1, 100, fix="2 to 4 nodes are enough for most stacks")]


SYSTEM_DISK_GIB = 60
"""Disk size of a node without GPUs."""
# AWS services that nodes and controllers call. Source: EKS user guide, Deploy private clusters with limited internet
# access
INTERFACE_ENDPOINTS = (
    *("ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "sts"),
    *("logs", "autoscaling", "elasticloadbalancing"),
)


class SystemPool(StackModel):
    """Nodes without GPUs for everything that is not a model."""

    machine: MachineType = Field(default="m7i.large", description="an x86-64 instance type")
    min: Nodes = Field(default=2, description="nodes that always run")
    max: Nodes = Field(default=4, description="the most nodes")


class ClusterSettings(StackModel):
    """An EKS cluster to create, or with ``adopt`` an existing one."""

    version: Minor = Field(default="1.35", description="Kubernetes' minor version")
    support: Literal["standard", "extended"] = Field(
        default="standard",
        description="at the end of standard support EKS upgrades the cluster; extended: it stays, and costs more",
    )
    api_allowed_networks: tuple[Cidr, ...] = Field(
        default=(), description="who may reach the API over the internet; empty: it has no public address"
    )
    api_private_networks: tuple[Cidr, ...] = Field(
        default=(), description="networks beyond the VPC (a VPN's) that may reach the private address"
    )
    admins: tuple[Principal, ...] = Field(default=(), description="IAM principals with all rights in the cluster")
    system_pool: SystemPool = SystemPool()
    log_retention_days: Literal[30, 90, 180, 365, 731] = Field(default=90, description="how long audit logs are kept")
    adopt: ClusterName | None = Field(default=None, description="the name of a cluster that is there")

    @property
    def extended(self) -> bool:
        """Return True if the version is to be supported beyond its standard time."""
        return self.support == "extended"


class AdoptedNetwork(StackModel):
    """An existing VPC. ``subnets``: one private subnet per zone, with a way out to AWS's services."""

    vpc: VpcId = Field(description="the VPC's id", examples=["vpc-0123456789abcdef0"])
    subnets: Mapping[Zone, SubnetId] = Field(
        description="zone: private subnet", examples=["{eu-west-1a: subnet-0123456789abcdef0}"]
    )
    public_subnets: tuple[SubnetId, ...] = Field(
        default=(), description="where a public load balancer goes; one a zone, two or more"
    )


class NetworkSettings(StackModel):
    """A VPC to create, or with ``adopt`` an existing one."""

    cidr: Cidr = Field(default="10.40.0.0/16", description="the VPC's addresses, /16 to /18")
    zones: tuple[Zone, ...] = Field(default=(), description="two to six zones of the region")
    nat: Literal["single", "perZone"] | None = Field(
        default=None, description="NAT gateways; default: one a zone in prod, a single one elsewhere"
    )
    private_endpoints: StrictBool = Field(
        default=False, description="interface endpoints, so that AWS's own services are reached without the NAT gateway"
    )
    adopt: AdoptedNetwork | None = None

    def nat_gateways(self, environment: str) -> Literal["single", "perZone"]:
        """Return the choice of NAT gateways: one costs less; one per zone keeps the others going when a zone fails."""
        return self.nat or ("perZone" if environment == "prod" else "single")


class IngressSettings(StackModel):
    """An Application Load Balancer before the gateway. ``public: false`` gives it no public address."""

    host: Host = Field(description="the name clients type", examples=["llm.example.com"])
    certificate: Certificate = Field(
        description="a certificate in ACM for that name",
        examples=["arn:aws:acm:eu-west-1:123456789012:certificate/00000000-0000-0000-0000-000000000000"],
    )
    public: StrictBool = Field(default=False, description="reachable from the internet")
    allowed_networks: tuple[Cidr, ...] = Field(default=(), description="who may connect; default: the VPC alone")


class AwsSettings(StackModel):
    """A place on AWS. Any account but ``account`` is refused before anything is read or made."""

    kind: Literal["aws"]
    region: Region = Field(description="a region's code", examples=["eu-west-1"])
    account: Account = Field(description="the account's number", examples=['"123456789012"'])
    cluster: ClusterSettings = ClusterSettings()
    network: NetworkSettings = Field(
        description="zones to create a network in, or adopt", examples=["{zones: [eu-west-1a, eu-west-1b]}"]
    )
    node_provisioning: Literal["managed", "karpenter"] = Field(
        default="managed", description="managed node groups with the Cluster Autoscaler, or Karpenter"
    )
    node_image_release: AmiRelease | None = Field(
        default=None, description="with karpenter: the release of the node image, so that none changes by itself"
    )
    node_idle: Duration = Field(
        default=Duration(600), description="how long a GPU node stays after its last model has gone"
    )
    autoscaler: Literal["helm", "existing"] | None = Field(
        default=None, description="installed by the stack, or there; default: existing on an adopted cluster"
    )
    load_balancer_controller: Literal["helm", "existing"] | None = Field(
        default=None, description="installed by the stack, or there; default: existing on an adopted cluster"
    )
    storage_class: str | None = Field(
        default=None, description="on an adopted cluster: the class for volumes; default: the cluster's own"
    )
    ingress: IngressSettings | None = None

    @property
    def adopted(self) -> bool:
        """Return True if the cluster is an existing one."""
        return self.cluster.adopt is not None

    @property
    def zones(self) -> tuple[str, ...]:
        """Return the zones in which nodes may be, in the order of the stack file."""
        return tuple(self.network.adopt.subnets) if self.network.adopt else self.network.zones

    @property
    def installs_autoscaler(self) -> bool:
        """Return True if the stack brings the autoscaler."""
        return (self.autoscaler or ("existing" if self.adopted else "helm")) == "helm"

    @property
    def ignores_order(self) -> str | None:
        """Return None if the stack brings what brings nodes: each is told the order."""
        knows_order = self.node_provisioning == "karpenter" or self.installs_autoscaler
        return None if knows_order else "platform.autoscaler is existing, and whoever set it up has to tell it"

    @property
    def installs_load_balancer_controller(self) -> bool:
        """Return True if the stack brings the controller, which is not needed without an ingress."""
        controller = self.load_balancer_controller or ("existing" if self.adopted else "helm")
        return self.ingress is not None and controller == "helm"
