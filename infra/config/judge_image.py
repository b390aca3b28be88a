"""Rules over the engine's image: new enough, and for the processors it will run on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from components.catalog.versions import pinned
from components.typed.refusal import Problem
from infra.config.draft import Draft
from infra.config.fallback import users
from infra.config.limits import limits
from infra.config.machines import find


def judge_image(draft: Draft) -> Iterator[Problem]:
    """An engine below the security floor, or one for other processors than a pool has."""
    yield from _floor(draft)
    yield from _architecture(draft)


def _version(text: str) -> tuple[int, ...] | None:
    """``v0.9.1`` → (0, 9, 1); None where it does not begin like a version."""
    match = re.match(r"v?([0-9]+(?:\.[0-9]+)+)", text)
    return tuple(int(part) for part in match[1].split(".")) if match else None


def _too_old(path: tuple[str | int, ...], version: str, value: str | None) -> Iterator[Problem]:
    floor, found = limits().engine_floor, _version(version)
    if found is not None and found < (_version(floor.version) or ()):
        message = f"is vLLM {version.lstrip('v')}, below the security floor ({floor.source})"
        fix = f"take vLLM {floor.version} or newer, or leave it out for {pinned('vllm').version}"
        allowed = f"vLLM {floor.version} or newer"
        yield Problem(53, path, message, allowed, fix, value, value is not None, "mandatory")


def _floor(draft: Draft) -> Iterator[Problem]:
    yield from _too_old(("image",), pinned("vllm").version, None)
    if draft.image is None:
        return
    # read as it stands: an image by tag alone is refused for that, and may be too old besides
    base = draft.image.raw.get("base")
    if isinstance(base, str):
        yield from _too_old(("image", "base"), base.partition("@")[0].rpartition(":")[2], base)
    for index, package in enumerate(draft.image.value.extra_packages if draft.image.sound("extra_packages") else ()):
        name, _, version = package.partition("==")
        if name.partition("[")[0].lower() == "vllm":
            yield from _too_old(("image", "extraPackages", index), version, package)


def _architecture(draft: Draft) -> Iterator[Problem]:
    if draft.image is None or not draft.image.sound("architecture"):
        return
    built = draft.image.value.architecture
    for name, part in draft.pools.items():
        machine = find(part.value.place, part.value.machine) if part.sound("machine") else None
        if machine is not None and users(draft, name) and machine.architecture != built:
            message = f"does not run on pool {name}, whose machine {machine.name} is {machine.architecture}"
            fix = f"set architecture: {machine.architecture}, or take a machine with {built} processors"
            yield Problem(42, ("image", "architecture"), message, machine.architecture, fix, built)
