"""What one model's service is made from: plain values that a stack file, a test or another program can write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

PORT: Final = 8000
"""The port of the engine, of its Service and of its metrics (``/metrics``)."""

MODEL_LABEL: Final = "ebbtide.dev/model"
SERVICE_ACCOUNT: Final = "ebbtide-model"


@dataclass(frozen=True)
class ModelSettings:
    """One served model. Durations in whole seconds, sizes in bytes; ``None`` leaves the engine's own default.

    ``name`` is the name of every Kubernetes object of this model and the model name in the API; ``aliases`` are
    further API names. ``max_queued``: requests that may wait beyond the ``max_sequences`` that run; one more gets 503.
    ``drain_seconds``: the longest answer that may finish when a replica is scaled in. ``stall_seconds``: how long an
    engine may show no sign of life, with requests or without, before it is started again.
    """

    name: str
    model_id: str
    revision: str
    gpus: int = 1
    min_replicas: int = 0
    max_replicas: int = 1
    aliases: tuple[str, ...] = ()
    max_tokens: int | None = None
    max_sequences: int = 64
    max_queued: int | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_bytes: int | None = None
    dtype: str = "auto"
    cold_start_seconds: int = 600
    hold_seconds: int = 900
    drain_seconds: int = 120
    stall_seconds: int = 300
    extra_args: tuple[str, ...] = ()
    extra_env: Mapping[str, str] = field(default_factory=dict)
    requests: Mapping[str, str] = field(default_factory=dict)
    """CPU and memory to reserve (``{"cpu": "4", "memory": "32Gi"}``). There is no limit to set: a throttled or killed
    engine costs more than it saves on a node that the GPU already keeps for this model."""
