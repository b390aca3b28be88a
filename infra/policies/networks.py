"""Whether a list of networks lets everybody in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

# the largest block that IANA ever gave to one holder; nobody's own network is larger
_LARGEST = {4: 8, 6: 16}


def open_to_all(networks: Iterable[str]) -> bool:
    """Whether any of ``networks``, or several of them side by side, is larger than anybody's own. A text that is no
    network counts as open: nobody can say what a cloud makes of it."""
    try:
        parsed = [ipaddress.ip_network(text.strip(), strict=False) for text in networks]
    except ValueError:
        return True
    four = [network for network in parsed if isinstance(network, ipaddress.IPv4Network)]
    six = [network for network in parsed if isinstance(network, ipaddress.IPv6Network)]
    merged: list[ipaddress.IPv4Network | ipaddress.IPv6Network]
    merged = [*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six)]
    return any(network.prefixlen < _LARGEST[network.version] for network in merged)
