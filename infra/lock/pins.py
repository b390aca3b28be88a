"""Where the project names images by tag, and the same text with a digest in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from infra.lock.image_name import ImageName, image_name

_BASE = re.compile(r"^ARG BASE=(\S+)$", re.M)
_ENTRY = re.compile(r"^(?P<indent> +)image: (?P<image>\S+)(?P<rest>[^\n]*)\n(?P=indent)digest: (?P<digest>\S+)$", re.M)


@dataclass(frozen=True)
class Pin:
    """One image at one place. ``line`` counts from 1."""

    file: Path
    line: int
    image: ImageName


def pins(project: Path) -> list[Pin]:
    """Every image that a Dockerfile of ``images/`` starts from and every one in ``versions.yaml``."""
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
            if "/" in match[1]:  # a stage of the same file has none
                yield Pin(file, _line(text, match.start()), image_name(match[1]))


def locked(text: str, pin: Pin, digest: str) -> str:
    """The file's text with that digest at ``pin``'s image, and nothing else changed."""
    if pin.file.suffix == ".yaml":

        def entry(match: re.Match[str]) -> str:
            if match["image"] != pin.image.tagged:
                return match[0]
            return f"{match['indent']}image: {match['image']}{match['rest']}\n{match['indent']}digest: {digest}"

        return _ENTRY.sub(entry, text)
    return re.sub(rf"^ARG BASE={re.escape(str(pin.image))}$", f"ARG BASE={pin.image.tagged}@{digest}", text, flags=re.M)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
