"""One row of the machine catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# the known cards with ECC give CUDA 0.985 to 0.999 of what they report to the cloud's API
UNKNOWN_SHARE = 0.98
# a vGPU keeps some of its frame buffer: a sixth of an A10, with 4 GiB, gave 3.83 (PyTorch on Standard_NV6ads_A10_v5,
# published in May 2025); of the larger parts nobody's figure was at hand
PART_SHARE = 0.95


@dataclass(frozen=True)
class Price:
    """US dollars an hour for one machine, as read on ``read_on`` (ISO date) from ``source``; None is unknown."""

    on_demand: float | None
    spot: float | None
    read_on: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A kind of virtual machine with GPUs. ``place`` is the kind of platform that sells it; ``regions`` are where, as
    far as known (empty: unknown); ``prices`` are by region. ``gpu`` is the product's short name (``A10G``, ``H100``),
    ``gpus`` their number, ``gpu_memory_gib`` the memory of one. ``local_disk_gib`` is the fast disk that is created and
    deleted with the machine; 0: none. ``interconnect``: ``none`` (one GPU), ``PCIe``, ``NVLink`` or ``unknown``.
    ``vgpu``: the card comes through NVIDIA's vGPU, which works only with the place's own driver; ``part``: it is a part
    of one."""

    name: str
    place: str
    gpu: str
    gpus: int
    gpu_memory_gib: float
    compute_capability: str
    vcpus: int
    memory_gib: float
    interconnect: str
    architecture: str = "amd64"
    local_disk_gib: int = 0
    reservation_usual: bool = False
    regions: tuple[str, ...] = ()
    prices: Mapping[str, Price] = field(default_factory=dict)
    vgpu: bool = False
    part: bool = False
    cuda_gib: float | None = None

    @property
    def cuda_memory_gib(self) -> float:
        """Return the memory of one GPU that CUDA gives a program, or a careful guess where that is not known."""
        return self.cuda_gib or self.gpu_memory_gib * UNKNOWN_SHARE
