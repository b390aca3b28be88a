"""Sharing of one card by several pods: the resulting names and numbers, and the node labels that set it up."""

from __future__ import annotations

from components.catalog.gpus import gpus
from components.gpu_layer.node_images import NodeImage
from components.platforms.contract import Sharing

MIG_LABEL = "nvidia.com/mig.config"
"""Node label that the operator's MIG manager reads."""
DEVICE_PLUGIN_LABEL = "nvidia.com/device-plugin.config"
"""Node label that the operator's device plugin reads: the key of its config map that applies to this node."""


def config_key(sharing: Sharing) -> str:
    """Return the time-slicing entry's name in the config map and on the node."""
    return f"time-slicing-{sharing.replicas}"


def mig_config(profile: str) -> str:
    """Return the MIG manager's name for every card cut into ``profile``: ``1g.10gb+me`` → ``all-1g.10gb.me``."""
    return "all-" + profile.replace("+", ".")


def shared_resource(
    gpu_resource: str, gpus_per_node: int, product: str | None, sharing: Sharing | None
) -> tuple[str, int]:
    """Return the extended resource a pod asks for on such a node, and how many of it one node has.

    Raises ``ValueError`` for a product or profile the tables do not know. Time-slicing keeps the resource's name: an
    autoscaler takes a node without ``nvidia.com/gpu`` for one whose GPUs are not ready (kubernetes/autoscaler 8095).
    Source: NVIDIA GPU Operator documentation, GPU Operator with MIG and Time-Slicing GPUs in Kubernetes.
    """
    if sharing is None:
        return gpu_resource, gpus_per_node
    if sharing.kind == "timeSlicing":
        return gpu_resource, gpus_per_node * sharing.replicas
    known = gpus().get(product or "")
    if known is None or not known.mig:
        raise ValueError(f"{product} has no MIG profiles in gpus.yaml")
    if sharing.profile is None or sharing.profile not in known.mig:
        raise ValueError(f"{product} has no MIG profile {sharing.profile}; allowed: {', '.join(known.mig)}")
    name = gpu_resource if sharing.strategy == "single" else "nvidia.com/mig-" + sharing.profile.replace("+", ".")
    return name, gpus_per_node * known.mig[sharing.profile]


def node_labels(sharing: Sharing | None, image: NodeImage) -> dict[str, str]:
    """Return the labels that make the operator share the cards of the pool's nodes; empty if the place does it."""
    if sharing is None or image.cuts(sharing) != "operator":
        return {}
    if sharing.kind == "mig":
        return {MIG_LABEL: mig_config(sharing.profile)} if sharing.profile else {}
    return {DEVICE_PLUGIN_LABEL: config_key(sharing)}
