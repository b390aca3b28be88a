"""The engine's image as resources of a stack."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import pulumi
import pulumi_docker_build as docker_build

from components.catalog.versions import pinned
from components.platforms.contract import Device, Registry
from components.pushed_image import content_tag, pushed_image
from components.vllm_image.build import CONTEXT, engine_recipe

PLATFORMS = {"amd64": docker_build.Platform.LINUX_AMD64, "arm64": docker_build.Platform.LINUX_ARM64}


class VllmImage(pulumi.ComponentResource):
    """Image of vLLM's server for one device, built and pushed; ``ref`` names it by digest.

    At rest it costs what the registry charges for storing it (about 5 GB for ``cpu``; for ``cuda`` the size of vLLM's
    own image). It is built during an update, never during a preview, and again only when its inputs change. It runs
    nothing.
    """

    ref: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        registry: Registry,
        device: Device,
        extra_packages: Iterable[str] = (),
        architecture: Literal["amd64", "arm64"] = "amd64",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:vllm_image:VllmImage", name, None, opts)
        recipe = engine_recipe(device, pinned("vllm"), registry.base_images, extra_packages)
        child = pulumi.ResourceOptions(parent=self)
        tag = f"{recipe.tag}-{content_tag(CONTEXT, recipe.dockerfile, recipe.arguments)}"
        image = pushed_image(
            name,
            registry,
            f"vllm:{tag}",
            CONTEXT,
            recipe.dockerfile,
            recipe.arguments,
            child,
            platform=PLATFORMS[architecture],
        )
        self.ref = image.ref
        self.register_outputs({"ref": self.ref})
