"""A GPU node pool that starts at zero and is sized by the autoscaler."""

from __future__ import annotations

import dataclasses
import math

import pulumi
import pulumi_gcp as gcp

from components.catalog.machine import Machine
from components.platforms.contract import About, Pool, PoolRequest, Sharing, Taint
from components.platforms.gcp.compute_class import LABEL, class_of, class_taint
from components.platforms.gcp.judge import LOCAL_SSD_GIB
from components.platforms.gcp.names import labels
from components.platforms.gcp.node_identity import SCOPES
from components.platforms.gcp.settings import GcpSettings
from components.platforms.gcp.tables import GKE_IMAGES, Accelerator, accelerator_of, image_key

c = gcp.container

GPU_TAINT = Taint("nvidia.com/gpu", "present")
"""The taint GKE puts on every GPU node of a cluster that has other nodes, as this one always does; the pool does not
list it, since GKE adds it. Source: GKE documentation, Run GPUs in Standard node pools."""
_DEFAULT_DISK_GIB = 200
"""pd-ssd gives 0.48 MiB/s a GiB on top of its baseline. Source: Compute Engine documentation, Persistent Disk
performance."""
_EFFECTS = {"NoSchedule": "NO_SCHEDULE", "PreferNoSchedule": "PREFER_NO_SCHEDULE", "NoExecute": "NO_EXECUTE"}
_RESERVATION_KEY = "compute.googleapis.com/reservation-name"


def ordered(request: PoolRequest, about: About) -> PoolRequest:
    """Return the request with the label and the taint of its ``ComputeClass``, if it belongs to one."""
    name = class_of(request, about)
    if name is None:
        return request
    pool = request.pool
    marked = dataclasses.replace(pool, labels={**pool.labels, LABEL: name}, taints=(*pool.taints, class_taint(name)))
    return dataclasses.replace(request, pool=marked)


def offered(request: PoolRequest) -> Pool:
    """Return the pool as the scheduler will see it. The autoscaler recognises GPUs that are not ready yet by the label
    ``cloud.google.com/gke-accelerator``, which GKE puts on each node, so no startup taint is needed. Source: Kubernetes
    autoscaler, cloudprovider/gce (GPULabel)."""
    pool = request.pool
    taints = pool.taints if GPU_TAINT in pool.taints else (*pool.taints, GPU_TAINT)
    return dataclasses.replace(pool, taints=taints, node_image=image_key(request))


def accelerators_args(
    machine: Machine, card: Accelerator, driver: str, sharing: Sharing | None
) -> gcp.container.NodePoolNodeConfigGuestAcceleratorArgs:
    """Build the cards of one node, always with the driver that GKE installs before the node is Ready for GPUs: without
    it GKE's choice depends on its version. Nothing else may install one (no driver by the GPU operator).

    Cut (``gpu_partition_size``) or shared cards are advertised as ``nvidia.com/gpu`` by GKE's own device plugin.
    Sources: GKE documentation, Run multi-instance GPUs; Share GPUs with time-sharing.
    """
    args = c.NodePoolNodeConfigGuestAcceleratorArgs(
        type=card.type,
        count=machine.gpus,
        gpu_driver_installation_config=c.NodePoolNodeConfigGuestAcceleratorGpuDriverInstallationConfigArgs(
            gpu_driver_version=driver
        ),
    )
    if sharing is not None and sharing.kind == "mig":
        args.gpu_partition_size = sharing.profile
    elif sharing is not None:
        args.gpu_sharing_config = c.NodePoolNodeConfigGuestAcceleratorGpuSharingConfigArgs(
            gpu_sharing_strategy="TIME_SHARING", max_shared_clients_per_gpu=sharing.replicas
        )
    return args


def reservation_args(
    request: PoolRequest, flex_start: bool
) -> gcp.container.NodePoolNodeConfigReservationAffinityArgs | None:
    """Use capacity bought in advance by name and never by accident. Spot and flex-start nodes may use none. Source: GKE
    documentation, Consume reserved zonal resources; cluster-toolkit, module gke-node-pool."""
    if request.reservation is not None:
        return c.NodePoolNodeConfigReservationAffinityArgs(
            consume_reservation_type="SPECIFIC_RESERVATION", key=_RESERVATION_KEY, values=[request.reservation]
        )
    if request.spot or flex_start:
        return c.NodePoolNodeConfigReservationAffinityArgs(consume_reservation_type="NO_RESERVATION")
    return None


def boot_disk_args(request: PoolRequest, card: Accelerator) -> gcp.container.NodePoolNodeConfigBootDiskArgs:
    """Build the disk on which images are unpacked if the machine has none of its own."""
    disk = request.disk
    return c.NodePoolNodeConfigBootDiskArgs(
        disk_type=card.boot_disk,
        size_gb=disk.size_gib or _DEFAULT_DISK_GIB,
        provisioned_iops=disk.iops,
        provisioned_throughput=disk.throughput_mib,
    )


