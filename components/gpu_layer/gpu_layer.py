"""NVIDIA's GPU operator as resources of a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pulumi
import pulumi_kubernetes as k8s

from components.catalog.versions import pinned
from components.gpu_layer.node_images import resolve_image
from components.gpu_layer.values import GpuPool, config_name, operator_values, time_slicing_data
from components.platforms.contract import Pool, PoolRequest

NAMESPACE: Final = "gpu-operator"
CHART: Final = "gpu-operator"
CHART_REPOSITORY: Final = "https://helm.ngc.nvidia.com/nvidia"


def gpu_pools(place: str, requests: Mapping[str, PoolRequest], pools: Mapping[str, Pool]) -> tuple[GpuPool, ...]:
    """Return the pools the GPU layer is for: ``requests`` as the stack asked, ``pools`` as the place made them (with
    further taints of its nodes). Raises ``ValueError`` for a node image that is not in the table."""
    layer_pools = []
    for name, request in requests.items():
        if request.pool.device == "cpu":
            continue
        pool = pools.get(name, request.pool)
        image = resolve_image(place, pool.node_image) or resolve_image(place, request.pool.node_image)
        if image is None:
            raise ValueError(f"pools.{name}.nodeImage: {pool.node_image!r} is not in node_images.yaml for {place}")
        layer_pools.append(GpuPool(name, image, request.sharing, tuple(pool.taints)))
    return tuple(layer_pools)


def namespace_labels() -> dict[str, str]:
    """Return the labels of the one namespace exempt from the restricted pod security profile: the operator's pods load
    kernel modules and write to the host. The operator sets the same three itself."""
    return {f"pod-security.kubernetes.io/{mode}": "privileged" for mode in ("enforce", "warn", "audit")}


class GpuLayer(pulumi.ComponentResource):
    """GPU operator, installed once per cluster: labels for GPU nodes, the device plugin, the DCGM exporter, and driver,
    container toolkit and MIG manager where the node images leave them to it.

    Creates the namespace, the device plugin's config map where cards are time-sliced, and the chart's release; nothing
    where no pool needs the operator. At rest it costs the operator and node feature discovery on nodes without a GPU
    (about 0.3 CPU and 300 MiB requested); everything on GPU nodes is a DaemonSet, which comes and goes with them and
    keeps none of them up. It cuts or shares no card by itself: the nodes carry ``node_labels`` for that.
    """

    installed: bool

    def __init__(
        self,
        name: str,
        pools: Sequence[GpuPool],
        *,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:gpu_layer:GpuLayer", name, None, opts)
        self.installed = any(pool.image.operator for pool in pools)
        if self.installed:
            self._install(name, pools)
        self.register_outputs({"installed": self.installed})

    def _install(self, name: str, pools: Sequence[GpuPool]) -> None:
        namespace = k8s.core.v1.Namespace(
            f"{name}-namespace",
            metadata={"name": NAMESPACE, "labels": namespace_labels()},
            opts=pulumi.ResourceOptions(parent=self),
        )
        inside = pulumi.ResourceOptions(parent=self, depends_on=[namespace])
        before: list[pulumi.Resource] = [namespace]
        if data := time_slicing_data(pools):
            before.append(
                k8s.core.v1.ConfigMap(
                    f"{name}-time-slicing",
                    metadata={"name": config_name(data), "namespace": NAMESPACE},
                    data=data,
                    opts=inside,
                )
            )
        k8s.helm.v3.Release(
            name,
            name=CHART,
            chart=CHART,
            version=pinned("gpu-operator").version,
            namespace=NAMESPACE,
            repository_opts={"repo": CHART_REPOSITORY},
            values=operator_values(pools),
            timeout=900,
            opts=pulumi.ResourceOptions(parent=self, depends_on=before),
        )
