"""Compatibility of a model's numbers with a GPU: its capability, its driver, number types, quantization. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path as FilePath

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from components.catalog import cuda as drivers
from components.typed.refusal import Path, Problem
from components.typed.rules.planner import (
    CARD_TOO_OLD,
    FLOAT16_UNSTABLE,
    KV_CACHE_TYPE_UNSUPPORTED,
    QUANTIZATION_DOES_NOT_SPLIT,
    QUANTIZATION_NEEDS_NEWER_CARD,
    QUANTIZATION_UNSUPPORTED,
)
from components.typed.rules.stack import BFLOAT16_UNSUPPORTED, DRIVER_TOO_OLD, FP8_EMULATED, QUANTIZATION_REFUSED
from components.typed.tables import read_table
from infra.planner.facts.config_json import dtype_in
from infra.planner.facts.model_facts import ModelFacts

_FILE = FilePath(__file__).with_name("quantization.yaml")
Capability = tuple[int, int]

LEAST: Capability = (7, 0)
LEAST_OF_CUDA_13: Capability = (7, 5)  # Source: CUDA Toolkit 13.0 Release Notes, deprecated architectures
BFLOAT16: Capability = (8, 0)
FP8_LATENT: Capability = (8, 9)
# Unstable in float16: the engine refuses it. Source: vLLM 0.32.0, config/model.py, _FLOAT16_NOT_SUPPORTED_MODELS
NO_FLOAT16 = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4"})


@dataclass(frozen=True)
class Gpu:
    """GPU of a node. ``driver`` is the node's (``580.65.06``), ``cuda`` what the image is built for (``13.0``); None is
    unknown, and then nothing is judged by it."""

    name: str
    capability: Capability | None
    driver: str | None = None
    cuda: str | None = None


class _Removed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    until: str
    plugin: str | None = None


class OnLoad(BaseModel):
    """What one method makes of a model while it is loaded: bytes a weight, None where it leaves them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    linear: float | None
    experts: float | None
    least: str
    block: int | None = None


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    read_on: object
    engine: str
    source: list[str] = Field(min_length=1)
    methods: Mapping[str, str]
    removed: Mapping[str, _Removed]
    fp8_hardware: str
    on_load: Mapping[str, OnLoad]


@cache
def table() -> _Table:
    """Return the table in ``quantization.yaml``."""
    return _Table.model_validate(read_table(_FILE))


def capability(text: str) -> Capability:
    """Parse ``8.9`` into ``(8, 9)``."""
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def _shown(level: Capability) -> str:
    return f"{level[0]}.{level[1]}"


def judge_gpu(
    facts: ModelFacts, gpu: Gpu, dtype: str, plugins: frozenset[str], tensor_parallel: int, at: Path
) -> Iterator[Problem]:
    """Yield what keeps the model from the GPU. ``dtype`` is what the stack asks for (``auto`` too); ``plugins`` are the
    engine's plugins in the image."""
    yield from _driver(gpu, at)
    yield from _method(facts, plugins, tensor_parallel, at)
    if gpu.capability is None:
        return
    least = LEAST_OF_CUDA_13 if gpu.cuda and drivers.parts(gpu.cuda)[0] >= 13 else LEAST
    if gpu.capability < least:
        reason = f"has compute capability {_shown(gpu.capability)}, and the engine's image has no code for it"
        yield CARD_TOO_OLD.at(
            (*at, "pool"), reason, allowed=f"{_shown(least)} or more", fix="use a pool with newer cards", value=gpu.name
        )
        return
    yield from _number_type(facts, gpu.name, gpu.capability, dtype, at)
    yield from _needed(facts, gpu.name, gpu.capability, at)


