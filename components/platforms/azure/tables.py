"""The data files beside this module (node images, built-in roles, chart versions), and the tiers of services, which
differ in production, as do their prices."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from components.catalog.versions import Pinned, versions
from components.platforms.contract import PoolRequest
from components.typed.tables import read_table

_HERE = Path(__file__).parent


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class NodeImage(_Row):
    """A row of ``node_images.yaml``, in the API's own words."""

    os_sku: Literal["Ubuntu", "Ubuntu2204", "AzureLinux"]
    driver: Literal["Install", "None"]


class NodeImages(_Row):
    """The whole of ``node_images.yaml``."""

    date: datetime.date
    source: str
    images: Mapping[str, NodeImage]
    default: str


def _load(name: str) -> dict[str, Any]:
    return dict(read_table(_HERE / name))


@cache
def node_images() -> NodeImages:
    """Return the table, read once."""
    return NodeImages.model_validate(_load("node_images.yaml"))


@cache
def roles() -> Mapping[str, str]:
    """Return the ids of the built-in roles by their English names."""
    return dict(_load("roles.yaml")["roles"])


def image_key(request: PoolRequest) -> str:
    """Return the pool's own choice, or this place's default."""
    name = request.pool.node_image
    return node_images().default if name in ("", "unknown") else name


def node_image(request: PoolRequest) -> NodeImage:
    """Return the image itself. Raises ``KeyError`` for a key that is not in the table; ``judge`` has refused it by
    then."""
    return node_images().images[image_key(request)]


def pinned(name: str) -> Pinned:
    """Return a chart's pinned version."""
    return versions(_HERE / "versions.yaml")[name]


def control_plane_tier(protect: bool, extended: bool) -> Literal["Premium", "Standard", "Free"]:
    """Return the tier: in production one with a service level, and the only one that has long-term support where that
    is asked for. Source: AKS documentation, Long-term support."""
    if extended:
        return "Premium"
    return "Standard" if protect else "Free"


def registry_tier(protect: bool) -> Literal["Premium", "Standard"]:
    """Return Premium in production, for what only Premium has: it removes untagged manifests by itself, and serves more
    pulls at once when several GPU nodes start together. Source: Azure Container Registry documentation, Service tiers.
    """
    return "Premium" if protect else "Standard"


def redundancy(zones: int) -> Literal["ZRS", "LRS"]:
    """Spread the weights over zones where the nodes are: losing one zone must not stop the others from waking."""
    return "ZRS" if zones > 1 else "LRS"
