"""Causes of an engine's end or failed start: a word for programs and a short text of our own for people.

The text never repeats a log line: those may hold prompts, keys or addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

Reason = Literal[
    "unschedulable", "quota", "image_pull", "weights", "out_of_memory", "crash_loop", "load_too_long"
]  # fmt: skip


@dataclass(frozen=True)
class Cause:
    """Reason and the message that a client gets."""

    reason: Reason
    message: str


QUOTA = Cause("quota", "its GPUs would exceed the quota of the models' namespace")
REFUSED = Cause("unschedulable", "the cluster refuses to create its pod")
NOT_WHOLE = Cause("unschedulable", "the cluster does not create all of its pods: a quota or a policy may refuse them")
NO_NODE = Cause("unschedulable", "no node has room for its pod")
NO_NEW_NODE = Cause("unschedulable", "no node has room for its pod, and none was added in time")
IMAGE = Cause("image_pull", "its image could not be pulled in time")
NO_IMAGE = Cause("image_pull", "its image is not there, or not for its node")
IMAGE_DENIED = Cause("image_pull", "the registry refuses its node the image")
NO_MEMORY = Cause("out_of_memory", "its engine ran out of memory while it started")
WEIGHTS = Cause("weights", "its weights are missing or cannot be read")
CRASHES = Cause("crash_loop", "its engine ended again and again before it was ready")
TOO_LONG = Cause("load_too_long", "it was not ready within its hold")

# Messages of the engine and of what it loads with: vLLM's as of 0.32.0 (v1/core/kv_cache_utils.py, v1/worker,
# model_executor/model_loader, transformers_utils/config.py), torch's, safetensors', transformers', Python's own and
# huggingface_hub's.
_TEXTS: Mapping[re.Pattern[str], Cause] = MappingProxyType(
    {
        re.compile(
            r"CUDA out of memory|OutOfMemoryError|No available memory for the cache blocks"
            r"|larger than the available KV cache memory"
            r"|desired (?:GPU|CPU) memory utilization|CUDA error: out of memory"
        ): NO_MEMORY,
        re.compile(
            r"Cannot find any model weights|SafetensorError|does not appear to have a file named"
            r"|Invalid repository ID or local directory specified"
            r"|Repo id must be in the form [^:]*: '/"  # a missing folder is taken for a name on the hub
            r"|No such file or directory: '[^']*\.(?:safetensors|bin|json)'"
        ): WEIGHTS,
    }
)


def of_end(terminated: Mapping[str, Any]) -> Cause | None:
    """Return the cause that a container's end states; None when it only states that it ended."""
    if terminated.get("reason") == "OOMKilled":
        return NO_MEMORY
    message = str(terminated.get("message", ""))
    return next((cause for pattern, cause in _TEXTS.items() if pattern.search(message)), None)


def of_ends(ends: Iterable[Mapping[str, Any]]) -> Cause | None:
    """Return the first cause that one of the ends states."""
    return next((cause for cause in map(of_end, ends) if cause is not None), None)


def of_refusal(message: str) -> Cause:
    """Return why the API server would not take a pod."""
    return QUOTA if "exceeded quota" in message else REFUSED
