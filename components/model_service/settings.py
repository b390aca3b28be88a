"""Settings of one model's service: plain values that a stack file, a test or another program can write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Task = Literal["chat", "embed", "rerank", "score", "transcribe"]
Implementation = Literal["auto", "vllm", "transformers"]

PORT: Final = 8000
"""Port of the engine, of its Service and of its metrics (``/metrics``)."""

MODEL_LABEL: Final = "ebbtide.dev/model"
SERVICE_ACCOUNT: Final = "ebbtide-model"

LONGEST_GROUP_NAME: Final = 47
"""Longest name of a model on several machines. Each of its groups has a StatefulSet called ``<name>-<number>``, of up
to four digits, whose pods carry a label of that name plus eleven characters, and a label has 63 at most."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A LoRA adapter that the engine has beside the model: its name in the API, and its highest rank. ``weights``:
    where the store has it, a folder in the pod or a store's URI."""

    name: str
    rank: int
    weights: str


@dataclass(frozen=True, kw_only=True)
class HotAdapters:
    """Room for LoRA adapters that are loaded while the model runs: how many, and their highest rank. ``folder``: where
    the store has them, each under its name, a folder in the pod or a store's URI."""

    count: int
    rank: int
    folder: str


@dataclass(frozen=True)
class ModelSettings:
    """One served model. Durations in whole seconds, sizes in bytes; ``None`` leaves the engine's own default.

    ``name`` is the name of every Kubernetes object of this model and the model name in the API; ``aliases`` are further
    API names; ``asked_as`` is the name in its answers where another model's long prompts come here.
    ``max_queued``: requests that may wait beyond the ``max_sequences`` that run; one more gets 503.
    ``drain_seconds``: the longest answer that may finish when a replica is scaled in. ``stall_seconds``: how long an
    engine may show no sign of life, with requests or without, before it is restarted. ``nodes`` machines with ``gpus``
    each make one replica; ``tensor_parallel`` (None: ``gpus``) times ``pipeline_parallel`` (None: ``nodes``) is all of
    its GPUs. ``task``: the kind of requests it serves; ``engine``: the implementation of the model that runs.
    ``tool_parser`` and ``reasoning_parser``: the engine's parsers of what the model writes; ``chat_template``: the text
    of a template in place of the model's own; ``quantization``: what the engine makes of the weights while it loads.
    ``media_domains``: hosts from which the engine may fetch what a request names by address. ``adapters``: LoRA
    adapters that are there from the start, ``hot_adapters``: those that a call loads; ``adapter_slots`` of both are in
    the GPU's memory at once.
    """

    name: str
    model_id: str
    revision: str
    gpus: int = 1
    nodes: int = 1
    tensor_parallel: int | None = None
    pipeline_parallel: int | None = None
    min_replicas: int = 0
    max_replicas: int = 1
    aliases: tuple[str, ...] = ()
    asked_as: str | None = None
    max_tokens: int | None = None
    max_sequences: int = 64
    max_queued: int | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_bytes: int | None = None
    task: Task = "chat"
    engine: Implementation = "auto"
    tool_parser: str | None = None
    reasoning_parser: str | None = None
    chat_template: str | None = None
    quantization: str | None = None
    dtype: str = "auto"
    media_domains: tuple[str, ...] = ()
    adapters: tuple[Adapter, ...] = ()
    hot_adapters: HotAdapters | None = None
    adapter_slots: int = 0
    cold_start_seconds: int = 600
    hold_seconds: int = 900
    drain_seconds: int = 120
    stall_seconds: int = 300
    extra_args: tuple[str, ...] = ()
    extra_env: Mapping[str, str] = field(default_factory=dict)
    requests: Mapping[str, str] = field(default_factory=dict)
    """CPU and memory to reserve (``{"cpu": "4", "memory": "32Gi"}``) in place of what ``host_memory.py`` reckons. No
    limit can be set: a throttled or killed engine costs more than it saves on a node that the GPU already keeps for
    this model."""

    @property
    def split(self) -> tuple[int, int]:
        """Return over how many GPUs each layer is split, and into how many stages the layers are."""
        return self.tensor_parallel or self.gpus, self.pipeline_parallel or self.nodes

    @property
    def is_group(self) -> bool:
        """Return True if one replica is larger than one machine: then a LeaderWorkerSet runs it, else a Deployment."""
        return self.nodes > 1
