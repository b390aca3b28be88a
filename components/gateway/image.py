"""The gateway's image: what it is built from, as plain values, and the resource that builds and pushes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pulumi
import pulumi_docker_build as docker_build

from components.platforms.contract import Registry
from components.pushed_image import content_tag, pushed_image

CONTEXT = Path(__file__).resolve().parents[2] / "images" / "gateway"


def build_arguments(base_images: Mapping[str, str]) -> dict[str, str]:
    """``BASE`` where the place has a Python base image of its own; else the Dockerfile's default holds."""
    return {"BASE": base_images["python"]} if "python" in base_images else {}


def gateway_image(name: str, registry: Registry, opts: pulumi.ResourceOptions) -> docker_build.Image:
    """Build and push; ``.ref`` is the reference by digest."""
    dockerfile, arguments = CONTEXT / "Dockerfile", build_arguments(registry.base_images)
    tagged = f"gateway:{content_tag(CONTEXT, dockerfile, arguments)}"
    return pushed_image(name, registry, tagged, CONTEXT, dockerfile, arguments, opts)
