"""One GPU pool: a User agent pool that AKS's own autoscaler scales from zero and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import pulumi
import pulumi_azure_native as azure

from components.gpu_layer.node_images import NodeImage as LayerImage
from components.gpu_layer.node_images import resolve_image
from components.gpu_layer.sharing import node_labels as sharing_labels
from components.platforms.azure.cluster_spec import no_local_dns
from components.platforms.azure.names import node_pool, tags
from components.platforms.azure.patience import drain_minutes
from components.platforms.azure.tables import image_key, node_image
from components.platforms.contract import About, Disk, Pool, PoolRequest, Sharing, Taint

aks = azure.containerservice

GPU_LABEL: Final = {"accelerator": "nvidia"}
"""The mark of nodes with GPUs, so that one whose GPUs do not show yet counts as unready, not as room. The autoscaler
recognises such nodes by ``kubernetes.azure.com/accelerator``, which AKS sets and a stack may not, and writes both
labels on the node it imagines for a pool at zero. Since pods also ask for the GPU resource, no startup taint is needed:
until the driver has registered its GPUs a pod does not fit.

Sources: kubernetes/autoscaler, cloudprovider/azure (azure_cloud_provider.go, azure_template.go); AKS documentation, Use
labels: Reserved prefixes.
"""
SPOT_TAINT: Final = Taint("kubernetes.azure.com/scalesetpriority", "spot")
"""The taint AKS puts on every spot node. Source: AKS documentation, Add a Spot node pool: Limitations."""

_MANAGED_DISK_GIB: Final = 1024
_EPHEMERAL_AT_LEAST_GIB: Final = 128


@dataclass(frozen=True)
class OsDisk:
    """A node's OS disk. ``kind`` is the API's word; ``size_gib`` None: AKS takes the whole local disk."""

    kind: str
    size_gib: int | None


def os_disk(settings: Disk, local_disk_gib: int) -> OsDisk:
    """Choose the machine's own disk if it is large enough: it is free, and an image pull runs at its speed. Else a
    Premium SSD, by default of 1 TiB, for its 200 MB/s rather than its space: ten gigabytes of image in about a minute.

    Sources: AKS documentation, Storage concepts: Ephemeral OS disks; Azure documentation, Managed disk types: P30.
    """
    if settings.size_gib is None:
        if local_disk_gib >= _EPHEMERAL_AT_LEAST_GIB:
            return OsDisk("Ephemeral", None)
        return OsDisk("Managed", _MANAGED_DISK_GIB)
    return OsDisk("Ephemeral" if settings.size_gib <= local_disk_gib else "Managed", settings.size_gib)


def spelled(taint: Taint) -> str:
    """Return a taint as AKS reads it: ``key=value:Effect``."""
    return f"{taint.key}={taint.value}:{taint.effect}"


def handed_on(request: PoolRequest) -> Pool:
    """Return the pool as the scheduler will see it: with what AKS adds to its nodes."""
    taints = (*request.pool.taints, SPOT_TAINT) if request.spot else request.pool.taints
    return replace(request.pool, node_image=image_key(request), taints=taints)


def mig_profile(sharing: Sharing | None, cuts: str | None) -> str | None:
    """Return AKS's name for the profile: ``1g.10gb`` is its ``MIG1g``. Where AKS installs the driver it also cuts the
    cards, before the node joins. Else None: the GPU operator cuts them, by the label its layer puts on the node.

    Source: AKS documentation, Create a multi-instance GPU node pool.
    """
    if sharing is None or sharing.kind != "mig" or cuts != "place" or sharing.profile is None:
        return None
    return f"MIG{sharing.profile.partition('.')[0]}"


def layer(request: PoolRequest) -> LayerImage:
    """Return the GPU layer's row for the pool's image. Raises ``ValueError`` for none; ``judge`` has refused it by
    then."""
    image = resolve_image("azure", request.pool.node_image)
    if image is None:
        raise ValueError(f"pools.{request.pool.name}.nodeImage: {request.pool.node_image} is not an image of AKS's")
    return image


def agent_pool_args(request: PoolRequest, about: About) -> dict[str, Any]:
    """Return all arguments that do not depend on the cluster. Raises ``ValueError`` without a machine."""
    machine, pool, image, row = request.machine, handed_on(request), node_image(request), layer(request)
    if machine is None:
        raise ValueError(f"pools.{pool.name}.machine: is missing; a pool on Azure is made of machines of the catalogue")
    disk = os_disk(request.disk, machine.local_disk_gib)
    args: dict[str, Any] = {
        "agent_pool_name": node_pool(pool.name),
        "mode": "User",
        "type": "VirtualMachineScaleSets",
        "os_type": "Linux",
        "os_sku": image.os_sku,
        "vm_size": machine.name,
        # required at creation, owned by the autoscaler from then on
        "count": pool.min_nodes,
        "enable_auto_scaling": True,
        "min_count": pool.min_nodes,
        "max_count": pool.max_nodes,
        "scale_down_mode": "Delete",
        # if none is named, Azure looks in all zones, and few regions have a GPU machine in each
        "availability_zones": list(request.zones) or None,
        "node_labels": {**pool.labels, **GPU_LABEL, **sharing_labels(request.sharing, row)},
        "node_taints": [spelled(taint) for taint in pool.taints],
        "gpu_profile": aks.GPUProfileArgs(driver=image.driver),
        "gpu_instance_profile": mig_profile(request.sharing, row.cuts(request.sharing)),
        "os_disk_type": disk.kind,
        "os_disk_size_gb": disk.size_gib,
        "kubelet_disk_type": "OS",
        "enable_node_public_ip": False,
        "security_profile": aks.AgentPoolSecurityProfileArgs(ssh_access="Disabled"),
        "local_dns_profile": no_local_dns(),
        # an upgrade must not need one more of the most expensive machines than the pool may have
        "upgrade_settings": aks.AgentPoolUpgradeSettingsArgs(
            max_surge="0", max_unavailable="1", drain_timeout_in_minutes=drain_minutes(about)
        ),
        "capacity_reservation_group_id": request.reservation,
        "tags": tags(about),
    }
    if request.spot:
        # -1: at most the on-demand price, so that only a lack of capacity evicts
        args |= {"scale_set_priority": "Spot", "scale_set_eviction_policy": "Delete", "spot_max_price": -1.0}
        # "Spot pools can't set max surge", whatever the number. Source: hashicorp/terraform-provider-azurerm 19355
        args["upgrade_settings"] = None
    return args


class GpuPool(pulumi.ComponentResource):
    """A pool of machines with GPUs, from ``min`` (0) to ``max``. At rest with no node it costs nothing.

    Another machine type or MIG profile replaces it. The number of nodes, labels, taints and tags change in place; disk,
    zones, subnet and kind of capacity are sent as an update, which AKS refuses. The autoscaler owns ``count``. Source:
    infra/gate/replacement/azure-native.yaml.
    """

    pool: Pool
    agent_pool: azure.containerservice.AgentPool

    def __init__(
        self,
        request: PoolRequest,
        about: About,
        cluster: pulumi.Input[str],
        group: pulumi.Input[str],
        subnet: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:AksGpuPool", request.pool.name, None, opts)
        self.pool = handed_on(request)
        self.agent_pool = aks.AgentPool(
            request.pool.name,
            resource_group_name=group,
            resource_name_=cluster,
            vnet_subnet_id=subnet,
            **agent_pool_args(request, about),
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=about.protect,
                ignore_changes=["count"],
                # AKS allows no second pool of the same name beside it
                delete_before_replace=True,
            ),
        )
        self.register_outputs({"name": self.agent_pool.name})
