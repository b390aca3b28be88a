"""Which of GKE's node images a pool takes, by the key the stack file uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from components.platforms.contract import PoolRequest


@dataclass(frozen=True)
class GkeImage:
    """``image_type`` is the API's word. ``streaming``: a container may start before its image is complete.
    ``secure_boot``: the GPU driver GKE installs is signed for it."""

    image_type: str
    streaming: bool
    secure_boot: bool


DEFAULT_IMAGE = "gke-cos"
GKE_IMAGES: Mapping[str, GkeImage] = {
    # Sources: GKE documentation, Use Image streaming (COS with containerd only); Run GPUs in Standard node pools.
    "gke-cos": GkeImage("COS_CONTAINERD", streaming=True, secure_boot=True),
    "gke-ubuntu": GkeImage("UBUNTU_CONTAINERD", streaming=False, secure_boot=False),
}


def image_key(request: PoolRequest) -> str:
    """The pool's own choice, or this place's default."""
    return DEFAULT_IMAGE if request.pool.node_image in ("", "unknown") else request.pool.node_image
