"""A cluster's nodes as kubectl lists them, and the GPUs they offer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from infra.workspace import Paths
from lab.machine import kubernetes

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
GPU = "nvidia.com/gpu"
Node = Mapping[str, Any]


def listed(at: Paths) -> list[dict[str, Any]]:
    return list(json.loads(kubernetes.kubectl(at, "get", "nodes", "--output=json"))["items"])


def all_ready(nodes: Iterable[Node]) -> bool:
    """Return True if there are nodes and every one of them reports Ready."""
    ready = [
        any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
        for node in nodes
    ]
    return bool(ready) and all(ready)


def is_control_plane(node: Node) -> bool:
    return CONTROL_PLANE in node["metadata"].get("labels", {})


def with_gpus(nodes: Iterable[Node]) -> list[str]:
    """Return the names of the nodes that offer a GPU to the scheduler."""
    return [n["metadata"]["name"] for n in nodes if int(n["status"].get("allocatable", {}).get(GPU, "0")) > 0]


def addresses(nodes: Iterable[Node]) -> list[str]:
    """Return the first address of each node, external before internal."""
    first_addresses = []
    for node in nodes:
        by_type = {a["type"]: a["address"] for a in reversed(node["status"].get("addresses", []))}
        address = by_type.get("ExternalIP") or by_type.get("InternalIP")
        first_addresses += [address] if address else []
    return first_addresses


def advertisement(gpus: int) -> str:
    """Return a node status patch: an extended resource that no device plugin owns, so the scheduler counts it."""
    count = {GPU: str(gpus)}
    return json.dumps({"status": {"capacity": count, "allocatable": count}})


def advertise(at: Paths, node: str, gpus: int) -> None:
    kubernetes.kubectl(at, "patch", "node", node, "--subresource=status", "--type=merge", "-p", advertisement(gpus))
