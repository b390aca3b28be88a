"""The network the cluster lives in: made from one range, or adopted by name."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_gcp as gcp

from components.platforms.contract import About
from components.platforms.gcp.address_plan import AddressPlan, address_plan
from components.platforms.gcp.names import fitted
from components.platforms.gcp.settings import AdoptedNetwork, GcpSettings

GATEWAY_PORT = 4000  # components/gateway: what the load balancer's proxies connect to, pod by pod

PODS, SERVICES = "pods", "services"


@dataclass(frozen=True)
class Network:
    """A network for a cluster and a load balancer: links, and the names of the secondary ranges."""

    network: pulumi.Input[str]
    subnet: pulumi.Input[str]
    pods_range: str
    services_range: str
    ready: tuple[pulumi.Resource, ...] = ()


def adopted(names: AdoptedNetwork, settings: GcpSettings) -> Network:
    """Return an existing VPC. Its internal load balancers need a proxy-only subnet of the region, and its nodes a way
    out (Cloud NAT) and Private Google Access; see docs/clouds/gcp.md."""
    project = names.project or settings.project
    return Network(
        network=f"projects/{project}/global/networks/{names.network}",
        subnet=f"projects/{project}/regions/{settings.region}/subnetworks/{names.subnet}",
        pods_range=names.pods_range,
        services_range=names.services_range,
    )


def nodes_subnet(plan: AddressPlan, region: str, network: pulumi.Input[str]) -> gcp.compute.SubnetworkArgs:
    """Build a subnet of private addresses only; Google's own APIs are reached without leaving its network."""
    return gcp.compute.SubnetworkArgs(
        region=region,
        network=network,
        ip_cidr_range=plan.nodes,
        secondary_ip_ranges=[
            gcp.compute.SubnetworkSecondaryIpRangeArgs(range_name=PODS, ip_cidr_range=plan.pods),
            gcp.compute.SubnetworkSecondaryIpRangeArgs(range_name=SERVICES, ip_cidr_range=plan.services),
        ],
        private_ip_google_access=True,
        stack_type="IPV4_ONLY",
    )


def proxies_subnet(plan: AddressPlan, region: str, network: pulumi.Input[str]) -> gcp.compute.SubnetworkArgs:
    """Build the subnet that internal load balancers of the region send from; one per region and VPC. Source: GKE
    documentation, Ingress for internal Application Load Balancers."""
    return gcp.compute.SubnetworkArgs(
        region=region,
        network=network,
        ip_cidr_range=plan.proxies,
        purpose="REGIONAL_MANAGED_PROXY",
        role="ACTIVE",
    )


class GcpNetwork(pulumi.ComponentResource):
    """A VPC with one subnet for nodes, pods and Services, a way out through Cloud NAT and, with an internal load
    balancer, a subnet for its proxies. At rest it costs Cloud NAT's hourly price and an address. One firewall rule lets
    those proxies in to the gateway's port: Google's page on internal Ingress leaves it to us, GKE makes its own others,
    and NetworkPolicies do the rest. Source: pulumi-gcp 10.2."""

    result: Network

    def __init__(self, settings: GcpSettings, about: About, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ebbtide:platforms:GcpNetwork", "network", None, opts)
        child = pulumi.ResourceOptions(parent=self)
        plan, name = address_plan(settings.network.cidr), fitted(about.name, 63)
        vpc = gcp.compute.Network("vpc", name=name, auto_create_subnetworks=False, routing_mode="REGIONAL", opts=child)
        nodes = gcp.compute.Subnetwork("nodes-subnet", nodes_subnet(plan, settings.region, vpc.id), opts=child)
        resources: list[pulumi.Resource] = [nodes]
        if settings.ingress is not None and not settings.ingress.public:
            resources += [
                gcp.compute.Subnetwork("proxies-subnet", proxies_subnet(plan, settings.region, vpc.id), opts=child),
                gcp.compute.Firewall(
                    "proxies-in",
                    name=fitted(f"{about.name}-proxies", 63),
                    network=vpc.id,
                    direction="INGRESS",
                    source_ranges=[plan.proxies],
                    allows=[gcp.compute.FirewallAllowArgs(protocol="tcp", ports=[str(GATEWAY_PORT)])],
                    opts=child,
                ),
            ]
        router = gcp.compute.Router("router", name=name, region=settings.region, network=vpc.id, opts=child)
        nat = gcp.compute.RouterNat(
            "nat",
            router=router.name,
            region=settings.region,
            nat_ip_allocate_option="AUTO_ONLY",
            source_subnetwork_ip_ranges_to_nat="LIST_OF_SUBNETWORKS",
            subnetworks=[
                gcp.compute.RouterNatSubnetworkArgs(name=nodes.id, source_ip_ranges_to_nats=["ALL_IP_RANGES"])
            ],
            # a node pulling layers from a registry outside opens many connections at once
            min_ports_per_vm=1024,
            log_config=gcp.compute.RouterNatLogConfigArgs(enable=True, filter="ERRORS_ONLY"),
            opts=child,
        )
        self.result = Network(vpc.id, nodes.id, PODS, SERVICES, ready=(*resources, nat))
        self.register_outputs({"network": vpc.id, "subnet": nodes.id})
