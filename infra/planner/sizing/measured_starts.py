"""Starts of the engine that were measured, beside the stack files: ``stacks/measured/*.yaml``.

``ebbtide fit --from-log`` records one from the engine's own log. Every command then plans the same model on the same
GPU, with the same settings, by it. A measured start moves a figure towards what was measured, never past it; a gate
sends a change of these files to a code owner, because nobody else can vouch for a measurement.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from components.catalog.engine_flags import engine_flags
from components.catalog.versions import numbers, pinned
from components.typed.refusal import Problem
from components.typed.rules.planner import RECORD_UNREADABLE
from infra.errors import UsageError
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.sizing import memory
from infra.planner.sizing.memory import GIB, GRAPH_BYTES_PER_LAYER, KV_ELEMENT_BYTES, Engine, MemoryPlan
from infra.planner.sizing.planned_pool import as_loaded, batched_tokens
from infra.stackfile import yaml_source

if TYPE_CHECKING:
    from infra.planner.sizing.start_log import StartLog

FOLDER = "measured"
"""Folder beside the stack files."""

GRAPHS_WITHIN_SHARE = (0, 21)
"""First version whose share of the card has CUDA graphs in it: before, they came on top."""
_DEFAULT_SEQUENCES = ((70 * GIB, 1024), (0, 256))  # by memory; Source: vLLM 0.32.0, engine/arg_utils.py
_CARD_OFF, _PLAN_OFF = 0.03, 0.25  # shares of the card: further off is another GPU, or another model
# settings that a start shares with those that it is used for; fewer sequences and tokens in a step are let be
_ALIKE = (
    *("tensor_parallel", "pipeline_parallel", "kv_dtype", "eager", "lora_rank", "loras"),
    *("expert_parallel", "text_only"),
)
_RECORDED_FIGURES = (
    "weights_gib",
    "kv_gib",
    "activation_gib",
    "non_torch_gib",
    "graph_gib",
    "kv_tokens",
    "concurrency",
)
_Count = Annotated[int, Field(ge=0, lt=10**8)]
_Bytes = Annotated[int, Field(gt=0, lt=10**14)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Settings(_Model):
    """Settings of the engine that decide what it takes."""

    dtype: str | None = Field(pattern=r"^[a-z0-9_]{1,20}$")
    tensor_parallel: _Count
    pipeline_parallel: _Count
    sequences: _Count
    max_batched_tokens: _Count
    kv_dtype: str = Field(pattern=r"^[a-z0-9_]{1,20}$")
    eager: bool
    lora_rank: _Count
    loras: _Count
    expert_parallel: bool
    text_only: bool


class Start(_Model):
    """One start. ``taken_bytes`` is all of one GPU's share that the KV cache did not get. ``measured`` and ``planned``
    (GiB of one GPU, numbers of tokens) are for people: what the log and the plan of that day said."""

    date: datetime.date
    engine: str = Field(pattern=r"^\d{1,4}\.\d{1,4}(\.\d{1,4})?$")
    settings: Settings
    taken_bytes: _Bytes
    measured: Mapping[str, float] = Field(default_factory=dict)
    planned: Mapping[str, float] = Field(default_factory=dict)

    @property
    def source(self) -> str:
        """Return when and with what it was measured, as a plan says it."""
        other = "" if self.engine == pinned("vllm").version else f", not with the pinned {pinned('vllm').version}"
        return f"measured on {self.date.isoformat()} with vLLM {self.engine}{other}"


class MeasuredModel(_Model):
    """One file: the starts of one model on one GPU."""

    model: str
    gpu: str
    starts: tuple[Start, ...]


@dataclass(frozen=True)
class MeasuredStarts:
    """Starts by model and GPU, both in lower case, and the problems with the files."""

    by_model_and_gpu: Mapping[tuple[str, str], tuple[Start, ...]]
    problems: tuple[Problem, ...] = ()

    def find(self, model_id: str, product: str | None) -> tuple[Start, ...]:
        """Return the starts of a model on a GPU."""
        return self.by_model_and_gpu.get((model_id.lower(), (product or "").lower()), ())


NONE = MeasuredStarts({})


def read(stacks: Path) -> MeasuredStarts:
    """Read the starts recorded beside the stack files in ``stacks``."""
    by_model_and_gpu: dict[tuple[str, str], tuple[Start, ...]] = {}
    problems: list[Problem] = []
    for file in sorted((stacks / FOLDER).glob("*.yaml")):
        try:
            one = _read(file)
        except (ValueError, TypeError, OverflowError, RecursionError, yaml_source.Unreadable) as error:
            why = f": it {error}" if isinstance(error, yaml_source.Unreadable) else ""
            message = f"of {FOLDER}/{file.name} cannot be read{why}"
            allowed, fix = "a file as ebbtide fit --from-log writes it", "measure anew, or delete the file"
            problems.append(RECORD_UNREADABLE.at(("models",), message, allowed=allowed, fix=fix))
            continue
        key = (one.model.lower(), one.gpu.lower())
        by_model_and_gpu[key] = (*by_model_and_gpu.get(key, ()), *one.starts)
    return MeasuredStarts(by_model_and_gpu, tuple(problems))


def _read(file: Path) -> MeasuredModel:
    return MeasuredModel.model_validate(yaml_source.read(file, "measured starts").value)


def plan(facts: ModelFacts, gpu_bytes: int, engine: Engine, starts: Iterable[Start] = ()) -> MemoryPlan:
    """Plan the memory of one GPU, by the start that is nearest to what is asked for, if any can be used: the newest of
    the same settings and version, else of the same settings, else any. Raises ``ValueError`` as ``memory.plan``."""
    planned = memory.plan(facts, gpu_bytes, engine)
    near = [
        (start, non_cache)
        for start in starts
        if (non_cache := _non_cache(start, facts, gpu_bytes, engine, planned.non_cache))
    ]
    if not near:
        return planned
    version = pinned("vllm").version
    settings = _settings(facts, engine)
    start, non_cache = max(
        near, key=lambda each: (each[0].settings == settings, each[0].engine == version, each[0].date)
    )
    return memory.plan(facts, gpu_bytes, engine, non_cache - planned.non_cache, start.source)


def _non_cache(start: Start, facts: ModelFacts, gpu_bytes: int, engine: Engine, planned: int) -> int | None:
    """Return what is taken by the measured start; None where it says nothing of these settings.

    For what the start did, or less: the plan, and what the start took more than its own plan, at most what it took. For
    more than it did: at least what it took.
    """
    settings, started = _settings(facts, engine), start.settings
    if settings.dtype != started.dtype or any(getattr(settings, name) != getattr(started, name) for name in _ALIKE):
        return None
    there = memory.plan(facts, gpu_bytes, _engine(started, engine)).non_cache
    fewer = (started.sequences - settings.sequences, started.max_batched_tokens - settings.max_batched_tokens)
    if min(fewer) >= 0:
        return min(start.taken_bytes, planned + max(0, start.taken_bytes - there))
    return max(start.taken_bytes, planned) if max(fewer) <= 0 else None


def _settings(facts: ModelFacts, engine: Engine) -> Settings:
    known = {each.name for each in fields(Engine)} & Settings.model_fields.keys()
    return Settings(dtype=facts.dtype, **{name: value for name, value in asdict(engine).items() if name in known})


def _engine(settings: Settings, engine: Engine) -> Engine:
    return replace(engine, **settings.model_dump(exclude={"dtype"}))


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A start as a log says it: the model as it was loaded, the engine's settings, and the record of it."""

    facts: ModelFacts
    engine: Engine
    start: Start


