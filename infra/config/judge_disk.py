"""Whether a node's disk takes the image and the weights that have to pass it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from components.typed.refusal import Path, Problem
from infra.config.draft import Draft, Part
from infra.config.fallback import named
from infra.config.limits import limits
from infra.config.machines import find
from infra.config.pool import PoolConfig

GIB = 2**30


def judge_disk(part: Part[PoolConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    """A disk too small is noticed at night otherwise: the kubelet throws the image away, or evicts the pod."""
    if not part.sound("disk", "machine") or part.value.disk.size is None:
        return
    size, image = part.value.disk.size, limits().engine_image.on_disk_bytes
    weights, model = _largest(part.value, draft)
    need = math.ceil((image + weights) / limits().node_disk.usable / GIB)
    if size.bytes >= need * GIB:
        return
    of_weights = f" and {weights / GIB:.0f} GiB of weights ({model})" if weights else ""
    message = (
        f"is too small for {image / GIB:.0f} GiB of image, pulled and unpacked,{of_weights} within "
        f"{limits().node_disk.usable:.0%} of the disk"
    )
    yield Problem(16, (*at, "disk", "size"), message, f"{need}Gi or more", f"set size: {need}Gi", str(size))


def _largest(pool: PoolConfig, draft: Draft) -> tuple[int, str]:
    """Bytes of the largest weights among the pool's models, and whose they are; none where the machine has a fast disk
    of its own, which takes them."""
    machine = find(pool.place, pool.machine)
    if machine is not None and machine.local_disk_gib > 0:
        return 0, ""
    sizes = [
        (part.value.weights.bytes, name)
        for name, part in draft.models.items()
        if pool.name in named(part) and part.sound("weights") and part.value.weights is not None
    ]
    return max(sizes, default=(0, ""))
