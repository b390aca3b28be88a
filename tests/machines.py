"""Machines that several tests ask for, as tests write them down: the catalogue's own rows may change with a cloud."""

from __future__ import annotations

from components.catalog.machine import Machine

G5 = Machine(
    name="g5.8xlarge",
    place="aws",
    gpu="A10G",
    gpus=1,
    gpu_memory_gib=24,
    compute_capability="8.6",
    vcpus=32,
    memory_gib=128,
    interconnect="none",
    local_disk_gib=900,
)
NV36ADS = Machine(
    name="Standard_NV36ads_A10_v5",
    place="azure",
    gpu="A10",
    gpus=1,
    gpu_memory_gib=24,
    compute_capability="8.6",
    vcpus=36,
    memory_gib=440,
    interconnect="none",
    local_disk_gib=1400,
)
