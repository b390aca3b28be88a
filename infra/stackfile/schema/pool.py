"""A GPU node pool as the stack file declares it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, ValidationInfo
from pydantic_core import PydanticCustomError

from components.typed.fields import FewestCount, GpuCount, LabelKey, LabelValue, MostCount, StackModel, integer, text
from components.typed.rules.file import COUNT_INVALID, KEY_MISSING, LABEL_INVALID
from components.typed.rules.pools import MIG_PROFILE_INVALID, ZONE_NAME_INVALID
from components.typed.units import Duration, Quantity
from infra.stackfile.findings.pydantic_errors import FOLLOWS_ANOTHER
from infra.stackfile.pool_machine import MachineName, gpu_of, makes_nodes
from infra.stackfile.schema.money import Dollars, Reason

# How a pool's nodes are obtained: zones, spot or reserved, their disk, and whether pods share a card.

Capacity = Literal["onDemand", "spot"]

Zone = Annotated[
    str,
    text(
        ZONE_NAME_INVALID,
        r"[a-z0-9]([a-z0-9-]*[a-z0-9])?",
        "is not the name of a zone",
        allowed="a zone as the place writes it, in quotes where it is a number",
        fix="copy it from the place's list of zones",
    ),
]
Reservation = Annotated[
    str,
    text(
        ZONE_NAME_INVALID,
        r"[A-Za-z0-9/][A-Za-z0-9._:/()-]{1,400}",
        "is not the name of a reservation",
        allowed="the id under which the place lists it",
        fix="copy the id from the place's list of reservations",
    ),
]
MigProfile = Annotated[
    str,
    text(
        MIG_PROFILE_INVALID,
        r"[1-7]g\.[1-9][0-9]{0,2}gb(\+me(\.all)?)?",
        "is not a MIG profile",
        allowed="slices and memory, like 1g.10gb",
        fix="copy one from: nvidia-smi mig -lgip",
    ),
]
Takers = Annotated[
    int, integer(MIG_PROFILE_INVALID, 2, 48, fix="give how many pods share one card, or leave sharing out")
]
Iops = Annotated[
    int, integer(COUNT_INVALID, 100, 1_000_000, fix="give a whole number, or leave it out for the place's default")
]


class DiskConfig(StackModel):
    """A node's own disk: it holds the image, and the weights where the machine has no faster disk of its own.

    ``throughput`` is per second. A key left out takes the place's default, chosen for a fast image pull.
    """

    size: Quantity | None = Field(default=None, description="size of the disk", examples=["200Gi"])
    iops: Iops | None = Field(default=None, description="operations a second", examples=["4000"])
    throughput: Quantity | None = Field(default=None, description="moved in a second", examples=["1000Mi"])


class MigConfig(StackModel):
    """Each card cut into slices of ``profile``, with their memories isolated. With ``single`` slices count as
    ``nvidia.com/gpu``, with ``mixed`` under the profile's own name."""

    profile: MigProfile = Field(description="slices and memory of one", examples=["1g.10gb"])
    strategy: Literal["single", "mixed"] = Field(default="single", description="what slices are called")


class TimeSlicingConfig(StackModel):
    """Time slicing: ``replicas`` pods share one card moment by moment, without isolation of their memories."""

    replicas: Takers = Field(description="pods that share one card", examples=["4"])


class TurnsConfig(StackModel):
    """Turns: up to ``models`` engines stay on one card. One is awake and has all of it; the others sleep in main memory
    and keep ``left`` of the card's memory each. An engine that gets a request while another is awake gets the card when
    the other is idle, or has had it for ``turn`` and has finished what it runs."""

    models: Takers = Field(description="engines that may stay on one card, awake and asleep", examples=["4"])
    left: Quantity = Field(
        default=Quantity(2 * 2**30), description="what an engine that sleeps keeps of the card's memory"
    )
    turn: Duration = Field(default=Duration(30), description="how long one keeps the card while another waits for it")


class SharingConfig(StackModel):
    """A way for several pods to share one card: exactly one of these."""

    mig: MigConfig | None = Field(default=None, description="each card cut into slices")
    time_slicing: TimeSlicingConfig | None = Field(default=None, description="pods run on a card side by side")
    turns: TurnsConfig | None = Field(default=None, description="one engine has the card, the others sleep")

    @property
    def ways(self) -> list[str]:
        """Return the names of the ways that are set."""
        named = {"mig": self.mig, "timeSlicing": self.time_slicing, "turns": self.turns}
        return [name for name, way in named.items() if way is not None]


WORKER_TYPE = "workerType"

