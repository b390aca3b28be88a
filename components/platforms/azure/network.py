"""The network of a cluster that the stack makes: one subnet for nodes, one way out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pulumi
import pulumi_azure_native as azure

from components.platforms.azure.address_plan import address_plan
from components.platforms.azure.names import tags
from components.platforms.azure.rights import Group
from components.platforms.azure.settings import NetworkSettings
from components.platforms.contract import About


@dataclass(frozen=True)
class Network:
    """A network for a cluster. ``subnet`` is an id; ``way_out`` is how nodes reach the internet; ``ways_out`` are the
    addresses they come from, as networks: none where others own them."""

    subnet: pulumi.Input[str]
    way_out: Literal["natGateway", "route"] = "natGateway"
    ways_out: tuple[pulumi.Input[str], ...] = ()
    ready: tuple[pulumi.Resource, ...] = ()


def adopted(settings: NetworkSettings) -> Network | None:
    """Return the existing subnet, if the stack file names one."""
    return None if settings.adopt is None else Network(settings.adopt.subnet, settings.adopt.way_out)


def subnet_args(prefix: str, nat_gateway: pulumi.Input[str]) -> dict[str, Any]:
    """Build a subnet whose nodes have no public address and leave through the NAT gateway alone. The service endpoint
    takes traffic for the weights past the gateway: free, on Azure's own network, and the storage account's firewall
    knows this subnet by it.

    Source: Azure Virtual Network documentation, Virtual Network service endpoints; Default outbound access.
    """
    return {
        "address_prefix": prefix,
        "default_outbound_access": False,
        "nat_gateway": azure.network.SubResourceArgs(id=nat_gateway),
        "service_endpoints": [azure.network.ServiceEndpointPropertiesFormatArgs(service="Microsoft.Storage")],
    }


class AzureNetwork(pulumi.ComponentResource):
    """A virtual network, a subnet for the nodes, and a NAT gateway with one public address for the way out. At rest it
    costs the hourly price of the NAT gateway and the address."""

    result: Network

    def __init__(
        self, settings: NetworkSettings, about: About, group: Group, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ebbtide:platforms:AzureNetwork", "network", None, opts)
        child = pulumi.ResourceOptions(parent=self)
        plan = address_plan(settings.cidr)
        common: dict[str, Any] = {"resource_group_name": group.name, "location": group.location, "tags": tags(about)}
        address = azure.network.PublicIPAddress(
            "way-out",
            public_ip_address_name=f"{about.name}-out",
            public_ip_allocation_method="Static",
            sku=azure.network.PublicIPAddressSkuArgs(name="Standard"),
            **common,
            opts=child,
        )
        gateway = azure.network.NatGateway(
            "nat",
            nat_gateway_name=about.name,
            sku=azure.network.NatGatewaySkuArgs(name="Standard"),
            public_ip_addresses=[azure.network.SubResourceArgs(id=address.id)],
            **common,
            opts=child,
        )
        network = azure.network.VirtualNetwork(
            "network",
            virtual_network_name=about.name,
            address_space=azure.network.AddressSpaceArgs(address_prefixes=[plan.network]),
            **common,
            opts=child,
        )
        subnet = azure.network.Subnet(
            "nodes",
            subnet_name="nodes",
            resource_group_name=group.name,
            virtual_network_name=network.name,
            **subnet_args(plan.nodes, gateway.id),
            opts=child,
        )
        self.result = Network(subnet.id, ways_out=(address.ip_address.apply(lambda ip: f"{ip}/32"),), ready=(subnet,))
        self.register_outputs({"subnet": subnet.id})
