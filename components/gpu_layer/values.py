"""The GPU operator's chart values, from the node images of a stack's pools and how their cards are shared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.gpu_layer.node_images import NodeImage
from components.gpu_layer.sharing import config_key
from components.platforms.contract import Sharing, Taint

WHOLE = "whole"
"""Entry of the device plugin for nodes that carry no label: without one it would not start on them."""
_NVIDIA_TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
_CONTROL_PLANE = {
    "key": "node-role.kubernetes.io/control-plane",
    "operator": "Equal",
    "value": "",
    "effect": "NoSchedule",
}
"""Toleration that the chart sets for node feature discovery: a list given to a chart replaces the chart's."""
_UNUSED = ("vgpuDeviceManager", "vfioManager", "sandboxDevicePlugin", "kataSandboxDevicePlugin", "ccManager")


@dataclass(frozen=True)
class GpuPool:
    """One pool as the GPU layer needs it: its name, its nodes' image, how their cards are shared, and their taints."""

    name: str
    image: NodeImage
    sharing: Sharing | None = None
    taints: tuple[Taint, ...] = ()

    def is_sliced(self) -> bool:
        """Return True if the operator's device plugin lets several pods take turns on one of its cards."""
        return self.sharing is not None and self.sharing.kind == "timeSlicing" and self.image.time_slicing == "operator"


def demands(image: NodeImage) -> dict[str, Any]:
    """Return what an image asks of the one operator a cluster has. Two images are compatible if these are equal."""
    return {
        "operator": image.operator,
        "driver": image.driver == "operator",
        "toolkit": image.toolkit == "operator",
        "devicePlugin": image.device_plugin == "operator",
        "runtimeClass": image.runtime_class,
        "values": dict(image.values),
    }


def time_slicing_data(pools: Iterable[GpuPool]) -> dict[str, str]:
    """Return the device plugin's config map by key, in its own format; empty if no pool is sliced by the operator.
    Source: NVIDIA GPU Operator documentation, Time-Slicing GPUs in Kubernetes."""
    sliced = [pool.sharing for pool in pools if pool.is_sliced() and pool.sharing]
    if not sliced:
        return {}
    data = {WHOLE: json.dumps({"version": "v1"})}  # JSON is YAML
    for sharing in sliced:
        resources = [{"name": "nvidia.com/gpu", "replicas": sharing.replicas}]
        slices = {"renameByDefault": False, "failRequestsGreaterThanOne": True, "resources": resources}
        data[config_key(sharing)] = json.dumps({"version": "v1", "sharing": {"timeSlicing": slices}})
    return dict(sorted(data.items()))


def config_name(data: Mapping[str, str]) -> str:
    """Return the config map's name, which changes with its content: the operator restarts nothing for a changed map."""
    return "time-slicing-" + hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:8]


def tolerations(pools: Iterable[GpuPool]) -> list[dict[str, str]]:
    """Return the tolerations of the operator's DaemonSets: NVIDIA's usual taint, and each taint of each pool once. No
    other pod of the layer gets them: a Deployment on a GPU node would keep it up, which a DaemonSet does not."""
    taints = {taint for pool in pools for taint in pool.taints}
    own = [taint.toleration() for taint in sorted(taints, key=lambda t: (t.key, t.value, t.effect))]
    return [dict(_NVIDIA_TAINT), *own]


def operator_values(pools: Sequence[GpuPool]) -> dict[str, Any]:
    """Return chart values for pools that ``judge_gpu_layer`` has passed: the first one's image speaks for all of them.

    Raises ``ValueError`` without pools, and for incompatible images. Source: values.yaml of the chart at the pinned
    version, and the pages that ``node_images.yaml`` names.
    """
    if not pools:
        raise ValueError("no pool: nothing to install the GPU operator for")
    if any(demands(pool.image) != demands(pools[0].image) for pool in pools[1:]):
        raise ValueError(f"node images do not go together: {', '.join(sorted({p.image.key for p in pools}))}")
    image = pools[0].image
    cut = [pool for pool in pools if pool.sharing and pool.sharing.kind == "mig"]
    cut_by_operator = [pool for pool in cut if pool.image.mig == "operator"]
    slices = time_slicing_data(pools)
    own = {key: dict(value) for key, value in image.values.items()}
    tolerated = tolerations(pools)
    values: dict[str, Any] = {
        "driver": {"enabled": image.driver == "operator"},
        "toolkit": {**own.pop("toolkit", {}), "enabled": image.toolkit == "operator"},
        "devicePlugin": {"enabled": image.device_plugin == "operator"},
        "nfd": {"enabled": True},
        "gfd": {"enabled": True},
        "dcgmExporter": {"enabled": True, "serviceMonitor": {"enabled": False}},
        "mig": {"strategy": cut[0].sharing.strategy if cut and cut[0].sharing else "single"},
        # where it is not asked for, its default would undo what the place has cut
        "migManager": {"enabled": bool(cut_by_operator)},
        "daemonsets": {"tolerations": tolerated},
        "node-feature-discovery": {"worker": {"tolerations": [dict(_CONTROL_PLANE), *tolerated]}},
        **{name: {"enabled": False} for name in _UNUSED},
        **own,
    }
    if any(pool.image.mig_reboot for pool in cut_by_operator):
        values["migManager"]["env"] = [{"name": "WITH_REBOOT", "value": "true"}]
    if image.runtime_class:
        values["operator"] = {"runtimeClass": image.runtime_class}
    if slices:
        values["devicePlugin"]["config"] = {"name": config_name(slices), "default": WHOLE}
    return values