def _driver(gpu: Gpu, at: Path) -> Iterator[Problem]:
    if gpu.driver is None or gpu.cuda is None or drivers.runs_on(gpu.cuda, gpu.driver) is not False:
        return
    least = drivers.least_driver(gpu.cuda)
    message = f"is too old for the engine's image, which is built for CUDA {gpu.cuda}"
    fix = "use a node image with a newer driver, or an engine image for an older CUDA"
    yield DRIVER_TOO_OLD.at((*at, "pool"), message, allowed=f"driver {least} or newer", fix=fix, value=gpu.driver)


def _number_type(facts: ModelFacts, gpu: str, level: Capability, dtype: str, at: Path) -> Iterator[Problem]:
    family = str(facts.raw.get("model_type", ""))
    used = (facts.dtype or "bfloat16") if dtype == "auto" else dtype
    if dtype == "auto" and level < BFLOAT16 and dtype_in(facts.raw) == "float32" and family not in NO_FLOAT16:
        return  # for a model in 32 bits the engine takes either 16-bit type
    if used == "float16" and family in NO_FLOAT16:
        fix = "leave dtype out" if level >= BFLOAT16 else "use a pool with cards of compute capability 8.0 or more"
        message = f"is not stable for {family} models, and the engine refuses it"
        yield FLOAT16_UNSTABLE.at((*at, "dtype"), message, allowed="bfloat16 or float32", fix=fix, value=used)
    elif used == "bfloat16" and level < BFLOAT16:
        stable = family not in NO_FLOAT16
        fix = "set dtype: float16" if stable else "use a pool with cards of compute capability 8.0 or more"
        says = "is what the model is in, and" if dtype == "auto" else "is asked for, but"
        message = f"{says} {gpu} (compute capability {_shown(level)}) cannot compute it"
        allowed = "float16 here, bfloat16 from 8.0 on" if stable else "bfloat16, from compute capability 8.0 on"
        yield BFLOAT16_UNSUPPORTED.at((*at, "dtype"), message, allowed=allowed, fix=fix, value=used)


def judge_cache(facts: ModelFacts, gpu: Gpu, kv_dtype: str, at: Path) -> Iterator[Problem]:
    """Check that one of the engine's attention kernels keeps a cache of ``kv_dtype`` on this card. Source: vLLM 0.32.0,
    v1/attention/backends: below 8.9 only FlashInfer's has FP8, from 8.0 on and not for a latent cache, and no kernel
    keeps a latent cache in fp8_e5m2."""
    if kv_dtype == "auto" or gpu.capability is None or not facts.kv:
        return
    latent, float8 = any(not group.divides for group in facts.kv), kv_dtype.startswith("fp8")
    path, allowed = (*at, "extraArgs"), "auto, or a type the card's kernels have"
    if latent and kv_dtype == "fp8_e5m2":
        message = "is a cache type that no kernel of the engine has for latent attention"
        yield KV_CACHE_TYPE_UNSUPPORTED.at(
            path, message, allowed="auto, fp8", fix="take fp8, or leave --kv-cache-dtype out", value=kv_dtype
        )
        return
    least = FP8_LATENT if float8 and latent else BFLOAT16 if float8 or kv_dtype == "bfloat16" else LEAST
    if gpu.capability < least:
        kind = "a latent cache" if latent else "a cache"
        card = f"{gpu.name} (compute capability {_shown(gpu.capability)})"
        message = f"is asked for, and the engine has no kernel that keeps {kind} so on {card}"
        fix = f"leave --kv-cache-dtype out, or use cards of compute capability {_shown(least)} or more"
        yield KV_CACHE_TYPE_UNSUPPORTED.at(path, message, allowed=allowed, fix=fix, value=kv_dtype)


