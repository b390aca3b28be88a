"""One model as the stack file declares it: what to serve, where, within which limits, and when to let go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from components.typed.fields import (
    EnvName,
    FewestCount,
    GpuCount,
    Limit,
    MemoryShare,
    MostCount,
    Name,
    Shape,
    text,
)
from components.typed.units import Duration, Quantity

# A pod that is told to go first leaves the Service's endpoints (preStop), then finishes its streams (drain), then has
# a margin in which the engine frees the GPU. The sum is the grace period, so the grace can never be the shorter one.
PRE_STOP_SECONDS = 5
GRACE_MARGIN_SECONDS = 10

SHORTEST_DEFAULT_HOLD_SECONDS = 60

HuggingFaceId = Annotated[
    str,
    text(
        18,
        r"(?!.*(--|\.\.))[A-Za-z0-9]([\w.-]{0,94}[A-Za-z0-9])?/[A-Za-z0-9_]([\w.-]{0,94}[A-Za-z0-9_])?",
        "is not a Hugging Face id",
        allowed="owner/name of letters, digits, '-', '_' and '.'",
        fix="copy it from the model's page, like HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
]

Revision = Annotated[
    str,
    text(
        20,
        r"[0-9a-f]{40}",
        "is not a full commit: a branch, tag or short form can change under a running model",
        allowed="the 40 hexadecimal digits of a commit",
        fix="copy the commit from the model's page on Hugging Face, under Files and versions, History",
        severity="mandatory",
    ),
]


def _hold(fields: Mapping[str, Any]) -> Duration:
    """Half as long again as the longest load: a request held for less would fail on a wake that goes well."""
    cold_start: Duration = fields["cold_start"]
    return Duration(max(SHORTEST_DEFAULT_HOLD_SECONDS, -(-cold_start.seconds * 3 // 2)))


class ModelConfig(Shape):
    """A model behind the endpoint, scaled between ``min`` and ``max`` replicas.

    Times: a replica idle for ``idle_ttl`` goes away; a load takes at most ``cold_start``; a request waits at most
    ``hold`` for a wake; a stream has ``drain`` to finish when its replica is told to go.
    Counts: ``max_tokens`` is the context (prompt and answer), ``max_sequences`` run together, ``max_queued`` wait
    before a 503; above ``concurrency_target`` requests in flight per replica another replica is started.
    """

    name: str = Field(alias="<name>", description="The key it stands under; put here by the loader.")
    id: HuggingFaceId = Field(
        description="owner/name on Hugging Face", examples=["HuggingFaceTB/SmolLM2-135M-Instruct"]
    )
    revision: Revision = Field(
        description="the 40 hexadecimal digits of a commit", examples=["and the commit from the model's page"]
    )
    pool: str = Field(description="the name of a pool", examples=["gpu-1xa10"])
    gpus: GpuCount = 1
    min: FewestCount = 0
    max: MostCount
    idle_ttl: Duration = Duration(20 * 60)
    cold_start: Duration = Duration(10 * 60)
    hold: Duration = Field(default_factory=_hold)
    max_tokens: Limit = Field(description="the context, prompt and answer together", examples=["4096"])
    max_sequences: Limit = 16
    max_queued: Limit = 32
    concurrency_target: Limit = Field(default_factory=lambda fields: fields["max_sequences"])
    gpu_memory_utilization: MemoryShare = 0.9
    kv_cache: Quantity | None = Field(default=None, description="KV cache in main memory; device cpu only.")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    aliases: tuple[Name, ...] = ()
    extra_args: tuple[str, ...] = ()
    extra_env: Mapping[EnvName, str] = Field(default_factory=dict)
    drain: Duration = Duration(2 * 60)

    @property
    def grace_period_seconds(self) -> int:
        """The pod's terminationGracePeriodSeconds: preStop, then the drain, then a margin."""
        return PRE_STOP_SECONDS + self.drain.seconds + GRACE_MARGIN_SECONDS

    @property
    def names(self) -> tuple[str, ...]:
        """Every name a request may use for this model."""
        return (self.name, *self.aliases)
