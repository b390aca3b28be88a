"""What GKE calls the GPUs that come with a machine; read from ``accelerators.yaml``."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

_FILE = Path(__file__).with_name("accelerators.yaml")


@dataclass(frozen=True)
class Accelerator:
    """One machine family's GPU: the type's name in a node pool, its quota, and the boot disk its nodes take.
    ``provisioned``: iops and throughput of that disk can be chosen. ``mig``: GKE can cut the card."""

    type: str
    quota: str
    boot_disk: str
    provisioned: bool
    mig: bool


def family(machine: str) -> str:
    """``a2-ultragpu-8g`` → ``a2-ultragpu``."""
    return machine.rpartition("-")[0]


@functools.cache
def accelerators() -> Mapping[str, Accelerator]:
    """By machine family."""
    rows = yaml.safe_load(_FILE.read_text())["families"]
    return {
        name: Accelerator(row["accelerator"], row["quota"], row["bootDisk"], row["provisioned"], row["mig"])
        for name, row in rows.items()
    }


def accelerator_of(machine: str) -> Accelerator | None:
    """The GPU that comes with ``machine``; None where GKE has no name for it here."""
    return accelerators().get(family(machine))


@functools.cache
def maximum_shared_clients() -> int:
    """How many containers may share one GPU by time-slicing on GKE."""
    return int(yaml.safe_load(_FILE.read_text())["maximumSharedClients"])
