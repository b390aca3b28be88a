"""Recipe of an engine image, decided on plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.catalog.versions import Pinned
from components.platforms.contract import Device

CONTEXT = Path(__file__).resolve().parents[2] / "images" / "vllm"
BASE_ROLES: Mapping[Device, str] = {"cpu": "python", "cuda": "vllm-openai"}
"""Entry of a registry's ``base_images`` that a device's image starts from."""

_PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?==[A-Za-z0-9][A-Za-z0-9.!+_-]*")


@dataclass(frozen=True)
class Recipe:
    """Dockerfile of ``images/vllm``, its arguments and the tag's first part."""

    dockerfile: Path
    arguments: Mapping[str, str]
    tag: str


def engine_recipe(
    device: Device, vllm: Pinned, base_images: Mapping[str, str], extra_packages: Iterable[str] = ()
) -> Recipe:
    """Return the recipe for ``device``. Without a base from the registry: the catalogue's for CUDA, else the
    Dockerfile's own.

    Raises ``ValueError`` for an extra package that is not pinned: it names a different thing each day, and the string
    reaches a shell in the build.
    """
    packages = list(extra_packages)
    loose = [package for package in packages if not _PINNED.fullmatch(package)]
    if loose:
        raise ValueError(
            f"image.extraPackages: {', '.join(map(repr, loose))} not pinned: write name==version, for example "
            "runai-model-streamer==0.15.7"
        )
    arguments = {"EXTRA_PACKAGES": " ".join(packages)}
    base = base_images.get(BASE_ROLES[device]) or (vllm.reference if device == "cuda" else None)
    if base is not None:
        arguments["BASE"] = base
    return Recipe(CONTEXT / f"Dockerfile.{device}", arguments, f"{vllm.version}-{device}")
