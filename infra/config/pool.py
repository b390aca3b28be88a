"""A GPU node pool as the stack file declares it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, ValidationInfo
from pydantic_core import PydanticCustomError

from components.typed.fields import FewestCount, GpuCount, LabelKey, LabelValue, MostCount, Shape, text
from components.typed.refusal import code
from components.typed.units import Quantity
from infra.config.capacity import Capacity, DiskConfig, Reservation, SharingConfig, Zone
from infra.config.machines import MachineName, gpu_of, makes_nodes
from infra.config.money import Dollars, Reason
from infra.config.translate import FOLLOWS_ANOTHER

WORKER_TYPE = "workerType"

ResourceName = Annotated[
    str,
    text(
        118,
        r"[a-z0-9][a-z0-9.-]*/[A-Za-z0-9][A-Za-z0-9._-]*",
        "is not the name of an extended resource",
        allowed="domain/name, like nvidia.com/gpu or nvidia.com/mig-3g.40gb",
        fix="leave it out for nvidia.com/gpu",
    ),
]


class GpuConfig(Shape):
    """The GPUs of one node: how many, under which resource name a pod asks for them, of which make."""

    count: GpuCount = Field(description="GPUs of one node", examples=["1"])
    resource: ResourceName = Field(default="nvidia.com/gpu", description="what a pod asks for")
    product: str | None = Field(default=None, description="the make, like L40S")
    memory: Quantity | None = Field(default=None, description="memory of one GPU")


class TaintConfig(Shape):
    """A taint in Kubernetes' own spelling."""

    key: LabelKey = Field(description="the taint's key", examples=["workerType"])
    value: LabelValue = Field(description="the taint's value", examples=["gpu_1xa10"])
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        default="NoSchedule", description="what it does to a pod that does not tolerate it"
    )


def _worker_type(fields: Mapping[str, Any]) -> str:
    return str(fields["name"]).replace("-", "_")


def _own_taint(fields: Mapping[str, Any]) -> tuple[TaintConfig, ...]:
    # not validated: a pool name that makes no label value is reported as a name, by judge_stack.py
    return (TaintConfig.model_construct(key=WORKER_TYPE, value=_worker_type(fields)),)


def _machines_gpu(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    return gpu_of(fields["place"], fields["machine"])


def _gpu_is_known(value: Any, info: ValidationInfo) -> Any:
    if value is not None:
        return value
    if info.data.get("machine") is not None or makes_nodes(info.data.get("place", "")) is not False:
        # the machine is what is wrong or missing, and has a finding of its own
        raise PydanticCustomError(FOLLOWS_ANOTHER, "follows the machine")
    context = {"message": "is missing", "allowed": "the GPUs of one node", "fix": "add gpu: {count: 1}"}
    raise PydanticCustomError(code(103), "{message}", {**context, "has_value": False})


class PoolConfig(Shape):
    """Nodes of one kind, from ``min`` to ``max`` of them.

    A place that makes nodes is told a ``machine``; one whose nodes are there already is told ``gpu``, and the nodes by
    name (``nodes``) or by labels they carry (``nodeLabels``). Labels and taints default to ``workerType=<pool's name
    with _ for ->``: models that target the pool get the matching selector and toleration, and nothing else can hold one
    of its nodes up.
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
        default=None, description="what one node costs you in US dollars; default: the catalogue's price"
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
