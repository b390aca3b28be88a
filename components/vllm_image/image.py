"""The image as resources of a stack."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pulumi
import pulumi_docker_build as docker_build

from components.catalog.versions import pinned
from components.platforms.contract import Device, Registry
from components.vllm_image.build import CONTEXT, engine_recipe


class VllmImage(pulumi.ComponentResource):
    """Builds vLLM's server for one device and pushes it; ``ref`` names it by digest.

    At rest it costs what the registry takes for storing it (about 5 GB for ``cpu``; ``cuda`` what vLLM's own image
    weighs). It is built during an update, never during a preview, and again only when its inputs change. With
    ``baked_model``, the folder of a cached model (``model/`` and ``model_metadata.json``), a second image carries that
    model under ``/models/<folder>`` and ``ref`` names that one. It runs nothing.
    """

    ref: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        registry: Registry,
        device: Device,
        extra_packages: Iterable[str] = (),
        baked_model: Path | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:vllm_image:VllmImage", name, None, opts)
        recipe = engine_recipe(device, pinned("vllm"), registry.base_images, extra_packages)
        image = self._image(name, registry, CONTEXT, recipe.dockerfile, recipe.arguments, recipe.tag)
        if baked_model is not None:
            image = self._image(
                f"{name}-{baked_model.name.lower()}",
                registry,
                baked_model,
                CONTEXT / "Dockerfile.model",
                {"IMAGE": image.ref, "FOLDER": baked_model.name},
                f"{recipe.tag}-{baked_model.name.lower()}",
            )
        self.ref = image.ref
        self.register_outputs({"ref": self.ref})

    def _image(
        self,
        name: str,
        registry: Registry,
        context: Path,
        dockerfile: Path,
        arguments: Mapping[str, pulumi.Input[str]],
        tag: str,
    ) -> docker_build.Image:
        reference = pulumi.Output.concat(registry.address, "/vllm:", tag)
        # builders speak plain HTTP to loopback unasked; to any other host only when the export says so
        plain_http = registry.insecure and not _loopback(registry.address)
        to_registry = docker_build.ExportRegistryArgs(names=[reference], push=True, insecure=True)
        return docker_build.Image(
            name,
            context=docker_build.BuildContextArgs(location=_relative(context)),
            dockerfile=docker_build.DockerfileArgs(location=_relative(dockerfile)),
            build_args=arguments,
            build_on_preview=False,
            push=not plain_http,
            tags=None if plain_http else [reference],
            exports=[docker_build.ExportArgs(registry=to_registry)] if plain_http else None,
            platforms=[docker_build.Platform.LINUX_AMD64],
            registries=_logins(registry),
            opts=pulumi.ResourceOptions(parent=self),
        )


def _logins(registry: Registry) -> list[docker_build.RegistryArgs] | None:
    if registry.auth is None:
        return None
    host = pulumi.Output.from_input(registry.address).apply(lambda address: address.partition("/")[0])
    return [docker_build.RegistryArgs(address=host, username=registry.auth.username, password=registry.auth.password)]


def _loopback(address: pulumi.Input[str]) -> bool:
    return isinstance(address, str) and address.partition("/")[0].rpartition(":")[0] in ("127.0.0.1", "localhost")


def _relative(path: Path) -> str:
    """Relative to where the program runs, so that the state is the same from every clone."""
    return os.path.relpath(path)
