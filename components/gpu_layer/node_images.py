"""Node images, and what each leaves to the GPU operator: ``node_images.yaml`` beside this file, read and checked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from components.platforms.contract import Sharing
from components.typed.tables import read_table

_FILE = Path(__file__).with_name("node_images.yaml")

Who = Literal["operator", "place"]


class NodeImage(BaseModel):
    """One row; ``key`` is put in by the loader. ``drivers`` has the version for ordinary cards (``cuda``) and for vGPU
    (``grid``), None if not known. ``values`` are further chart values."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    key: str
    place: str
    os: str
    operator: bool
    driver: Literal["image", "place", "operator"]
    toolkit: Literal["image", "place", "operator"]
    device_plugin: Who
    mig: Who | None
    time_slicing: Who | None
    mixed_mig: bool
    drivers: Mapping[Literal["cuda", "grid"], str | None]
    source: str = Field(min_length=1)
    default: bool = False
    runtime_class: str | None = None
    mig_reboot: bool = False
    values: Mapping[str, Any] = Field(default_factory=dict)

    def cuts(self, sharing: Sharing | None) -> Who | None:
        """Return who sets up ``sharing`` on such a node; None if none is asked for or nobody does."""
        if sharing is None:
            return None
        return self.mig if sharing.kind == "mig" else self.time_slicing


@cache
def node_images(file: Path = _FILE) -> Mapping[str, NodeImage]:
    """Return every row by its key. Raises ``pydantic.ValidationError`` with the path of what is wrong."""
    rows = read_table(file)["images"]
    return {key: NodeImage.model_validate({"key": key, **row}) for key, row in rows.items()}


@cache
def node_images_read_on() -> str:
    """Return the day on which the table was last checked against its sources (ISO)."""
    return str(read_table(_FILE)["readOn"])


def images_of(place: str) -> tuple[str, ...]:
    """Return the keys a pool of ``place`` may name, the default first."""
    own = [image for image in node_images().values() if image.place == place]
    return tuple(image.key for image in sorted(own, key=lambda image: not image.default))


def default_image(place: str) -> str | None:
    """Return the key that a pool of ``place`` takes if it names none; None for a place whose nodes the table does not
    know.
    """
    return next(iter(images_of(place)), None)


def resolve_image(place: str, name: str) -> NodeImage | None:
    """Return the row a pool means: the one it names, or the place's default if it names none (``unknown``)."""
    key = default_image(place) if name in ("", "unknown") else name
    image = node_images().get(key) if key else None
    return image if image and image.place == place else None


def near_image(place: str, name: str) -> str | None:
    """Return the key of ``place`` that a misspelled one most likely means."""
    nearest = difflib.get_close_matches(name.lower(), images_of(place), n=1, cutoff=0.5)
    return nearest[0] if nearest else None
