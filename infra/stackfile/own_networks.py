"""Lists of networks that may connect: whether they are somebody's own, all of a list together. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from infra.stackfile.limits import limits

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Source: RFC 1918, RFC 6598, RFC 4193: nobody comes from these over the internet
_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)


def open_to_all(networks: Iterable[str]) -> bool:
    """Return True if ``networks`` are more than anybody's own: one of them, several adjacent ones as one block, or the
    public addresses of all together. A text that is not a network counts as open: nobody can say what a cloud makes of
    it."""
    try:
        merged = _merged(networks)
    except ValueError:
        return True
    return any(map(is_too_wide, merged)) or any(
        _public(merged, version) > limits().networks.addresses(version) for version in (4, 6)
    )


def is_too_wide(network: Network) -> bool:
    """Return True if one network is larger than anybody's own."""
    return network.num_addresses > limits().networks.addresses(network.version)


def public_share(networks: Iterable[str]) -> float:
    """Return the share of all addresses of IP version 4 or 6 that a list lets in, the larger of the two. Raises
    ``ValueError`` for a text that is not a network."""
    merged = _merged(networks)
    return max(_public(merged, 4) / 2**32, _public(merged, 6) / 2**128)


def _merged(networks: Iterable[str]) -> list[Network]:
    """Return the same addresses as few blocks, none twice."""
    parsed = [ipaddress.ip_network(text.strip(), strict=False) for text in networks]
    four = [network for network in parsed if isinstance(network, ipaddress.IPv4Network)]
    six = [network for network in parsed if isinstance(network, ipaddress.IPv6Network)]
    return [*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six)]


def _public(merged: Iterable[Network], version: int) -> int:
    return sum(each.num_addresses for each in merged if each.version == version and not _is_private(each))


def _is_private(network: Network) -> bool:
    # of another version none is a subnet
    return any(
        network.version == own.version and network.subnet_of(own)  # type: ignore[arg-type]
        for own in _PRIVATE
    )
