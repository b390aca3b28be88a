"""Where the GPU software on the nodes comes from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.typed.fields import Shape


class GpuLayerConfig(Shape):
    """``helm``: the stack installs NVIDIA's GPU operator. ``existing``: whoever runs the cluster has done so. Left out,
    it is ``helm`` where the stack makes the nodes and ``existing`` where they are there already."""

    install: Literal["helm", "existing"] | None = Field(
        default=None, description="who installs the GPU operator; default: the stack, where it makes the nodes"
    )