ResourceName = Annotated[
    str,
    text(
        LABEL_INVALID,
        r"[a-z0-9][a-z0-9.-]*/[A-Za-z0-9][A-Za-z0-9._-]*",
        "is not the name of an extended resource",
        allowed="domain/name, like nvidia.com/gpu or nvidia.com/mig-3g.40gb",
        fix="leave it out for nvidia.com/gpu",
    ),
]


class GpuConfig(StackModel):
    """The GPUs of one node: their number, the resource name a pod asks for, their make and memory."""

    count: GpuCount = Field(description="GPUs of one node", examples=["1"])
    resource: ResourceName = Field(default="nvidia.com/gpu", description="what a pod asks for")
    product: str | None = Field(default=None, description="the make, like L40S")
    memory: Quantity | None = Field(default=None, description="memory of one GPU")


class TaintConfig(StackModel):
    """A taint in Kubernetes' own spelling."""

    key: LabelKey = Field(description="the taint's key", examples=["workerType"])
    value: LabelValue = Field(description="the taint's value", examples=["gpu_1xa10"])
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        default="NoSchedule",
        description="what it does to a pod that does not tolerate it; NoExecute only on nodes that are made",
    )


def _worker_type(fields: Mapping[str, Any]) -> str:
    return str(fields["name"]).replace("-", "_")


def _own_taint(fields: Mapping[str, Any]) -> tuple[TaintConfig, ...]:
    # not validated: a pool name that is no valid label value is reported as a name, by rules/stack.py
    return (TaintConfig.model_construct(key=WORKER_TYPE, value=_worker_type(fields)),)


def _machines_gpu(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    return gpu_of(fields["place"], fields["machine"])


def _gpu_is_known(value: Any, info: ValidationInfo) -> Any:
    if value is not None:
        return value
    if info.data.get("machine") is not None or makes_nodes(info.data.get("place", "")) is not False:
        # the machine is wrong or missing, and has a finding of its own
        raise PydanticCustomError(FOLLOWS_ANOTHER, "follows the machine")
    raise KEY_MISSING.refusal("is missing", allowed="the GPUs of one node", fix="add gpu: {count: 1}", has_value=False)


class PoolConfig(StackModel):
    """Nodes of one kind, from ``min`` to ``max`` of them.

    A place that makes nodes needs a ``machine``; one whose nodes already exist needs ``gpu``, and the nodes by name
    (``nodes``) or by their labels (``nodeLabels``). Labels and taints default to ``workerType=<pool's name
    with _ for ->``: models on the pool get the matching selector and toleration, and no other pod can keep one of its
    nodes from scaling in.
    """

    name: str = Field(alias="<name>", description="The key it stands under; put here by the loader.")
    place: str = Field(default="", alias="<place>", description="The platform's kind; put here by the loader.")
    machine: MachineName | None = Field(
        default=None, description="a machine of the catalogue; it says how many GPUs of which make a node has"
    )
    gpu: Annotated[GpuConfig, BeforeValidator(_gpu_is_known)] = Field(
        default_factory=_machines_gpu, validate_default=True, description="the GPUs of one node, where no machine says"
    )
    min: FewestCount = Field(default=0, description="nodes that are always there")
    max: MostCount = Field(description="the most nodes there may be", examples=["2"])
    min_reason: Reason | None = Field(default=None, description="why min is not 0 outside production")
    zones: tuple[Zone, ...] = Field(default=(), description="zones it may use; default: all of the network's")
    capacity: Capacity = Field(default="onDemand", description="spot: cheaper, and taken away at short notice")
    reservation: Reservation | None = Field(default=None, description="capacity bought before, by its id")
    capacity_block: StrictBool = Field(default=False, description="the reservation is a block of time with an end")
    price_per_hour: Dollars | None = Field(
        default=None,
        description="what one node costs you in US dollars; default, and the least that counts: the catalogue's",
    )
    disk: DiskConfig = Field(default=DiskConfig(), description="a node's own disk")
    sharing: SharingConfig | None = Field(default=None, description="one card for several pods")
    labels: Mapping[LabelKey, LabelValue] = Field(
        default_factory=lambda fields: {WORKER_TYPE: _worker_type(fields)},
        description="labels of its nodes; default: workerType",
    )
    taints: tuple[TaintConfig, ...] = Field(
        default_factory=_own_taint, description="taints of its nodes; default: workerType"
    )
    nodes: tuple[str, ...] = Field(default=(), description="names of nodes that are there already")
    node_labels: Mapping[LabelKey, LabelValue] = Field(
        default_factory=dict, description="labels by which nodes that are there already are found"
    )
    device: Literal["cuda", "cpu"] = Field(default="cuda", description="what the engine computes on; cpu: local only")
    node_image: str = Field(default="unknown", description="what the nodes run; default: the place's own")
