"""A GPU node pool as the stack file declares it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from components.typed.fields import FewestCount, GpuCount, LabelKey, LabelValue, MostCount, Shape, text
from components.typed.units import Quantity

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
    resource: ResourceName = "nvidia.com/gpu"
    product: str | None = None
    memory: Quantity | None = Field(default=None, description="Memory of one GPU.")


class TaintConfig(Shape):
    """A taint in Kubernetes' own spelling."""

    key: LabelKey = Field(description="the taint's key", examples=["workerType"])
    value: LabelValue = Field(description="the taint's value", examples=["gpu_1xa10"])
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


def _worker_type(fields: Mapping[str, Any]) -> str:
    return str(fields["name"]).replace("-", "_")


def _own_taint(fields: Mapping[str, Any]) -> tuple[TaintConfig, ...]:
    # not validated: a pool name that makes no label value is reported as a name, by judge_stack.py
    return (TaintConfig.model_construct(key=WORKER_TYPE, value=_worker_type(fields)),)


class PoolConfig(Shape):
    """Nodes of one kind, from ``min`` to ``max`` of them.

    Labels and taints default to ``workerType=<pool's name with _ for ->``: models that target the pool get the
    matching selector and toleration, and nothing else can hold one of its nodes up.
    ``nodes`` names the nodes that are there already (places ``local`` and ``existing``).
    """

    name: str = Field(alias="<name>", description="The key it stands under; put here by the loader.")
    gpu: GpuConfig = Field(description="the GPUs of one node", examples=["{count: 1}"])
    min: FewestCount = 0
    max: MostCount
    labels: Mapping[LabelKey, LabelValue] = Field(default_factory=lambda fields: {WORKER_TYPE: _worker_type(fields)})
    taints: tuple[TaintConfig, ...] = Field(default_factory=_own_taint)
    nodes: tuple[str, ...] = ()
    device: Literal["cuda", "cpu"] = "cuda"
    node_image: str = "unknown"
