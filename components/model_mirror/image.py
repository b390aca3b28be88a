"""The mirror's image: what it is built from, and the resource that builds and pushes it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pulumi
import pulumi_docker_build as docker_build

from components.platforms.contract import Registry
from components.pushed_image import content_tag, pushed_image

CONTEXT: Final = Path(__file__).resolve().parents[2] / "images" / "mirror"


def mirror_image(name: str, registry: Registry, opts: pulumi.ResourceOptions) -> docker_build.Image:
    """Build and push, never during a preview; ``.ref`` is the reference by digest."""
    arguments = {"BASE": registry.base_images["python"]} if "python" in registry.base_images else {}
    dockerfile = CONTEXT / "Dockerfile"
    tagged = f"mirror:{content_tag(CONTEXT, dockerfile, arguments)}"
    return pushed_image(name, registry, tagged, CONTEXT, dockerfile, arguments, opts)
