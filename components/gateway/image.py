"""The gateway's image: what it is built from, as plain values, and the resource that builds and pushes it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import pulumi
import pulumi_docker_build as docker_build

from components.platforms.contract import Registry

CONTEXT = Path(__file__).resolve().parents[2] / "images" / "gateway"


def content_tag(context: Path = CONTEXT) -> str:
    """A tag that changes with what the image is built from; pods use the digest, the tag is for people."""
    digest = hashlib.sha256()
    for file in sorted(context.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(str(file.relative_to(context)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def build_arguments(base_images: Mapping[str, str]) -> dict[str, str]:
    """``BASE`` where the place has a Python base image of its own; else the Dockerfile's default holds."""
    return {"BASE": base_images["python"]} if "python" in base_images else {}


def gateway_image(name: str, registry: Registry, opts: pulumi.ResourceOptions) -> docker_build.Image:
    """Build and push; ``.ref`` is the reference by digest."""
    auth = registry.auth
    registries = (
        [docker_build.RegistryArgs(address=registry.address, username=auth.username, password=auth.password)]
        if auth is not None
        else None
    )
    # Relative, so that the state is the same whoever runs it.
    context = os.path.relpath(CONTEXT)
    return docker_build.Image(
        name,
        context=docker_build.BuildContextArgs(location=context),
        dockerfile=docker_build.DockerfileArgs(location=f"{context}/Dockerfile"),
        build_args=build_arguments(registry.base_images),
        platforms=[docker_build.Platform.LINUX_AMD64],
        tags=[pulumi.Output.concat(registry.address, "/gateway:", content_tag())],
        registries=registries,
        push=True,
        build_on_preview=False,
        opts=opts,
    )
