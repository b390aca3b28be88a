"""Simulated nodes, and the autoscaler's view of a stack's pools: pure manifests.

A stack's ``PoolRequest`` becomes a Karpenter ``NodePool`` with the pool's own labels, taints and limit, and its
catalogue machine becomes a row of the file from which the autoscaler buys. They check the half that a model owns (does
its pod bring a node of its pool, and of no other), never how a cloud starts a machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from components.catalog.machine import Machine
from components.platforms.contract import PoolRequest
from lab.rehearsal.control import NODE_ANNOTATION, NODE_ANNOTATION_VALUE

Manifest = dict[str, Any]
SYSTEM_NODE: Final = "rehearsal-system"
NODE_CLASS: Final = "rehearsal"
ANY_ZONE: Final = "rehearsal-a"
CAPACITY_LABEL: Final = "karpenter.sh/capacity-type"
ZONE_LABEL: Final = "topology.kubernetes.io/zone"
_ROOM: Final = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "2Ti", "pods": "500"}


def node(name: str, resources: Mapping[str, str] | None = None, labels: Mapping[str, str] | None = None) -> Manifest:
    """Return a node as kwok keeps it: ready at once, and every pod on it runs. ``resources`` come besides 64 CPUs and
    256 GiB."""
    room = {**_ROOM, **(resources or {})}
    own = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        ZONE_LABEL: ANY_ZONE,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {NODE_ANNOTATION: NODE_ANNOTATION_VALUE},
            "labels": {**own, **(labels or {})},
        },
        "status": {"capacity": room, "allocatable": room},
    }


def node_class() -> Manifest:
    """Return the node class with which Karpenter's kwok provider buys; it has no settings."""
    return {"apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": {"name": NODE_CLASS}}


def machine_name(request: PoolRequest) -> str:
    """Return the catalogue's name of the pool's machine; without a machine, the pool's own name."""
    return request.machine.name if request.machine else request.pool.name


def _zones(request: PoolRequest) -> tuple[str, ...]:
    return request.zones or (ANY_ZONE,)


def node_pool(request: PoolRequest, *, empty_seconds: int) -> Manifest:
    """Return a ``karpenter.sh/v1 NodePool``: empty nodes go after ``empty_seconds``; ``max_nodes`` limits the GPUs."""
    pool = request.pool

    def among(key: str, *values: str) -> Manifest:
        return {"key": key, "operator": "In", "values": list(values)}

    requirements = [
        among("node.kubernetes.io/instance-type", machine_name(request)),
        among(CAPACITY_LABEL, "spot" if request.spot else "on-demand"),
        among(ZONE_LABEL, *_zones(request)),
    ]
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": pool.name},
        "spec": {
            "limits": {pool.gpu_resource: str(pool.max_nodes * pool.gpus_per_node)},
            "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": f"{empty_seconds}s"},
            "template": {
                "metadata": {"labels": dict(pool.labels)},
                "spec": {
                    "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": NODE_CLASS},
                    "requirements": requirements,
                    "taints": [{"key": t.key, "value": t.value, "effect": t.effect} for t in pool.taints],
                    "expireAfter": "Never",
                },
            },
        },
    }


def instance_types(requests: Iterable[PoolRequest]) -> list[Manifest]:
    """Return the autoscaler's machines, one row for each machine name with the offerings and GPU resources of its
    pools; a pool without a machine gets a roomy one."""
    by_name: dict[str, Manifest] = {}
    for request in requests:
        name = machine_name(request)
        row = by_name.setdefault(name, _instance_type(name, request))
        row["offerings"] += [o for o in _offerings(request) if o not in row["offerings"]]
        row["resources"][request.pool.gpu_resource] = str(request.pool.gpus_per_node)
    return list(by_name.values())


def _instance_type(name: str, request: PoolRequest) -> Manifest:
    machine = request.machine
    room = dict(_ROOM)
    if machine is not None:
        # less what kubelet and system keep, or the rehearsal would be roomier than the cloud
        room["cpu"], room["memory"] = str(machine.vcpus), f"{math.floor(machine.memory_gib * 0.93)}Gi"
        room["pods"] = "110"
    return {
        "name": name,
        "architecture": machine.architecture if machine else "amd64",
        "operatingSystems": ["linux"],
        "resources": room,
        "offerings": [],
    }


def _offerings(request: PoolRequest) -> list[Manifest]:
    capacity = "spot" if request.spot else "on-demand"

    def row(zone: str) -> Manifest:
        both = {CAPACITY_LABEL: capacity, ZONE_LABEL: zone}
        return {
            "Price": _price(request.machine, request.spot),
            "Available": True,
            "Requirements": [{"key": key, "operator": "In", "values": [value]} for key, value in both.items()],
        }

    return [row(zone) for zone in _zones(request)]


def _price(machine: Machine | None, spot: bool) -> float:
    """Return the catalogue's highest price, to rank machines; 1.0 where it knows none: nothing is ever paid here."""
    prices = machine.prices.values() if machine else ()
    known = [p for p in ((each.spot if spot else each.on_demand) for each in prices) if p is not None]
    return max(known, default=1.0)
