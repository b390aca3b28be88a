"""The engine's image: what it starts from, what goes in besides, and for which processors it is built."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from components.typed.fields import Shape, text

Package = Annotated[
    str,
    text(
        119,
        r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?==[A-Za-z0-9][A-Za-z0-9.!+_-]*",
        "is not a pinned package",
        allowed="name==version",
        fix="pin it, like hf-transfer==0.1.9",
    ),
]
ByDigest = Annotated[
    str,
    text(
        41,
        r"[A-Za-z0-9][A-Za-z0-9.:-]*(/[a-z0-9._-]+)+(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?@sha256:[0-9a-f]{64}",
        "is not an image by digest: what a tag names can change between two nodes",
        allowed="registry/name:tag@sha256: and 64 hexadecimal digits",
        fix="copy the digest from: docker buildx imagetools inspect IMAGE",
        severity="mandatory",
        waived=r"[A-Za-z0-9][A-Za-z0-9.:-]*(/[a-z0-9._-]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?",
    ),
]


class ImageConfig(Shape):
    """What the engine's image is made of. Without ``base`` it starts from vLLM's own image at the pinned version."""

    base: ByDigest | None = Field(default=None, description="vLLM's CUDA image by digest, like a copy in your registry")
    architecture: Literal["amd64", "arm64"] = Field(default="amd64", description="processors it is built for")
    extra_packages: tuple[Package, ...] = Field(default=(), description="Python packages, pinned")
