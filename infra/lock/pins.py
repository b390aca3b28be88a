"""The places where the project names images by tag, and their text with a digest in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

_BASE = re.compile(r"^ARG BASE=(\S+)$", re.M)
_ENTRY = re.compile(r"^(?P<indent> +)image: (?P<image>\S+)(?P<rest>[^\n]*)\n(?P=indent)digest: (?P<digest>\S+)$", re.M)


@dataclass(frozen=True)
class Pin:
    """One image at one place. ``line`` counts from 1."""

    file: Path
    line: int
    image: ImageName


def pins(project: Path) -> list[Pin]:
    """Return every image that a Dockerfile of ``images/`` starts from and every one in ``versions.yaml``."""
    files = [*sorted((project / "images").glob("*/Dockerfile*")), project / "components/catalog/versions.yaml"]
    return [pin for file in files for pin in _in(file)]


def _in(file: Path) -> Iterator[Pin]:
    text = file.read_text()
    if file.suffix == ".yaml":
        for match in _ENTRY.finditer(text):
            digest = None if match["digest"] == "null" else match["digest"]
            yield Pin(file, _line(text, match.start()), replace(image_name(match["image"]), digest=digest))
    else:
        for match in _BASE.finditer(text):
            if "/" in match[1]:  # a stage of the same file has no slash
                yield Pin(file, _line(text, match.start()), image_name(match[1]))


def locked(text: str, pin: Pin, digest: str) -> str:
    """Return the file's text with that digest at ``pin``'s image, and nothing else changed."""
    if pin.file.suffix == ".yaml":

        def entry(match: re.Match[str]) -> str:
            if match["image"] != pin.image.tagged:
                return match[0]
            return f"{match['indent']}image: {match['image']}{match['rest']}\n{match['indent']}digest: {digest}"

        return _ENTRY.sub(entry, text)
    return re.sub(rf"^ARG BASE={re.escape(str(pin.image))}$", f"ARG BASE={pin.image.tagged}@{digest}", text, flags=re.M)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


# The parts of an image reference: ``docker.io/vllm/vllm-openai:v0.32.0@sha256:…``.

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PART = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HUB, _HUBS_API = "docker.io", "registry-1.docker.io"
_LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class ImageName:
    """An image reference. ``registry`` is the host as written; ``digest`` is None if it has only a tag."""

    registry: str
    repository: str
    tag: str
    digest: str | None = None

    def __str__(self) -> str:
        return f"{self.tagged}@{self.digest}" if self.digest else self.tagged

    @property
    def tagged(self) -> str:
        """Return the reference without the digest."""
        return f"{self.registry}/{self.repository}:{self.tag}"

    @property
    def manifest_url(self) -> str:
        """Return its URL in the registry's API (OCI distribution specification); plain HTTP only on this machine."""
        host = _HUBS_API if self.registry == _HUB else self.registry
        scheme = "http" if host.partition(":")[0] in _LOOPBACK else "https"
        return f"{scheme}://{host}/v2/{self.repository}/manifests/{self.tag}"


def is_digest(text: str) -> bool:
    """Return True for ``sha256:`` and 64 hex digits."""
    return _DIGEST.fullmatch(text) is not None


def image_name(text: str) -> ImageName:
    """Parse a reference. Raises ``ValueError`` unless it has host, repository and tag."""
    name, _, digest = text.partition("@")
    host, _, rest = name.partition("/")
    repository, _, tag = rest.rpartition(":")
    sound = _PART.fullmatch(repository) and _TAG.fullmatch(tag) and ("." in host or ":" in host or host == "localhost")
    if not sound or (digest and not is_digest(digest)):
        raise ValueError(f"{text!r} is no image; allowed: host/repository:tag, with @sha256:… or without")
    return ImageName(host, repository, tag, digest or None)
