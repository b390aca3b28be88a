"""The stack file's settings of Azure. No SDK is imported: a stack of another cloud reads this file too."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from components.platforms.azure.rules import (
    CERTIFICATE_ID_INVALID,
    HOST_INVALID,
    NETWORK_INVALID,
    REGION_INVALID,
    RESOURCE_NAME_INVALID,
    SUBNET_ID_INVALID,
    UUID_INVALID,
    VERSION_INVALID,
    VM_SIZE_INVALID,
    ZONES_INVALID,
)
from components.platforms.maintenance import MaintenanceWindow
from components.typed.fields import StackModel, integer, pattern
from components.typed.rules.file import COUNT_INVALID
from components.typed.units import Duration

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_IN_GROUP = rf"/subscriptions/{_UUID}/resourceGroups/[A-Za-z0-9._()-]{{1,90}}/providers"
CERTIFICATE_ID = (
    rf"(?P<vault>{_IN_GROUP}/Microsoft\.KeyVault/vaults/(?P<vault_name>[A-Za-z0-9-]{{3,24}}))"
    r"/(certificates|secrets)/(?P<name>[A-Za-z0-9-]{1,127})"
)
RESERVATION_ID = rf"{_IN_GROUP}/Microsoft\.Compute/capacityReservationGroups/[A-Za-z0-9._-]{{1,80}}"

Uuid = Annotated[str, pattern(UUID_INVALID, "Uuid", _UUID)]
Region = Annotated[str, pattern(REGION_INVALID, "Region", r"[a-z]+[0-9]?")]
Zone = Annotated[str, pattern(ZONES_INVALID, "Zone", r"[1-3]")]
Version = Annotated[str, pattern(VERSION_INVALID, "Version", r"1\.[0-9]{2}(\.[0-9]{1,2})?")]
Cidr = Annotated[str, pattern(NETWORK_INVALID, "Cidr", r"([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}")]
VmSize = Annotated[str, pattern(VM_SIZE_INVALID, "VmSize", r"Standard_[A-Za-z0-9_-]+")]
AzureName = Annotated[
    str, pattern(RESOURCE_NAME_INVALID, "AzureName", r"[A-Za-z0-9]([A-Za-z0-9._()-]{0,88}[A-Za-z0-9_()-])?")
]
SubnetId = Annotated[
    str,
    pattern(
        SUBNET_ID_INVALID,
        "SubnetId",
        rf"{_IN_GROUP}/Microsoft\.Network/virtualNetworks/[A-Za-z0-9._-]{{2,64}}/subnets/[A-Za-z0-9._-]{{1,80}}",
    ),
]
CertificateId = Annotated[str, pattern(CERTIFICATE_ID_INVALID, "CertificateId", CERTIFICATE_ID)]
Host = Annotated[str, pattern(HOST_INVALID, "Host", r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")]
SystemNodes = Annotated[int, integer(COUNT_INVALID, 2, 100, fix="give 2 or more: AKS wants two nodes in a system pool")]


class SystemPool(StackModel):
    """Nodes without a GPU for what always runs: DNS, KEDA, the gateway, the ingress, the GPU operator's controller."""

    machine: VmSize = Field(default="Standard_D4s_v5", description="VM size of the nodes without a GPU")
    min: SystemNodes = Field(default=2, description="fewest of them")
    max: SystemNodes = Field(default=4, description="most of them")


class ClusterSettings(StackModel):
    """The cluster: made with these values, or adopted by name."""

    version: Version | None = Field(default=None, description="Kubernetes version; None: AKS's default")
    support: Literal["standard", "extended"] = Field(
        default="standard", description="extended: AKS's long-term support, which takes its Premium tier"
    )
    api_allowed_networks: tuple[Cidr, ...] = Field(
        default=(), description="networks that may reach a public API endpoint; none: it has a private one only"
    )
    admin_groups: tuple[Uuid, ...] = Field(
        default=(), description="Entra groups, by object id, whose members administer the cluster; `up` runs as one"
    )
    system_pool: SystemPool = Field(default=SystemPool(), description="nodes without a GPU")
    maintenance: MaintenanceWindow | None = Field(
        default=None, description="when upgrades may drain nodes; default: in prod a weekend's night, else any time"
    )
    adopt: AzureName | None = Field(default=None, description="name of a cluster that is there")
    resource_group: AzureName | None = Field(default=None, description="the adopted cluster's resource group")

    @property
    def extended(self) -> bool:
        """Return True if the version is to be supported beyond its standard time."""
        return self.support == "extended"


class AdoptedNetwork(StackModel):
    """An existing subnet, with a way out and the service endpoint Microsoft.Storage."""

    subnet: SubnetId = Field(description="the nodes' subnet by id", examples=["/subscriptions/…/subnets/aks"])
    way_out: Literal["natGateway", "route"] = Field(
        default="natGateway",
        description="the nodes' way out: the subnet's NAT gateway, or its route table; another one is another cluster",
    )


class NetworkSettings(StackModel):
    """The network: made from one range, or adopted by id."""

    cidr: Cidr = Field(default="10.40.0.0/16", description="the range of the network that is made")
    zones: tuple[Zone, ...] = Field(default=(), description="availability zones of the nodes; none: regional")
    adopt: AdoptedNetwork | None = Field(default=None, description="a subnet that is there")


class IngressSettings(StackModel):
    """The clients' way to the gateway: an Azure load balancer before an ingress controller that ends TLS."""

    host: Host = Field(description="the name clients type", examples=["llm.example.com"])
    certificate: CertificateId = Field(
        description="a certificate in a Key Vault", examples=["/subscriptions/…/vaults/certs/certificates/llm"]
    )
    public: StrictBool = Field(default=False, description="reachable from the internet, through an allow list")
    allowed_networks: tuple[Cidr, ...] = Field(default=(), description="who may connect; none, private: the network")


class AzureSettings(StackModel):
    """A place on Azure: one region of one subscription."""

    kind: Literal["azure"]
    subscription: Uuid = Field(description="the subscription's id", examples=["00000000-0000-0000-0000-000000000000"])
    tenant: Uuid = Field(description="the Entra tenant's id", examples=["00000000-0000-0000-0000-000000000000"])
    region: Region = Field(description="where everything is", examples=["westeurope"])
    cluster: ClusterSettings = Field(default=ClusterSettings(), description="the cluster, made or adopted")
    network: NetworkSettings = Field(default=NetworkSettings(), description="the network, made or adopted")
    node_idle: Duration = Field(
        default=Duration(300), description="how long a GPU node stays after its last model has gone; whole minutes"
    )
    ingress: IngressSettings | None = Field(default=None, description="a load balancer; none: inside the cluster only")

    @property
    def ignores_order(self) -> str | None:
        """Return None for a cluster made here, whose autoscaler is told the order."""
        return None if self.cluster.adopt is None else "the cluster is adopted, and its owner sets its autoscaler"
