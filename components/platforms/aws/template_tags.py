"""The tags that describe a node of an empty group to the Cluster Autoscaler. Pure."""

from __future__ import annotations

from components.gpu_layer.node_images import resolve_image
from components.gpu_layer.sharing import node_labels as sharing_labels
from components.platforms.contract import PoolRequest

ACCELERATOR = "k8s.amazonaws.com/accelerator"
_TEMPLATE = "k8s.io/cluster-autoscaler/node-template"
_GPU = "nvidia.com/gpu"
# less than one of 8 cards shared by 48 pods. Not 0: the autoscaler keeps a node whose use is not *below* the threshold,
# and an empty node's is 0. Source: kubernetes/autoscaler, eligibility.go, isNodeBelowUtilizationThreshold
NOTHING_RUNS = "0.001"


def own_labels(request: PoolRequest) -> dict[str, str]:
    """Return the stack's labels, and those by which the GPU operator shares the cards where the pool asks for it.
    Karpenter needs no others: it waits for the resources of the machine it launched, not for a label."""
    image = resolve_image("aws", request.pool.node_image)
    return dict(request.pool.labels) | (sharing_labels(request.sharing, image) if image else {})


def node_labels(request: PoolRequest) -> dict[str, str]:
    """Return the labels of a managed group's nodes: the pool's own and the accelerator's.

    A node with that label and without a GPU in its allocatable resources counts as not ready yet, so the autoscaler
    waits for the driver instead of adding a second node. A startup taint would do the same, but pods that ask for
    ``nvidia.com/gpu`` cannot land there sooner anyway. Where the operator replaces ``nvidia.com/gpu`` by another
    resource, such a node would never count as ready, so the label is left out.
    Source: kubernetes/autoscaler 1.34, Cluster Autoscaler on AWS, Special note on GPU instances, and gpu_processor.go.
    """
    labels = own_labels(request)
    if request.pool.gpu_resource == _GPU:
        gpu = request.machine.gpu if request.machine else "gpu"
        labels[ACCELERATOR] = f"nvidia-{gpu.lower().replace(' ', '-')}"
    return labels


def local_disk_gib(request: PoolRequest) -> int:
    """Return the size of the machine's fast disk; 0 where it has none, or none is known."""
    return (request.machine.local_disk_gib if request.machine else 0) or 0


def template_tags(request: PoolRequest, disk_gib: int, idle_seconds: int) -> dict[str, str]:
    """Return tags for the auto scaling group of a managed node group, to which EKS passes none of its own labels and
    taints.

    The thresholds say: remove a node only when nothing runs on it. A model on one of eight GPUs would otherwise be
    moved, that is killed, because its node is mostly idle.
    Source: kubernetes/autoscaler, Cluster Autoscaler on AWS, Auto-Discovery Setup.
    """
    pool = request.pool
    tags = {f"{_TEMPLATE}/label/{key}": value for key, value in node_labels(request).items()}
    tags |= {f"{_TEMPLATE}/taint/{taint.key}": f"{taint.value}:{taint.effect}" for taint in pool.taints}
    tags[f"{_TEMPLATE}/resources/{pool.gpu_resource}"] = str(pool.gpus_per_node)
    local = local_disk_gib(request)
    tags[f"{_TEMPLATE}/resources/ephemeral-storage"] = f"{local or disk_gib}Gi"
    options = {
        "scaledownunneededtime": f"{idle_seconds}s",
        "scaledowngpuutilizationthreshold": NOTHING_RUNS,
        "scaledownutilizationthreshold": NOTHING_RUNS,
        "ignoredaemonsetsutilization": "true",
    }
    return tags | {f"{_TEMPLATE}/autoscaling-options/{key}": value for key, value in options.items()}
