"""The time-out of the load balancer before the gateway, as far as it is known before anything exists."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from infra.config.model import ModelConfig
from infra.config.stack import StackConfig

# From the end of a load to the first byte of an answer: infra/place.py has the same, beside an SDK that a plan has no
# use for; a test holds the two together.
FIRST_BYTE_SECONDS = 5 * 60


@dataclass(frozen=True)
class Front:
    """``seconds`` None: there is none, or nobody knows it; ``told`` says which."""

    seconds: int | None
    told: str


@cache
def _table() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("plan_ingress.yaml").read_text())
    return read


def silence_seconds(stack: StackConfig, model: ModelConfig) -> int:
    """How long a request for ``model`` may go without a byte: waiting for the guard, then for the wake."""
    waits = stack.wait_limit(model).seconds if stack.guard.when_full == "wait" else 0
    return waits + model.hold.seconds


def longest_silence_seconds(stack: StackConfig) -> int:
    """Of all models, up to the first byte of the answer."""
    return max((silence_seconds(stack, m) for m in stack.models.values()), default=0) + FIRST_BYTE_SECONDS


def front(stack: StackConfig) -> Front:
    """Of the stack's place."""
    row = _table().get(stack.platform.kind) or {"seconds": None, "told": "unknown"}
    if "wake" in row:
        return Front(longest_silence_seconds(stack) + int(row["wake"]), row["told"])
    return Front(row["seconds"], row["told"])