def measurement(
    log: StartLog, facts: ModelFacts, product: str, gpu_bytes: int, *, share: float | None, today: datetime.date
) -> Measurement:
    """Compare a log with the plan. ``share`` is the share of the GPU where the log does not say it. Raises
    ``UsageError`` where the log is of another model or GPU, or says too little; its text repeats nothing of the log."""
    if not log.names(facts.id):
        raise _no(f"does not name {facts.id}", "a start of the same model", "give the log of this model's engine")
    if log.version is None:
        raise _no("does not say the engine's version", "a log from its first line on", "give the whole log")
    card = log.figures.get("card_gib")
    if card is not None and abs(card * GIB - gpu_bytes) > _CARD_OFF * gpu_bytes:
        message = f"is of a GPU with {card:.2f} GiB, and {product} gives {gpu_bytes / GIB:.2f}"
        raise _no(message, "a log of the same GPU", "name the GPU of the log with --gpu")
    _refuse_unfollowed(log)
    held = as_loaded(facts, log.words.get("dtype", "auto"))
    engine = _started(log, product, gpu_bytes, share)
    planned = memory.plan(held, gpu_bytes, engine)
    non_cache = planned.usable - int(log.figures["kv_gib"] * GIB)
    if numbers(log.version)[:2] < GRAPHS_WITHIN_SHARE and not engine.eager:
        graphs = log.figures.get("graph_gib")
        non_cache += max(0, int(graphs * GIB)) if graphs is not None else held.layers * GRAPH_BYTES_PER_LAYER
    if non_cache <= 0 or abs(non_cache - planned.non_cache) > _PLAN_OFF * gpu_bytes:
        message = f"is too far from the plan of {facts.id} on {engine.tensor_parallel} × {product}"
        raise _no(message, "a log of this model and GPU", "check --gpu and the model, or give the log's own")
    start = Start(
        date=today,
        engine=log.version,
        settings=_settings(held, engine),
        taken_bytes=non_cache,
        measured={to_camel(name): round(log.figures[name], 2) for name in _RECORDED_FIGURES if name in log.figures},
        planned=_planned(planned),
    )
    return Measurement(facts=held, engine=engine, start=start)


