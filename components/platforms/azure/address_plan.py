"""The addresses that nodes, pods and Services take: pure arithmetic on networks."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

# Pods have addresses of their own (Azure CNI Overlay) and Services live inside the cluster: neither range takes room in
# the network, but neither may overlap it, or a network it is peered with.
# Source: AKS documentation, Azure CNI Overlay networking: IP address planning.
POD_RANGE: Final = "10.244.0.0/16"
SERVICE_RANGE: Final = "10.245.0.0/16"
DNS_SERVICE: Final = "10.245.0.10"
SMALLEST_PREFIX: Final = 8
LARGEST_PREFIX: Final = 24


@dataclass(frozen=True)
class AddressPlan:
    """The ranges of a network: ``network`` is the whole, ``nodes`` the subnet of nodes and internal load balancers; the
    rest stays free for private endpoints and what a team adds."""

    network: str
    nodes: str


def address_plan(cidr: str) -> AddressPlan:
    """Give the nodes the first quarter of the range. Raises ``ValueError`` for what is not a network."""
    network = ipaddress.IPv4Network(cidr)
    return AddressPlan(str(network), str(next(network.subnets(prefixlen_diff=2))))


def overlaps(cidr: str) -> str | None:
    """Return the cluster's own range that ``cidr`` overlaps, if any."""
    network = ipaddress.IPv4Network(cidr)
    for own_range in (POD_RANGE, SERVICE_RANGE):
        if network.overlaps(ipaddress.IPv4Network(own_range)):
            return own_range
    return None
