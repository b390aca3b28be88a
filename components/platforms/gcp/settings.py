"""The stack file's settings of Google Cloud. No SDK is imported: a stack of another cloud reads this file too."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from components.platforms.gcp.rules import (
    ADOPT_CONFLICT,
    HOST_INVALID,
    MACHINE_FAMILY_UNKNOWN,
    NETWORK_INVALID,
    PROJECT_INVALID,
    REGION_INVALID,
    VERSION_INVALID,
    ZONES_INVALID,
)
from components.platforms.maintenance import MaintenanceWindow
from components.typed.fields import StackModel, integer, pattern
from components.typed.rules.file import COUNT_INVALID

Region = Annotated[str, pattern(REGION_INVALID, "Region", r"[a-z]+-[a-z]+[0-9]{1,2}")]
Zone = Annotated[str, pattern(ZONES_INVALID, "Zone", r"[a-z]+-[a-z]+[0-9]{1,2}-[a-z]")]
ProjectId = Annotated[str, pattern(PROJECT_INVALID, "ProjectId", r"([a-z][a-z0-9.-]*:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")]
Version = Annotated[str, pattern(VERSION_INVALID, "Version", r"1\.[0-9]{2}(\.[0-9]+(-gke\.[0-9]+)?)?")]
Cidr = Annotated[str, pattern(NETWORK_INVALID, "Cidr", r"([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}")]
GoogleName = Annotated[str, pattern(ADOPT_CONFLICT, "GoogleName", r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")]
MachineType = Annotated[str, pattern(MACHINE_FAMILY_UNKNOWN, "MachineType", r"[a-z][a-z0-9]*-[a-z0-9]+(-[a-z0-9]+)*")]
Host = Annotated[str, pattern(HOST_INVALID, "Host", r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")]
SystemNodes = Annotated[int, integer(COUNT_INVALID, 1, 100, fix="give 2 or more, so that one node can be replaced")]


SYSTEM_DISK_GIB = 100
"""Size of the boot disk of a node without GPUs."""


class SystemPool(StackModel):
    """Nodes without a GPU for what always runs: DNS, KEDA, the gateway."""

    machine: MachineType = Field(default="e2-standard-4", description="machine type of the nodes without a GPU")
    min: SystemNodes = Field(default=2, description="fewest of them, over all zones")
    max: SystemNodes = Field(default=4, description="most of them, over all zones")


class ClusterSettings(StackModel):
    """The cluster: made with these values, or adopted by name."""

    version: Version | None = Field(
        default=None, description="oldest version of the control plane; None: the channel's"
    )
    release_channel: Literal["RAPID", "REGULAR", "STABLE", "EXTENDED"] = Field(
        default="REGULAR", description="how soon GKE upgrades it"
    )
    api_allowed_networks: tuple[Cidr, ...] = Field(
        default=(), description="networks that may reach a public API endpoint; none: it has a private one only"
    )
    dns_endpoint: StrictBool = Field(
        default=False, description="reach the API by its DNS name, guarded by IAM, from outside the network too"
    )
    system_pool: SystemPool = Field(default=SystemPool(), description="nodes without a GPU")
    maintenance: MaintenanceWindow | None = Field(
        default=None, description="when upgrades may drain nodes; default: in prod a weekend's night, else any time"
    )
    deletion_protection: StrictBool | None = Field(
        default=None, description="Google's own lock on the cluster beside Pulumi's; default: on in prod"
    )
    adopt: GoogleName | None = Field(default=None, description="name of a cluster that is there, in this region")

    @property
    def extended(self) -> bool:
        """Return True if the version is to be supported beyond its standard time."""
        return self.release_channel == "EXTENDED"


class AdoptedNetwork(StackModel):
    """An existing VPC: names, in ``project`` where it belongs to another one (Shared VPC)."""

    network: GoogleName = Field(description="name of the VPC", examples=["main"])
    subnet: GoogleName = Field(description="name of the nodes' subnet", examples=["gke-europe-west4"])
    pods_range: GoogleName = Field(description="its secondary range for pods", examples=["pods"])
    services_range: GoogleName = Field(description="its secondary range for Services", examples=["services"])
    project: ProjectId | None = Field(default=None, description="the host project of a Shared VPC")


class NetworkSettings(StackModel):
    """The network: made from one range, or adopted."""

    cidr: Cidr = Field(default="10.40.0.0/16", description="the range that nodes, pods and Services share")
    zones: tuple[Zone, ...] = Field(default=(), description="zones of the nodes; none: GKE chooses")
    adopt: AdoptedNetwork | None = Field(default=None, description="a VPC that is there")


MANAGED = "managed"
"""The certificate that Google makes and renews by itself, for public load balancers."""


class IngressSettings(StackModel):
    """The clients' way to the gateway: a load balancer that terminates TLS."""

    host: Host = Field(description="the name clients type", examples=["llm.example.com"])
    certificate: GoogleName | None = Field(
        default=None, description="an SSL certificate by name, of the region unless public; public: also managed"
    )
    public: StrictBool = Field(default=False, description="reachable from the internet, through an allow list")
    allowed_networks: tuple[Cidr, ...] = Field(default=(), description="who may come in from the internet")


class GcpSettings(StackModel):
    """A place on Google Cloud: one region of one project."""

    kind: Literal["gcp"]
    project: ProjectId = Field(description="the project's id", examples=["acme-llm-prod"])
    region: Region = Field(description="where everything is", examples=["europe-west4"])
    cluster: ClusterSettings = Field(default=ClusterSettings(), description="the cluster, made or adopted")
    network: NetworkSettings = Field(default=NetworkSettings(), description="the network, made or adopted")
    ingress: IngressSettings | None = Field(default=None, description="a load balancer; none: inside the cluster only")
    image_streaming: StrictBool = Field(default=True, description="start containers before their image is complete")
    flex_start: tuple[str, ...] = Field(
        default=(), description="pools whose nodes are asked for through flex-start: longer wait, at most seven days"
    )

    @property
    def ignores_order(self) -> None:
        """Return None: a ComputeClass tells the autoscaler, of an adopted cluster as well."""
        return None
