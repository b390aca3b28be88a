"""Image that a stack builds and pushes: the one way all of them are made."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import pulumi
import pulumi_docker_build as docker_build

from components.platforms.contract import Registry

IMAGES = Path(__file__).resolve().parents[1] / "images"


def content_tag(context: Path, dockerfile: Path, arguments: Mapping[str, str]) -> str:
    """Return twelve hex digits that change with anything that goes into the image: registries with immutable tags
    refuse a second push under the same one. Pods use the digest; the tag is for people."""
    digest = hashlib.sha256(dockerfile.read_bytes())
    for file in sorted(context.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(str(file.relative_to(context)).encode() + b"\0" + file.read_bytes())
    for name, value in sorted(arguments.items()):
        digest.update(f"{name}={value}\0".encode())
    return digest.hexdigest()[:12]


def pushed_image(
    name: str,
    registry: Registry,
    tagged: str,
    context: Path,
    dockerfile: Path,
    arguments: Mapping[str, pulumi.Input[str]],
    opts: pulumi.ResourceOptions,
    *,
    platform: docker_build.Platform = docker_build.Platform.LINUX_AMD64,
) -> docker_build.Image:
    """Build and push as ``tagged`` (``vllm:0.32.0-…``), never during a preview; ``.ref`` is the reference by digest."""
    reference = pulumi.Output.concat(registry.address, "/", tagged)
    # builders speak plain HTTP to loopback unasked; to any other host only when the export says so
    plain_http = registry.insecure and not _loopback(registry.address)
    to_registry = docker_build.ExportRegistryArgs(names=[reference], push=True, insecure=True)
    repository = tagged.partition(":")[0]
    cache = pulumi.Output.concat(registry.address, "/", repository, ":buildcache") if registry.build_cache else None
    return docker_build.Image(
        name,
        context=docker_build.BuildContextArgs(location=_relative(context)),
        dockerfile=docker_build.DockerfileArgs(location=_relative(dockerfile)),
        build_args=arguments,
        build_on_preview=False,
        push=not plain_http,
        tags=None if plain_http else [reference],
        exports=[docker_build.ExportArgs(registry=to_registry)] if plain_http else None,
        cache_from=[docker_build.CacheFromArgs(registry=docker_build.CacheFromRegistryArgs(ref=cache))]
        if cache is not None
        else None,
        cache_to=[
            docker_build.CacheToArgs(
                registry=docker_build.CacheToRegistryArgs(
                    ref=cache, mode=docker_build.CacheMode.MAX, image_manifest=True, oci_media_types=True
                )
            )
        ]
        if cache is not None
        else None,
        platforms=[platform],
        registries=_logins(registry),
        opts=opts,
    )


def build_arguments(base_images: Mapping[str, str]) -> dict[str, str]:
    """Return ``BASE`` if the place has a Python base image of its own; else the Dockerfile's default holds."""
    return {"BASE": base_images["python"]} if "python" in base_images else {}


def python_image(resource: str, registry: Registry, image: str, opts: pulumi.ResourceOptions) -> docker_build.Image:
    """Build and push ``images/<image>``, on a Python base; ``.ref`` is the reference by digest."""
    context, arguments = IMAGES / image, build_arguments(registry.base_images)
    tagged = f"{image}:{content_tag(context, context / 'Dockerfile', arguments)}"
    return pushed_image(resource, registry, tagged, context, context / "Dockerfile", arguments, opts)


def _logins(registry: Registry) -> list[docker_build.RegistryArgs] | None:
    if registry.auth is None:
        return None
    host = pulumi.Output.from_input(registry.address).apply(lambda address: address.partition("/")[0])
    return [docker_build.RegistryArgs(address=host, username=registry.auth.username, password=registry.auth.password)]


def _loopback(address: pulumi.Input[str]) -> bool:
    return isinstance(address, str) and address.partition("/")[0].rpartition(":")[0] in ("127.0.0.1", "localhost")


def _relative(path: Path) -> str:
    """Return the path relative to where the program runs, so that the state is the same from every clone."""
    return os.path.relpath(path)
