"""GKE's names for the GPUs that come with a machine (``accelerators.yaml``), and its node images."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.platforms.contract import PoolRequest
from components.typed.tables import read_table

_FILE = Path(__file__).with_name("accelerators.yaml")


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One machine family's GPU: the type's name in a node pool, its quota, and the boot disk its nodes take.
    ``provisioned``: iops and throughput of that disk can be chosen. ``mig``: GKE can cut the card."""

    type: str
    quota: str
    boot_disk: str
    provisioned: bool
    mig: bool


def family(machine: str) -> str:
    """Return the machine's family: ``a2-ultragpu-8g`` → ``a2-ultragpu``."""
    return machine.rpartition("-")[0]


@functools.cache
def accelerators() -> Mapping[str, Accelerator]:
    """Return the accelerators by machine family."""
    rows = read_table(_FILE)["families"]
    return {
        name: Accelerator(
            type=row["accelerator"],
            quota=row["quota"],
            boot_disk=row["bootDisk"],
            provisioned=row["provisioned"],
            mig=row["mig"],
        )
        for name, row in rows.items()
    }


def accelerator_of(machine: str) -> Accelerator | None:
    """Return the GPU that comes with ``machine``; None where the table has no name of GKE's for it."""
    return accelerators().get(family(machine))


@functools.cache
def maximum_shared_clients() -> int:
    """Return how many containers may share one GPU by time-slicing on GKE."""
    return int(read_table(_FILE)["maximumSharedClients"])


@dataclass(frozen=True)
class GkeImage:
    """A node image. ``image_type`` is the API's word. ``streaming``: a container may start before its image is
    complete. ``secure_boot``: the GPU driver GKE installs is signed for it. ``driver``: which driver GKE installs;
    ``LATEST``, the newest of the node's own release, because a CUDA image may be newer than the release's default, and
    ``DEFAULT`` where there is no other."""

    image_type: str
    streaming: bool
    secure_boot: bool
    driver: Literal["LATEST", "DEFAULT"]


DEFAULT_IMAGE = "gke-cos"
GKE_IMAGES: Mapping[str, GkeImage] = {
    # Sources: GKE documentation, Use Image streaming (COS with containerd only); Run GPUs in Standard node pools; GKE
    # API v1, GPUDriverVersion: LATEST is a driver of COS alone (2026-11-29).
    "gke-cos": GkeImage("COS_CONTAINERD", streaming=True, secure_boot=True, driver="LATEST"),
    "gke-ubuntu": GkeImage("UBUNTU_CONTAINERD", streaming=False, secure_boot=False, driver="DEFAULT"),
}


def image_key(request: PoolRequest) -> str:
    """Return the pool's own choice, or this place's default."""
    return DEFAULT_IMAGE if request.pool.node_image in ("", "unknown") else request.pool.node_image
