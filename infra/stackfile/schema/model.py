"""A model as the stack file declares it: what to serve, on which pools, its limits and its timers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, ValidationInfo
from pydantic_core import PydanticCustomError

from components.catalog import models as catalogue
from components.idle_scaling.calendar import DAYS, Days, Timezone
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
    SplitCount,
    StackModel,
    integer,
    text,
)
from components.typed.rules.file import KEY_MISSING
from components.typed.rules.stack import (
    ADAPTER_RANK_INVALID,
    CHAT_TEMPLATE_UNUSABLE,
    MEDIA_DOMAIN_INVALID,
    MODEL_ID_INVALID,
    PARSER_UNKNOWN,
    PRESET_REVISION_UNKNOWN,
    PRESET_UNKNOWN,
    REVISION_NOT_PINNED,
)
from components.typed.units import Duration, Quantity, TimeOfDay
from infra.stackfile.findings.pydantic_errors import FOLLOWS_ANOTHER
from infra.stackfile.schema.money import Reason

# Keep-warm windows, as the stack file declares them.


class ScheduleConfig(StackModel):
    """A keep-warm window: on ``days``, from ``start`` to ``to``, at least ``replicas`` run even without requests. They
    are started ``ahead`` before. A ``to`` not later than ``start`` is on the next day. After the window the model is
    idle like any other, and goes after an ``idleTtl``. Clock changes are followed: on the weekday of a change a window
    may be an hour wider at its start or end (up to three in a few zones), never narrower.
    """

    days: Days = Field(
        default_factory=lambda: DAYS,
        description="`daily`, `weekdays`, `weekends`, or a list of `mon` to `sun`; default: daily",
    )
    start: TimeOfDay = Field(alias="from", description="when it begins, in quotes", examples=['"08:30"'])
    to: TimeOfDay = Field(description='when it ends; "24:00" is the end of the day', examples=['"18:00"'])
    timezone: Timezone = Field(description="whose clock this is", examples=["Europe/Berlin"])
    replicas: Limit = Field(default=1, description="replicas that run at least; at most max")
    ahead: Duration | None = Field(
        default=None, description="how long before from they are started; at most 24h; default: at from"
    )

    @property
    def window(self) -> Window:
        """Return it as the component's ``Window``. Raises ``ValueError`` for what ``rules/schedules.py`` refuses."""
        return Window(
            days=frozenset(DAYS.index(day) for day in self.days),
            start=self.start.minutes,
            end=self.to.minutes,
            timezone=self.timezone,
            replicas=self.replicas,
            ahead=-(-self.ahead.seconds // 60) if self.ahead else 0,
        )


SHORTEST_DEFAULT_HOLD_SECONDS = 60

COMMIT = r"[0-9a-f]{40}"
HUB_ID = r"(?!.*(--|\.\.))[A-Za-z0-9]([\w.-]{0,94}[A-Za-z0-9])?/[A-Za-z0-9_]([\w.-]{0,94}[A-Za-z0-9_])?"

HuggingFaceId = Annotated[
    str,
    text(
        MODEL_ID_INVALID,
        HUB_ID,
        "is not a Hugging Face id",
        allowed="owner/name of letters, digits, '-', '_' and '.'",
        fix="copy it from the model's page, like HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
]

Revision = Annotated[
    str,
    text(
        REVISION_NOT_PINNED,
        COMMIT,
        "is not a full commit: a branch, tag or short form can change under a running model",
        allowed="the 40 hexadecimal digits of a commit",
        fix="copy the commit from the model's page on Hugging Face, under Files and versions, History",
        # a branch, tag or short commit that is also a valid folder name
        waived=r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}",
    ),
]


def is_commit(revision: str) -> bool:
    """Return True for a full commit, as opposed to a branch or tag that a waiver allows."""
    return re.fullmatch(COMMIT, revision) is not None


# At least two labels, and no last one by which a node or a cluster names its own parts
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST = rf"(?=.{{4,253}}$)({_LABEL}\.)+(?!(local|localhost|internal|invalid|svc|arpa)$)[a-z][a-z0-9-]+"

MediaDomain = Annotated[
    str,
    text(
        MEDIA_DOMAIN_INVALID,
        HOST,
        "is not the name of a host outside the cluster",
        allowed="a whole host name in small letters, like images.example.com",
        fix="write the host as it stands in the addresses that requests have",
    ),
]


# What a preset of the catalogue fills in. What is written beside it wins.

OnLoad = Literal["fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "mxfp8", "mxfp4", "int8_per_channel_weight_only"]
ServedTask = Literal["chat", "embed", "rerank", "score", "transcribe"]
_TASKS: Mapping[str | None, ServedTask] = {"embed": "embed", "transcribe": "transcribe", "classify": "rerank"}


def _check_preset(value: Any) -> str:
    known = catalogue.names()
    if value in known:
        return str(value)
    near = catalogue.near(value) if isinstance(value, str) else ()
    fix = f"did you mean {near[0]}?" if near else "choose one of them, or set id and revision"
    raise PRESET_UNKNOWN.refusal("is not a preset", allowed=", ".join(known), fix=fix)


def _preset(beside: Mapping[str, Any]) -> catalogue.Preset | None:
    """Return the preset that is named. Raises the error of a field that follows another, where its name is wrong."""
    if "preset" not in beside:
        raise PydanticCustomError(FOLLOWS_ANOTHER, "follows the preset")
    return catalogue.preset(beside["preset"]) if beside["preset"] is not None else None


def _fill_id(value: Any, info: ValidationInfo) -> Any:
    if value is not None:
        return value
    if (preset := _preset(info.data)) is not None:
        return preset.id
    fix = "add id: HuggingFaceTB/SmolLM2-135M-Instruct, or a preset"
    raise KEY_MISSING.refusal("is missing", allowed="owner/name on Hugging Face", fix=fix, has_value=False)


def _fill_revision(value: Any, info: ValidationInfo) -> Any:
    if value is not None:
        return value
    allowed, fix = "the 40 hexadecimal digits of a commit", "add revision: and the commit from the model's page"
    preset = _preset(info.data)
    if preset is None:
        raise KEY_MISSING.refusal("is missing", allowed=allowed, fix=fix, has_value=False)
    if "id" not in info.data:
        raise PydanticCustomError(FOLLOWS_ANOTHER, "follows the id")
    if preset.revision is not None and preset.is_model(info.data["id"]):
        return preset.revision
    message = f"is missing, and preset {info.data['preset']} has no commit of {info.data['id']}"
    raise PRESET_REVISION_UNKNOWN.refusal(message, allowed=allowed, fix=fix, has_value=False)


def _preset_task(fields: Mapping[str, Any]) -> ServedTask:
    preset = _preset(fields)
    return _TASKS.get(preset.task, "chat") if preset is not None else "chat"


def _check_parser(value: Any) -> bool | str:
    if isinstance(value, (bool, str)):
        return value
    raise PARSER_UNKNOWN.refusal("is neither true, false nor a parser's name", fix="write true, or a name in quotes")


Parser = Annotated[bool | str, BeforeValidator(_check_parser)]

TEMPLATES = "templates"
"""Folder beside the stack files with the chat templates."""

TemplateFile = Annotated[
    str,
    text(
        CHAT_TEMPLATE_UNUSABLE,
        rf"{TEMPLATES}/[A-Za-z0-9][A-Za-z0-9._-]{{0,62}}\.jinja",
        "is not the path of a chat template of the stack",
        allowed=f"{TEMPLATES}/NAME.jinja, of letters, digits, '.', '_' and '-'",
        fix=f"put the file into stacks/{TEMPLATES} and write {TEMPLATES}/NAME.jinja",
    ),
]


def _hold(fields: Mapping[str, Any]) -> Duration:
    """Return 1.5 times ``cold_start``, at least 60s: a request held for less would fail on a normal wake."""
    cold_start: Duration = fields["cold_start"]
    return Duration(max(SHORTEST_DEFAULT_HOLD_SECONDS, -(-cold_start.seconds * 3 // 2)))


AdapterRank = Annotated[int, integer(ADAPTER_RANK_INVALID, 1, 512, fix="copy r from the adapter's adapter_config.json")]


class AdapterConfig(StackModel):
    """A LoRA adapter of a model: a small set of weights beside the model's own, trained for it. Its name is one that
    requests ask for; it runs in the model's engines, so a request for it wakes the model."""

    id: HuggingFaceId = Field(description="owner/name on Hugging Face", examples=["my-team/support-lora"])
    revision: Revision = Field(description="the 40 hexadecimal digits of a commit")
    rank: AdapterRank = Field(
        description="`r` in its adapter_config.json, or the highest of its rank_pattern", examples=["16"]
    )

    @property
    def is_pinned(self) -> bool:
        """Return True if the revision is a commit; only a waiver allows anything else."""
        return is_commit(self.revision)


class HotAdaptersConfig(StackModel):
    """Room for LoRA adapters that are loaded while the model runs, by a call to the gateway (`POST
    /v1/load_lora_adapter`) of a group with the right to it. Each is called `MODEL/NAME` and lies under NAME in the
    model's folder of the store; what that is, and what is refused: adding-a-model.md."""

    max: Limit = Field(description="adapters that may be loaded at once", examples=["4"])
    max_rank: AdapterRank = Field(description="the highest rank that one may have", examples=["16"])


class ModelConfig(StackModel):
    """A model behind the endpoint, scaled between ``min`` and ``max`` replicas.

    Times: a replica idle for ``sleep_ttl`` falls asleep, one idle for ``idle_ttl`` is removed; a load takes at most
    ``cold_start``; a request waits at most ``hold`` for a wake; a stream has ``drain`` to finish when its replica is
    stopped.
    Counts: ``max_tokens`` is the context (prompt and answer), ``max_sequences`` requests run together, ``max_queued``
    wait before a 503; above ``concurrency_target`` requests in flight, or ``queue_target`` requests waiting in the
    engine's own queue, per replica, another replica is started. ``routing`` selects the replica for a request.
    """

    name: str = Field(alias="<name>", description="The key it stands under; put here by the loader.")
    preset: Annotated[str, BeforeValidator(_check_preset)] | None = Field(
        default=None,
        description="a model of the catalogue: fills id, revision, task, toolCalling and reasoning where they are not "
        "written ([which](adding-a-model.md#presets))",
        examples=["llama-3.1-8b"],
    )
    id: Annotated[HuggingFaceId, BeforeValidator(_fill_id)] = Field(
        default=None,
        validate_default=True,
        description="owner/name on Hugging Face; needed without a preset",
    )
    revision: Annotated[Revision, BeforeValidator(_fill_revision)] = Field(
        default=None,
        validate_default=True,
        description="the 40 hexadecimal digits of a commit; needed without a preset, and with another id than its",
    )
    task: ServedTask = Field(
        default_factory=_preset_task,
        description="what it is asked for, which decides its paths (paths.md); transcribe needs vLLM's audio packages; "
        "default: the preset's, else chat",
    )
    engine: Literal["auto", "vllm", "transformers"] = Field(
        default="auto", description="whose implementation of the model runs; auto: vLLM's own where it has one"
    )
    tool_calling: Parser | None = Field(
        default=None,
        description="tools in chat: true for the parser that the catalogue knows for the model, or a parser's name; "
        "default: the preset's",
    )
    reasoning: Parser | None = Field(
        default=None,
        description="thoughts apart from the answer: true, or a parser's name, as for toolCalling; default: the "
        "preset's",
    )
    chat_template: TemplateFile | None = Field(
        default=None,
        description="a file beside the stack file in place of the model's own template; a code owner has to agree",
        examples=["templates/tools.jinja"],
    )
    quantization: OnLoad | None = Field(
        default=None,
        description="weights in 16 bits are made smaller by the engine while it loads them; default: as they are",
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
    adapters: Mapping[str, AdapterConfig] = Field(
        default_factory=dict, description="LoRA adapters, each a model's name of its own for requests and groups"
    )
    hot_adapters: HotAdaptersConfig | None = Field(
        default=None, description="room for LoRA adapters that a call loads while the model runs; default: none"
    )
    adapter_slots: Limit | None = Field(
        default=None,
        description="adapters in the GPU's memory at once, the others in main memory; default: all of them",
    )
    long_prompts: str | None = Field(
        default=None,
        description="the model that gets, under this one's name, what may not fit into maxTokens here",
        examples=["llama-8b-long"],
    )
    extra_args: tuple[str, ...] = Field(
        default=(), description="flags for the engine that no key here sets; some need a code owner"
    )
    extra_env: Mapping[EnvName, str] = Field(
        default_factory=dict, description="variables for the engine, never a secret; some need a code owner"
    )
    media_domains: tuple[MediaDomain, ...] = Field(
        default=(),
        description="hosts from which the engine may fetch images, audio or video that a request names by https "
        "address; default: none, a request brings its own",
        examples=["[images.example.com]"],
    )
    licence_accepted: StrictBool = Field(
        default=False, description="you have read the licence of a gated model and accepted it on its page"
    )
    allow_pickle: StrictBool = Field(
        default=False,
        description="its weights may be pickles, which can run code in the engine; on a claim or folder alone",
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
        """Return True if the revision is a commit; only a waiver allows anything else."""
        return is_commit(self.revision)

    @property
    def all_weights(self) -> tuple[ModelConfig | AdapterConfig, ...]:
        """Return what the store holds for it: its own weights and its adapters'."""
        return (self, *self.adapters.values())

    @property
    def known_parsers(self) -> tuple[str | None, str | None]:
        """Return the parsers of tool calls and of thoughts that the catalogue knows for the model."""
        entry = catalogue.preset(self.preset) if self.preset is not None else catalogue.of_model(self.id)
        return (entry.tool_calling, entry.reasoning) if entry is not None else (None, None)

    @property
    def parsers(self) -> tuple[str | None, str | None]:
        """Return the parsers of tool calls and of thoughts that the engine starts with; None: without."""
        tools, thoughts = self.known_parsers
        return self._parser(self.tool_calling, tools), self._parser(self.reasoning, thoughts)

    def _parser(self, setting: bool | str | None, known: str | None) -> str | None:
        if isinstance(setting, str):
            return setting
        enabled = self.preset is not None and self.task == "chat" if setting is None else setting
        return known if enabled else None

    @property
    def slots(self) -> int:
        """Return how many adapters are in the GPU's memory at once."""
        return self.adapter_slots or self.most_adapters

    @property
    def most_adapters(self) -> int:
        """Return how many adapters there may be at once, with those that a call loads; 0: none."""
        return len(self.adapters) + (self.hot_adapters.max if self.hot_adapters else 0)

    @property
    def adapter_rank(self) -> int:
        """Return the highest rank that one of its adapters may have, 0 without any."""
        hot = self.hot_adapters.max_rank if self.hot_adapters else 0
        return max(hot, *(adapter.rank for adapter in self.adapters.values()), 0)

    @property
    def windows(self) -> tuple[Window, ...]:
        """Return the windows in which it stays warm."""
        return tuple(schedule.window for schedule in self.schedules.values())

    @property
    def pools(self) -> tuple[str, ...]:
        """Return every pool it may run on, the first choice first."""
        return (self.pool, *self.fallback_pools)

    @property
    def replica_gpus(self) -> int:
        """Return the GPUs of one replica, over all its machines."""
        return self.nodes * self.gpus

    @property
    def split(self) -> tuple[int, int]:
        """Return the number of GPUs each layer is cut over, and the number of stages the layers are cut into."""
        return self.tensor_parallel or self.gpus, self.pipeline_parallel or self.nodes

    @property
    def names(self) -> tuple[str, ...]:
        """Return every name a request may use for this model."""
        return (self.name, *self.aliases)
