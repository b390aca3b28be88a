"""The figures of ``limits.yaml`` beside this file, read once and checked."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from components.typed.tables import read_table
from components.typed.units import Duration

_FILE = Path(__file__).with_name("limits.yaml")


class _Sourced(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    date: datetime.date
    source: str


class EngineFloor(_Sourced):
    """The oldest engine version that may serve."""

    version: str


class EngineImage(_Sourced):
    """Size of the engine's image: ``pulled_gb`` (10**9 bytes) over the wire, ``unpacked_times`` as much unpacked."""

    pulled_gb: float
    unpacked_times: float

    @property
    def on_disk_bytes(self) -> int:
        """Return the bytes a node holds for it: as pulled, and unpacked."""
        return int(self.pulled_gb * 10**9 * (1 + self.unpacked_times))


class NodeDisk(_Sourced):
    """A node's disk. ``usable`` is the share that images and volumes may fill."""

    usable: float


class Ceiling(BaseModel):
    """The most GPUs one stack may hold, and the most it may cost an hour, with all pools at their max. Apart from these
    the most nodes of its system pool, and the most that everything but GPU nodes may cost an hour."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: int
    dollars_per_hour: float
    system_nodes: int
    standing_dollars_per_hour: float


class Share(_Sourced):
    """A share of something, from 0 to 1."""

    share: float


class OwnNetworks(_Sourced):
    """The most addresses that a list of one's own networks has, each as the prefix length of one block with as many."""

    ipv4: int
    ipv6: int

    def addresses(self, version: int) -> int:
        """Return the number of addresses for IP version 4 or 6."""
        return 1 << (32 - self.ipv4 if version == 4 else 128 - self.ipv6)


class ReservedLabels(_Sourced):
    """Prefixes of labels and taints that a stack file may not set."""

    prefixes: tuple[str, ...]

    def hold(self, key: str) -> bool:
        """Return True if ``key`` has one of the prefixes, or one below it."""
        return any(f".{key.rpartition('/')[0]}".endswith(f".{prefix}") for prefix in self.prefixes)


class Limits(BaseModel):
    """The contents of ``limits.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ceilings: Mapping[str, Ceiling]
    longest_idle_outside_prod: Duration
    engine_floor: EngineFloor
    engine_image: EngineImage
    node_disk: NodeDisk
    least_price: Share
    networks: OwnNetworks
    keep_warm: Share
    reserved_labels: ReservedLabels

    def ceiling(self, environment: str | None) -> Ceiling:
        """Return the ceiling of ``environment``; production's if the environment is unknown."""
        return self.ceilings.get(environment or "prod", self.ceilings["prod"])


@cache
def limits(file: Path = _FILE) -> Limits:
    """Read the figures. Raises ``pydantic.ValidationError`` with the path of what is wrong."""
    return Limits.model_validate(read_table(file))
