"""One model as the stack file declares it: what to serve, where, within which limits, and when to let go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool

from components.idle_scaling.schedule import Window
from components.typed.fields import (
    EnvName,
    FewestCount,
    GpuCount,
    Limit,
    MemoryShare,
    MostCount,
    Name,
    NodeCount,
    Shape,
    SplitCount,
    text,
)
from components.typed.units import Duration, Quantity
from infra.config.money import Reason
from infra.config.schedule import ScheduleConfig

# A pod that is told to go first leaves the Service's endpoints (preStop), then finishes its streams (drain), then has
# a margin in which the engine frees the GPU. The sum is the grace period, so the grace can never be the shorter one.
PRE_STOP_SECONDS = 5
GRACE_MARGIN_SECONDS = 10

SHORTEST_DEFAULT_HOLD_SECONDS = 60

_COMMIT = r"[0-9a-f]{40}"
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
        _COMMIT,
        "is not a full commit: a branch, tag or short form can change under a running model",
        allowed="the 40 hexadecimal digits of a commit",
        fix="copy the commit from the model's page on Hugging Face, under Files and versions, History",
        severity="mandatory",
        # a branch, tag or short commit that can be a folder's name as well
        waived=r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}",
    ),
]


def _hold(fields: Mapping[str, Any]) -> Duration:
    """Half as long again as the longest load: a request held for less would fail on a wake that goes well."""
    cold_start: Duration = fields["cold_start"]
    return Duration(max(SHORTEST_DEFAULT_HOLD_SECONDS, -(-cold_start.seconds * 3 // 2)))


class ModelConfig(Shape):
    """A model behind the endpoint, scaled between ``min`` and ``max`` replicas.

    Times: a replica idle for ``sleep_ttl`` falls asleep, one idle for ``idle_ttl`` goes away; a load takes at most
    ``cold_start``; a request waits at most ``hold`` for a wake; a stream has ``drain`` to finish when its replica is
    told to go.
    Counts: ``max_tokens`` is the context (prompt and answer), ``max_sequences`` run together, ``max_queued`` wait
    before a 503; above ``concurrency_target`` requests in flight per replica, or ``queue_target`` that wait in the
    replicas' own queues, another replica is started. ``routing``: which of them gets a request.
    """

    name: str = Field(alias="<name>", description="The key it stands under; put here by the loader.")
    id: HuggingFaceId = Field(
        description="owner/name on Hugging Face", examples=["HuggingFaceTB/SmolLM2-135M-Instruct"]
    )
    revision: Revision = Field(
        description="the 40 hexadecimal digits of a commit", examples=["and the commit from the model's page"]
    )
    pool: str = Field(description="the name of a pool", examples=["gpu-1xa10"])
    fallback_pools: tuple[str, ...] = Field(
        default=(), description="further pools, in order, for when pool has no node to give; GPUs alike"
    )
    gpus: GpuCount = Field(default=1, description="GPUs of one replica on each of its machines")
    nodes: NodeCount = Field(default=1, description="machines of one replica; above 1 a LeaderWorkerSet runs it")
    tensor_parallel: SplitCount | None = Field(
        default=None, description="GPUs over which each layer is cut; default: gpus"
    )
    pipeline_parallel: SplitCount | None = Field(
        default=None, description="stages of layers, one after the other; default: nodes"
    )
    min: FewestCount = Field(default=0, description="replicas that are always there; 0: asleep while nobody asks")
    max: MostCount = Field(description="the most replicas")
    min_reason: Reason | None = Field(default=None, description="why min is not 0 outside production")
    idle_ttl: Duration = Field(
        default=Duration(20 * 60), description="gone after this long without a request; at least coldStart"
    )
    sleep_ttl: Duration | None = Field(
        default=None,
        description="asleep in main memory after this long, on a pool with turns; default: when another wants the card",
    )
    schedules: Mapping[str, ScheduleConfig] = Field(
        default_factory=dict, description="hours in which it stays warm whether anybody asks or not"
    )
    cold_start: Duration = Field(default=Duration(10 * 60), description="the longest a start may take, from no node on")
    hold: Duration = Field(
        default_factory=_hold,
        description="how long a request waits for a wake; default: half as long again as coldStart",
    )
    max_tokens: Limit = Field(description="the context, prompt and answer together", examples=["4096"])
    max_sequences: Limit = Field(default=16, description="requests that run together")
    max_queued: Limit = Field(
        default=32,
        description="requests that wait beyond these; one more is a 503. For a wake may wait what all replicas take",
    )
    concurrency_target: Limit = Field(
        default_factory=lambda fields: fields["max_sequences"],
        description="requests in flight a replica above which another starts; default: maxSequences",
    )
    queue_target: Limit | None = Field(
        default=None,
        description="requests that wait in a replica's own queue above which another starts; default: not looked at",
    )
    routing: Literal["fewestRequests", "prefix"] = Field(
        default="fewestRequests",
        description="which of several replicas gets a request; prefix: prompts that begin alike meet, for its cache",
    )
    gpu_memory_utilization: MemoryShare = Field(default=0.9, description="share of the GPU's memory the engine takes")
    weights: Quantity | None = Field(default=None, description="size of its weight files, held against a node's disk")
    kv_cache: Quantity | None = Field(default=None, description="KV cache in main memory; device cpu only.")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(default="auto", description="what it computes in")
    aliases: tuple[Name, ...] = Field(default=(), description="further names a request may use")
    extra_args: tuple[str, ...] = Field(default=(), description="flags for the engine that no key here sets")
    extra_env: Mapping[EnvName, str] = Field(
        default_factory=dict, description="variables for the engine; never a secret"
    )
    licence_accepted: StrictBool = Field(
        default=False, description="you have read the licence of a gated model and accepted it on its page"
    )
    hub_token: Name | None = Field(
        default=None,
        description="a Secret in namespace ebbtide-mirror; its key token has a Hugging Face token, for gated models",
    )
    drain: Duration = Field(
        default=Duration(2 * 60), description="how long running answers may go on when a replica is told to go"
    )

    stall: Duration = Field(
        default=Duration(5 * 60),
        description="the engine is started again after this long without a sign that it computes; at least 2m",
    )

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit; only a waiver lets it be another."""
        return re.fullmatch(_COMMIT, self.revision) is not None

    @property
    def grace_period_seconds(self) -> int:
        """The pod's terminationGracePeriodSeconds: preStop, then the drain, then a margin."""
        return PRE_STOP_SECONDS + self.drain.seconds + GRACE_MARGIN_SECONDS

    @property
    def windows(self) -> tuple[Window, ...]:
        """The hours in which it stays warm."""
        return tuple(schedule.window for schedule in self.schedules.values())

    @property
    def pools(self) -> tuple[str, ...]:
        """Every pool it may run on, the first choice first."""
        return (self.pool, *self.fallback_pools)

    @property
    def replica_gpus(self) -> int:
        """GPUs of one replica, over all its machines."""
        return self.nodes * self.gpus

    @property
    def split(self) -> tuple[int, int]:
        """Over how many GPUs each layer is cut, and into how many stages the layers are."""
        return self.tensor_parallel or self.gpus, self.pipeline_parallel or self.nodes

    @property
    def names(self) -> tuple[str, ...]:
        """Every name a request may use for this model."""
        return (self.name, *self.aliases)
