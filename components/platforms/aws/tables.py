"""The data files beside this module: node images, and the versions of what the place installs."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from components.catalog.versions import Pinned, versions
from components.typed.tables import read_table

_HERE = Path(__file__).parent
_AUTOSCALER = "cluster-autoscaler-1."


class NodeImage(BaseModel):
    """A row of ``node_images.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    ami_type: str
    family: str
    data_device: str
    node_config: bool


class NodeImages(BaseModel):
    """The whole of ``node_images.yaml``. ``system`` is the AMI type of nodes without GPUs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    date: datetime.date
    source: str
    images: Mapping[str, NodeImage]
    default: str
    system: str


@cache
def node_images() -> NodeImages:
    """Return the table, read once."""
    return NodeImages.model_validate(read_table(_HERE / "node_images.yaml"))


def node_image_key(name: str) -> str:
    """Return the key of the image a pool is built from; ``unknown`` means the place's default."""
    return node_images().default if name == "unknown" else name


def node_image(name: str) -> NodeImage:
    """Return the image itself. Raises ``KeyError`` for a key that is not in the table; the GPU layer's ``judge`` has
    refused it by then."""
    return node_images().images[node_image_key(name)]


def pinned(name: str) -> Pinned:
    """Return a chart's pinned version."""
    return versions(_HERE / "versions.yaml")[name]


def autoscaler_image(minor: str) -> str | None:
    """Return the Cluster Autoscaler's tag for a Kubernetes minor version; None where the table has none."""
    row = versions(_HERE / "versions.yaml").get(f"cluster-autoscaler-{minor}")
    return row.version if row else None


def known_minors() -> tuple[str, ...]:
    """Return the Kubernetes minor versions the autoscaler is known for."""
    names = versions(_HERE / "versions.yaml")
    return tuple(name.removeprefix("cluster-autoscaler-") for name in names if name.startswith(_AUTOSCALER))
