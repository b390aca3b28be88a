"""How the nodes of a pool are to be had: zones, spot or reserved, their disk, and whether pods share a card."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from components.typed.fields import Shape, text, whole
from components.typed.units import Duration, Quantity

Capacity = Literal["onDemand", "spot"]

Zone = Annotated[
    str,
    text(
        190,
        r"[a-z0-9]([a-z0-9-]*[a-z0-9])?",
        "is not the name of a zone",
        allowed="a zone as the place writes it, in quotes where it is a number",
        fix="copy it from the place's list of zones",
    ),
]
Reservation = Annotated[
    str,
    text(
        190,
        r"[A-Za-z0-9/][A-Za-z0-9._:/()-]{1,400}",
        "is not the name of a reservation",
        allowed="the id under which the place lists it",
        fix="copy the id from the place's list of reservations",
    ),
]
MigProfile = Annotated[
    str,
    text(
        191,
        r"[1-7]g\.[1-9][0-9]{0,2}gb(\+me(\.all)?)?",
        "is not a MIG profile",
        allowed="slices and memory, like 1g.10gb",
        fix="copy one from: nvidia-smi mig -lgip",
    ),
]
Takers = Annotated[int, whole(191, 2, 48, fix="give how many pods share one card, or leave sharing out")]
Iops = Annotated[int, whole(111, 100, 1_000_000, fix="give a whole number, or leave it out for the place's default")]


class DiskConfig(Shape):
    """A node's own disk: it holds the image, and the weights where the machine has no faster disk of its own.

    ``throughput`` is what it moves in a second. What is left out is the place's default, made for a quick image pull.
    """

    size: Quantity | None = Field(default=None, description="size of the disk", examples=["200Gi"])
    iops: Iops | None = Field(default=None, description="operations a second", examples=["4000"])
    throughput: Quantity | None = Field(default=None, description="moved in a second", examples=["1000Mi"])


class MigConfig(Shape):
    """Each card cut into slices of ``profile``: a wall between their memories. ``single``: slices count as
    ``nvidia.com/gpu``; ``mixed``: under the profile's own name."""

    profile: MigProfile = Field(description="slices and memory of one", examples=["1g.10gb"])
    strategy: Literal["single", "mixed"] = Field(default="single", description="what slices are called")


class TimeSlicingConfig(Shape):
    """``replicas`` pods share one card moment by moment, without a wall between their memories."""

    replicas: Takers = Field(description="pods that share one card", examples=["4"])


class TurnsConfig(Shape):
    """Up to ``models`` engines stay on one card. One is awake and has all of it; the others sleep in main memory and
    keep ``left`` of the card each. One that is asked while another is awake gets the card when that one is idle, or
    has had it for ``turn``: it finishes what it runs first."""

    models: Takers = Field(description="engines that may stay on one card, awake and asleep", examples=["4"])
    left: Quantity = Field(
        default=Quantity(2 * 2**30), description="what an engine that sleeps keeps of the card's memory"
    )
    turn: Duration = Field(default=Duration(30), description="how long one keeps the card while another waits for it")


class SharingConfig(Shape):
    """One card for several pods: exactly one of these."""

    mig: MigConfig | None = Field(default=None, description="each card cut into slices")
    time_slicing: TimeSlicingConfig | None = Field(default=None, description="pods run on a card side by side")
    turns: TurnsConfig | None = Field(default=None, description="one engine has the card, the others sleep")

    @property
    def ways(self) -> list[str]:
        """Those that are named."""
        named = {"mig": self.mig, "timeSlicing": self.time_slicing, "turns": self.turns}
        return [name for name, way in named.items() if way is not None]