def node_args(
    request: PoolRequest, settings: GcpSettings, about: About, node_account: pulumi.Input[str]
) -> gcp.container.NodePoolNodeConfigArgs:
    """Build one node. Raises ``ValueError`` for a machine GKE has no GPU name for; ``judge`` has refused it by then."""
    machine = request.machine
    card = accelerator_of(machine.name) if machine is not None else None
    if machine is None or card is None:
        raise ValueError(f"pools.{request.pool.name}.machine: no machine whose GPUs GKE has a name for")
    image = GKE_IMAGES[image_key(request)]
    flex_start = request.pool.name in settings.flex_start
    local_ssds = machine.local_disk_gib // LOCAL_SSD_GIB
    return c.NodePoolNodeConfigArgs(
        machine_type=machine.name,
        image_type=image.image_type,
        guest_accelerators=[accelerators_args(machine, card, image.driver, request.sharing)],
        labels=dict(request.pool.labels),
        taints=[
            c.NodePoolNodeConfigTaintArgs(key=taint.key, value=taint.value, effect=_EFFECTS[taint.effect])
            for taint in request.pool.taints
            if taint != GPU_TAINT
        ],
        spot=request.spot or None,
        flex_start=flex_start or None,
        reservation_affinity=reservation_args(request, flex_start),
        boot_disk=boot_disk_args(request, card),
        # images and caches go on the machine's own fast disks
        ephemeral_storage_local_ssd_config=(
            c.NodePoolNodeConfigEphemeralStorageLocalSsdConfigArgs(local_ssd_count=local_ssds) if local_ssds else None
        ),
        gcfs_config=c.NodePoolNodeConfigGcfsConfigArgs(enabled=settings.image_streaming and image.streaming),
        gvnic=c.NodePoolNodeConfigGvnicArgs(enabled=True),
        service_account=node_account,
        oauth_scopes=list(SCOPES),
        resource_labels={**labels(about), "ebbtide-pool": request.pool.name},
        metadata={"disable-legacy-endpoints": "true"},
        shielded_instance_config=c.NodePoolNodeConfigShieldedInstanceConfigArgs(
            enable_secure_boot=image.secure_boot, enable_integrity_monitoring=True
        ),
        # a pod gets its own identity and never the node's
        workload_metadata_config=c.NodePoolNodeConfigWorkloadMetadataConfigArgs(mode="GKE_METADATA"),
    )


def pool_args(
    request: PoolRequest,
    settings: GcpSettings,
    about: About,
    cluster: pulumi.Input[str],
    node_account: pulumi.Input[str],
) -> gcp.container.NodePoolArgs:
    """Build the pool: limits over all its zones together, nodes in any zone that has them."""
    zones = list(request.zones or settings.network.zones)
    flex_start = request.pool.name in settings.flex_start
    return c.NodePoolArgs(
        name=request.pool.name,
        cluster=cluster,
        location=settings.region,
        node_locations=zones or None,
        # per zone, read at creation only: afterwards the autoscaler stays between min and max
        initial_node_count=math.ceil(request.pool.min_nodes / max(1, len(zones))),
        autoscaling=c.NodePoolAutoscalingArgs(
            total_min_node_count=request.pool.min_nodes,
            total_max_node_count=request.pool.max_nodes,
            location_policy="ANY",  # scarce GPUs are taken where they are, reservations first
        ),
        # GKE does not repair flex-start nodes
        management=c.NodePoolManagementArgs(auto_repair=not flex_start, auto_upgrade=True),
        # an upgrade must not need one GPU more than the quota and the reservation have
        upgrade_settings=None if flex_start else c.NodePoolUpgradeSettingsArgs(max_surge=0, max_unavailable=1),
        network_config=c.NodePoolNetworkConfigArgs(enable_private_nodes=True),
        node_config=node_args(request, settings, about, node_account),
    )


class GpuPool(pulumi.ComponentResource):
    """One GPU node pool. With ``min`` 0 it costs nothing while no model runs; a node costs its machine's price from its
    first minute. ``max``, labels and taints change in place; another machine or image replaces the pool, and its models
    are gone until the new one has nodes. Source: pulumi-gcp 10.2 NodePool."""

    pool: Pool
    node_pool: gcp.container.NodePool

    def __init__(
        self,
        request: PoolRequest,
        settings: GcpSettings,
        about: About,
        cluster: pulumi.Input[str],
        node_account: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        name, request = request.pool.name, ordered(request, about)
        super().__init__("ebbtide:platforms:GkeGpuPool", name, None, opts)
        self.pool = offered(request)
        self.node_pool = c.NodePool(
            name,
            pool_args(request, settings, about, cluster, node_account),
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=about.protect or None,
                delete_before_replace=True,  # the name is taken as long as the old one exists
                # by default the provider changes the machine in place but replaces for its GPUs: one way for both
                replace_on_changes=["nodeConfig.machineType", "nodeConfig.imageType"],
                # the autoscaler sets the number of nodes
                ignore_changes=["initialNodeCount", "nodeCount"],
            ),
        )
        self.register_outputs({"name": self.node_pool.name})
