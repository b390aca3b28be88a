"""Ways that NetworkPolicies open, read as Kubernetes reads them: what several policies let through adds up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from infra.policies.inputs import get_path
from infra.policies.model import Resource
from infra.stackfile.own_networks import open_to_all

EVERYBODY, EVERY_POD, OPEN = "everybody", "everyPod", "openNetworks"
_DIRECTIONS = {"ingress": ("Ingress", "from"), "egress": ("Egress", "to")}
_LAST = 65535


@dataclass(frozen=True)
class Ports:
    """One protocol's ports, from ``first`` to ``last``; or those of one ``name``."""

    protocol: str
    first: int
    last: int
    name: str = ""

    def meets(self, other: Ports) -> bool:
        """Return True if some port is in both. What a name stands for only the pod says: it may be any."""
        overlap = self.first <= other.last and other.first <= self.last
        return self.protocol == other.protocol and (overlap or bool(self.name) or bool(other.name))

    def __str__(self) -> str:
        if (self.first, self.last) == (0, _LAST) and not self.name:
            return f"{self.protocol}/*"
        return f"{self.protocol}/{self.name or self.first}{f'-{self.last}' if self.last > self.first else ''}"


@dataclass(frozen=True)
class Way:
    """One peer and port of a policy's rule. ``who`` is EVERYBODY, EVERY_POD, a network, or empty for named pods."""

    policy: Resource
    at: str
    who: str
    ports: Ports


@dataclass(frozen=True)
class Wide:
    """A way, or several together, beyond named peers."""

    way: Way
    who: str


def kinds(policy: Resource) -> set[str]:
    """Return the directions that a policy denies by default; without ``policyTypes``, those that Kubernetes assumes."""
    policy_types = get_path(policy.inputs, "spec.policyTypes")
    if policy_types:
        return {str(kind) for kind in policy_types}
    return {"Ingress", "Egress"} if get_path(policy.inputs, "spec.egress") else {"Ingress"}


def ways(policy: Resource, direction: str) -> Iterator[Way]:
    """Yield all ways that a policy opens in ``direction`` (``ingress``, ``egress``)."""
    kind, peers = _DIRECTIONS[direction]
    if kind not in kinds(policy):
        return  # its rules of this direction count for nothing
    for index, rule in enumerate(get_path(policy.inputs, f"spec.{direction}") or ()):
        at = f"spec.{direction}[{index}]"
        for ports in _ports(get_path(rule, "ports")):
            for who in _peers(get_path(rule, peers)):
                yield Way(policy, at, who, ports)


def _ports(entries: Any) -> Iterator[Ports]:
    if not entries:  # absent or empty: every port of every protocol
        yield from (Ports(protocol, 0, _LAST) for protocol in ("TCP", "UDP", "SCTP"))
        return
    for each in entries:
        protocol, port = str(get_path(each, "protocol", "TCP")), get_path(each, "port")
        if isinstance(port, str) and not port.isdigit():
            yield Ports(protocol, 0, 0, port)
        else:
            first = int(port) if port is not None else 0
            yield Ports(protocol, first, int(get_path(each, "endPort", first)) if port is not None else _LAST)


def _peers(peers: Any) -> Iterator[str]:
    if not peers:
        yield EVERYBODY
        return
    for peer in peers:
        block, pods, spaces = (get_path(peer, key) for key in ("ipBlock.cidr", "podSelector", "namespaceSelector"))
        if block is not None:
            yield str(block)
        elif pods is None and spaces is None:
            yield EVERYBODY
        else:
            # labels of pods are their owners' own word: whoever may make a pod in some namespace has them
            yield "" if spaces is None or get_path(spaces, "matchLabels") else EVERY_POD


def wide(all_ways: Iterable[Way], own: Iterable[str]) -> Iterator[Wide]:
    """Yield what ``all_ways`` open beyond named pods and networks of one's own; ``own`` are link-local ones that may be
    named. Networks add up over all ways that share a port."""
    all_ways = list(all_ways)
    networks = [way for way in all_ways if way.who not in ("", EVERYBODY, EVERY_POD)]
    for way in all_ways:
        if way.who in (EVERYBODY, EVERY_POD):
            yield Wide(way, way.who)
    for way in networks:
        if open_to_all(other.who for other in networks if other.ports.meets(way.ports)):
            yield Wide(way, OPEN)
        elif way.who.startswith("169.254.") and way.who not in own:
            yield Wide(way, way.who)
