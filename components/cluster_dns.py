"""How pods that a NetworkPolicy holds are let out to the cluster's DNS."""

from __future__ import annotations

from typing import Any


def dns_ports() -> list[dict[str, Any]]:
    """A rule's ``ports``. They are the DNS pods' own, not their Service's: 5353 is that of a DNS that runs without
    privileges, OpenShift's and the local stack's.
    """
    return [{"protocol": protocol, "port": port} for port in (53, 5353) for protocol in ("UDP", "TCP")]