def _planned(plan: MemoryPlan) -> dict[str, float]:
    gib = {"weights": plan.weights, "kv": plan.kv_free, "activation": plan.activations, "other": plan.overhead}
    figures = {f"{name}Gib": round(value / GIB, 2) for name, value in gib.items()}
    return {**figures, "kvTokens": plan.kv_tokens, "concurrency": round(min(plan.sequences, 1e9), 2)}


def unmeasured(flags: Iterable[str]) -> list[str]:
    """Return the flags, of those that the pinned engine has, whose memory a recorded start says nothing of."""
    known = engine_flags()
    return sorted({flag for flag in flags if flag in known.kinds} - known.measured)


def _refuse_unfollowed(log: StartLog) -> None:
    had = unmeasured(f"--{name.replace('_', '-')}" for name in log.arguments or ())
    strange = log.words.get("kv_dtype", "auto") not in KV_ELEMENT_BYTES
    if had or strange:
        named = ", ".join([*had, *(["--kv-cache-dtype"] if strange else [])])
        message = f"is of a start with {named}, whose memory no later plan follows"
        raise _no(message, "a start without", "measure one without, or rely on that log alone")


def _started(log: StartLog, product: str, gpu_bytes: int, share: float | None) -> Engine:
    """Return the settings of the engine in the log."""
    share = share if share is not None else log.figures.get("memory_share")
    if share is None or not 0 < share <= 1:
        raise _no("does not say the share of the GPU", "a log from its first line on", "give --memory-share")
    if log.arguments is None and "sequences" not in log.figures:
        raise _no("lacks the line of its arguments", "a log from its first line on", "give the whole log")
    context = log.whole("context", 0)
    if not context or "tensor_parallel" not in log.figures:
        raise _no("does not say context and GPUs", "a log from its first line on", "give the whole log")
    small = "a100" in product.lower()
    default = next(count for least, count in _DEFAULT_SEQUENCES if gpu_bytes >= least and not (least and small))
    sequences = log.whole("sequences", default)
    lora, stages = "enable_lora" in log.switches, log.whole("pipeline_parallel", 1)
    return Engine(
        context=context,
        sequences=sequences,
        max_batched_tokens=log.whole("batched_tokens", batched_tokens(gpu_bytes, product, sequences, context)),
        memory_share=share,
        kv_dtype=log.words.get("kv_dtype", "auto"),
        tensor_parallel=max(1, log.whole("tensor_parallel", 1)),
        pipeline_parallel=max(1, stages),
        steps_in_flight=1 + max(1, stages),
        eager="enforce_eager" in log.switches,
        lora_rank=log.whole("lora_rank", 16) if lora else 0,
        loras=log.whole("loras", 1) if lora else 0,
        expert_parallel="enable_expert_parallel" in log.switches,
        text_only=bool(log.switches & {"language_model_only", "skip_mm_profiling"}),
    )


def _no(message: str, allowed: str, fix: str) -> UsageError:
    return UsageError(f"--from-log: the log {message}; allowed: {allowed}; fix: {fix}")


def file_of(stacks: Path, model_id: str, product: str) -> Path:
    """Return the file for the starts of a model on a GPU."""
    return stacks / FOLDER / (re.sub(r"[^a-z0-9.-]+", "-", f"{model_id}-{product}".lower()) + ".yaml")


def document(file: Path, model_id: str, product: str, start: Start) -> str:
    """Return the text of ``file`` with ``start`` in it, in place of one with the same settings and version. Raises
    ``UsageError`` where the file cannot be read."""
    earlier: Sequence[Start] = ()
    if file.exists():
        try:
            earlier = _read(file).starts
        except (ValueError, TypeError, OverflowError, RecursionError, yaml_source.Unreadable) as error:
            fix = "delete it, or mend it"
            raise UsageError(f"{FOLDER}/{file.name} cannot be read; allowed: measured starts; fix: {fix}") from error
    starts = (*(each for each in earlier if (each.settings, each.engine) != (start.settings, start.engine)), start)
    whole = MeasuredModel(model=model_id, gpu=product, starts=starts)
    content: dict[str, Any] = whole.model_dump(by_alias=True)
    return yaml.safe_dump(content | {"starts": list(content["starts"])}, sort_keys=False, allow_unicode=True, width=110)