def _method(facts: ModelFacts, plugins: frozenset[str], tensor_parallel: int, at: Path) -> Iterator[Problem]:
    """Check that the engine loads the quantization at all, and over that many GPUs."""
    method = facts.quantization
    if method is None or method in table().methods:
        return
    removed = table().removed.get(method)
    known = "AWQ, GPTQ, FP8, compressed-tensors or MXFP4"
    if removed is None:
        message = f"is quantized with {method}, which vLLM {table().engine} does not load"
        yield QUANTIZATION_UNSUPPORTED.at(
            (*at, "id"), message, allowed=known, fix="use a build of the model in one of these", value=facts.id
        )
    elif removed.plugin is None or removed.plugin not in plugins:
        message = f"is quantized with {method}, which vLLM had until {removed.until}"
        fix = "use a build of the model in one of these"
        if removed.plugin is not None:
            message += f" and has as the plugin {removed.plugin} since, which the image lacks"
            fix += f", or add {removed.plugin} to the image's packages"
        yield QUANTIZATION_UNSUPPORTED.at((*at, "id"), message, allowed=known, fix=fix, value=facts.id)
    elif method == "bitsandbytes" and tensor_parallel > 1:
        message = "cannot be split over GPUs: the model is quantized with bitsandbytes beforehand"
        yield QUANTIZATION_DOES_NOT_SPLIT.at(
            (*at, "gpus"),
            message,
            allowed="1",
            fix="set gpus: 1, or use an AWQ, GPTQ or FP8 build",
            value=tensor_parallel,
        )


def _needed(facts: ModelFacts, gpu: str, level: Capability, at: Path) -> Iterator[Problem]:
    """Check that this card has what the quantization method needs."""
    method = facts.quantization
    text = table().methods.get(method or "")
    if method is None or text is None:
        return
    if level < capability(text):
        message = f"is quantized with {method}, which {gpu} (compute capability {_shown(level)}) cannot compute"
        fix = "use a pool with newer cards, or another build of the model"
        yield QUANTIZATION_NEEDS_NEWER_CARD.at(
            (*at, "id"), message, allowed=f"compute capability {text} or more", fix=fix, value=facts.id
        )
    elif method in ("fp8", "fbgemm_fp8", "modelopt") and level < capability(table().fp8_hardware):
        card = f"{gpu} (compute capability {_shown(level)})"
        message = f"is in FP8, which {card} keeps but computes in 16 bits: smaller, not faster"
        fix = "use cards from Ada or Hopper on for the speed, or leave it for the memory alone"
        allowed = f"compute capability {table().fp8_hardware} or more for FP8 computation"
        yield FP8_EMULATED.at((*at, "id"), message, allowed=allowed, fix=fix, value=facts.id)


def judge_on_load(facts: ModelFacts, gpu: Gpu | None, method: str | None, dtype: str, at: Path) -> Iterator[Problem]:
    """Check that the engine can quantize the model by ``method`` while it loads it; ``gpu`` None is a CPU."""
    if method is None:
        return
    path, on_load = (*at, "quantization"), table().on_load[method]
    why, fix, allowed = "", "take it out", "a model in 16 bits"
    if facts.quantization is not None:
        why = f"is made of 16 bits, and {facts.id} comes quantized already, with {facts.quantization}"
    elif gpu is None:
        why, allowed = "is made on GPUs, and the pool computes on a CPU", "a pool with GPUs"
    elif on_load.linear is None and not facts.experts_per_token:
        why = f"is for experts alone, and {facts.id} has none: nothing would get smaller"
        fix, allowed = "use fp8_per_tensor, or take it out", "a model with experts"
    elif dtype == "float32":
        why, fix = "computes in 16 bits, and dtype is float32", "take one of the two out"
    if why:
        yield QUANTIZATION_REFUSED.at(path, why, allowed=allowed, fix=fix, value=method)
    elif gpu is not None and gpu.capability is not None and gpu.capability < capability(on_load.least):
        message = f"is what {gpu.name} (compute capability {_shown(gpu.capability)}) cannot compute"
        yield QUANTIZATION_NEEDS_NEWER_CARD.at(
            path,
            message,
            allowed=f"compute capability {on_load.least} or more",
            fix="use a pool with newer cards, or another method",
            value=method,
        )
