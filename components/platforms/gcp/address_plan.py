"""The division of one range into what a GKE network needs: pure arithmetic."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

WIDEST, NARROWEST = 9, 19
_PODS_A_NODE_PREFIX = 24
"""GKE gives each node a /24 of the pods' range: twice the 110 pods it may run. Source: GKE documentation, Flexible Pod
CIDR."""


@dataclass(frozen=True)
class AddressPlan:
    """Ranges of one network. ``proxies`` is the subnet Google's internal load balancers send from: at least a /26, a
    /23 is recommended (Google Cloud documentation, Proxy-only subnets)."""

    nodes: str
    pods: str
    services: str
    proxies: str

    @property
    def most_nodes(self) -> int:
        """Return how many nodes the pods' range has room for."""
        return int(2 ** (_PODS_A_NODE_PREFIX - ipaddress.ip_network(self.pods).prefixlen))


def address_plan(cidr: str) -> AddressPlan:
    """Give pods the upper half, nodes and Services an eighth each, proxies a /23.

    Raises ``ValueError`` for what is not a network, or not between /9 and /19.
    """
    whole = ipaddress.IPv4Network(cidr)
    if not WIDEST <= whole.prefixlen <= NARROWEST:
        raise ValueError(f"is a /{whole.prefixlen}")
    lower, pods = whole.subnets(1)
    eighths = list(lower.subnets(2))
    proxies = next(iter(eighths[2].subnets(new_prefix=max(23, eighths[2].prefixlen))))
    return AddressPlan(nodes=str(eighths[0]), pods=str(pods), services=str(eighths[1]), proxies=str(proxies))
