"""A pool as the planner sees it: how many GPUs a node offers, their memory, and what they can compute."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from components.catalog.engine_flags import parse
from components.catalog.gpus import gpus
from components.catalog.machine import Machine
from components.catalog.versions import pinned
from components.gpu_layer.node_images import resolve_image
from components.model_service.arguments import STREAMER_LIMIT
from components.model_service.lora_adapters import room_for
from infra.planner.facts import estimate_weights
from infra.planner.facts.config_json import context_of, text_part
from infra.planner.facts.model_facts import ELEMENT_BYTES, ModelFacts, WeightBytes
from infra.planner.sizing.compatibility_gpu import Gpu, capability, table
from infra.planner.sizing.memory import GIB, KV_ELEMENT_BYTES, Engine
from infra.stackfile.pool_machine import find
from infra.stackfile.pool_request import pool_request
from infra.stackfile.schema.model import ModelConfig
from infra.stackfile.schema.pool import PoolConfig


@dataclass(frozen=True)
class PoolPlan:
    """Plan of one pool. ``gpus_per_node`` and ``gpu_bytes`` count what a pod gets: a card, or a slice of one. None is
    unknown. ``sharers`` is how many pods share one card by time slices; ``turns`` how many engines take turns on it,
    and ``asleep_bytes`` what the sleeping ones keep of it. ``gpu`` is None where the engine computes on the CPU."""

    name: str
    machine: Machine | None
    product: str | None
    gpus_per_node: int
    gpu_bytes: int | None
    min: int
    max: int
    capacity: str
    zones: tuple[str, ...]
    device: str
    gpu: Gpu | None
    slice: str | None = None
    sharers: int = 1
    turns: int = 0
    asleep_bytes: int = 0

    @property
    def description(self) -> str:
        """Return ``g5.8xlarge · 1 × A10G, 22.4 GiB``."""
        memory = f", {self.gpu_bytes / GIB:.1f} GiB" if self.gpu_bytes else ", memory unknown"
        cards = (
            f"{self.gpus_per_node} × {self.product or 'GPU of unknown make'}{f' {self.slice}' if self.slice else ''}"
        )
        return (f"{self.machine.name} · " if self.machine else "") + cards + ("" if self.device == "cpu" else memory)


def pool_plan(pool: PoolConfig, cuda: str | None = None, judge_driver: bool = True) -> PoolPlan:
    """Build the plan of a pool from the stack file and the catalogue. ``judge_driver`` False: the stack file's own
    rules compare the node's driver with the image."""
    request = pool_request(pool)
    machine = find(pool.place, pool.machine)
    product = machine.gpu if machine else pool.gpu.product
    profile = request.sharing.profile if request.sharing and request.sharing.kind == "mig" else None
    turns = pool.sharing.turns if pool.sharing else None
    sliced = request.sharing if request.sharing and request.sharing.kind == "timeSlicing" and not turns else None
    return PoolPlan(
        name=pool.name,
        machine=machine,
        product=product,
        gpus_per_node=request.pool.gpus_per_node,
        gpu_bytes=_slice_bytes(profile) or _card_bytes(pool, machine, product),
        min=pool.min,
        max=pool.max,
        capacity=pool.capacity,
        zones=pool.zones,
        device=pool.device,
        gpu=None if pool.device == "cpu" else _gpu(pool, machine, product, cuda, judge_driver),
        slice=profile,
        sharers=sliced.replicas if sliced else 1,
        turns=turns.models if turns else 0,
        asleep_bytes=(turns.models - 1) * turns.left.bytes if turns else 0,
    )


def _card_bytes(pool: PoolConfig, machine: Machine | None, product: str | None) -> int | None:
    """Return what CUDA gives a program of one card: the stack file's own figure where it is less than the product's."""
    if machine is not None:
        return int(machine.cuda_memory_gib * GIB)
    known, own = gpus().get(product or ""), pool.gpu.memory
    sizes = [int(known.usable_gib * GIB)] if known else []
    return min([*sizes, *([own.bytes] if own is not None else [])], default=None)


def _slice_bytes(profile: str | None) -> int | None:
    """Return the bytes of a MIG profile: a twentieth less than its name says. Source: NVIDIA's mig-parted, pull request
    101 (1g.12gb of an H100 NVL has 10.75 GiB, 2g.24gb 21.62)."""
    match = re.match(r"[1-7]g\.([0-9]+)gb", profile or "")
    return int(match[1]) * 95 * 10**7 if match else None


def _gpu(pool: PoolConfig, machine: Machine | None, product: str | None, cuda: str | None, judge_driver: bool) -> Gpu:
    known = gpus().get(product or "")
    text = machine.compute_capability if machine else known.compute_capability if known else None
    image = resolve_image(pool.place, pool.node_image) if judge_driver else None
    vgpu = machine is not None and machine.vgpu
    driver = image.drivers.get("grid" if vgpu else "cuda") if image else None
    return Gpu(product or "a GPU of unknown make", capability(text) if text else None, driver, cuda)


def engine_cuda(base: str | None) -> str | None:
    """Return the CUDA version the engine's image is built for; None where the stack brings its own image."""
    return pinned("vllm").cuda if base is None else None


# The engine's settings, as far as memory depends on them, from a model of the stack file.
#
# Defaults are the engine's own. Source: vLLM 0.32.0, engine/arg_utils.py, get_batch_defaults and
# _set_default_max_num_seqs_and_batched_tokens_args; config/model.py, _resolve_auto_dtype.

# flags that change what the memory holds in ways this plan does not follow
UNFOLLOWED = (
    *("--quantization", "--quantization-config", "--cpu-offload-gb", "--hf-overrides", "--kv-offloading-size"),
    *(
        "--kv-cache-memory-bytes",
        "--speculative-config",
        "--decode-context-parallel-size",
        "--num-gpu-blocks-override",
    ),
)


def batched_tokens(gpu_bytes: int, product: str | None, sequences: int, context: int) -> int:
    """Return the tokens one step computes by default: by the card, and never more than all sequences have together."""
    if gpu_bytes >= 160 * GIB:
        by_card = 16384
    elif gpu_bytes >= 70 * GIB and "a100" not in (product or "").lower():
        by_card = 8192
    else:
        by_card = 2048
    return min(by_card, sequences * context)


def engine_of(model: ModelConfig, gpu_bytes: int, product: str | None) -> Engine:
    """Return the settings the pod's engine starts with on a card of ``gpu_bytes``."""
    engine_flags = flags(model.extra_args)
    default = batched_tokens(gpu_bytes, product, model.max_sequences, model.max_tokens)
    kv_dtype = engine_flags.get("--kv-cache-dtype", "auto")
    lora = "--enable-lora" in engine_flags
    rank, slots = (room_for(model.adapter_rank), model.slots) if model.most_adapters else (0, 0)
    return Engine(
        context=model.max_tokens,
        sequences=model.max_sequences,
        max_batched_tokens=_whole(engine_flags.get("--max-num-batched-tokens"), default),
        memory_share=model.gpu_memory_utilization,
        kv_dtype=kv_dtype if kv_dtype in KV_ELEMENT_BYTES else "auto",
        tensor_parallel=model.split[0],
        pipeline_parallel=model.split[1],
        steps_in_flight=1 + model.split[1],
        eager="--enforce-eager" in engine_flags,
        lora_rank=_whole(engine_flags.get("--max-lora-rank"), 16) if lora else rank,
        loras=_whole(engine_flags.get("--max-loras"), 1) if lora else slots,
        expert_parallel="--enable-expert-parallel" in engine_flags,
        text_only="--language-model-only" in engine_flags or "--skip-mm-profiling" in engine_flags,
    )


def unfollowed(model: ModelConfig) -> tuple[str, ...]:
    """Return the model's flags that make this plan's memory unreliable."""
    engine_flags = flags(model.extra_args)
    strange = engine_flags.get("--kv-cache-dtype", "auto") not in KV_ELEMENT_BYTES
    return (*(flag for flag in UNFOLLOWED if flag in engine_flags), *(("--kv-cache-dtype",) if strange else ()))


def flags(arguments: Iterable[str]) -> Mapping[str, str]:
    """Return the flags as the engine reads them, by their full names, each with its last value; a flag without a value,
    or one part of a JSON value, maps to an empty text."""
    parsed = parse(list(arguments))[0]
    return {
        each.flag: each.values[-1].strip() if each.values and each.key is None else ""
        for each in parsed
        if not each.off
    }


LOADER = "--model-loader-extra-config"


def streamer_bytes(model: ModelConfig) -> int | None:
    """Return the buffer that the model's own settings give the weights' streamer beside each GPU; None: none, and the
    product does. An unlimited one counts as the most there is."""
    limit: str | None = model.extra_env.get(STREAMER_LIMIT)
    for each in parse(model.extra_args)[0]:
        if each.flag == LOADER and each.values:
            limit = each.values[-1] if each.key == "memory_limit" else _memory_limit(each.values[-1]) or limit
    if limit is None or not re.fullmatch(r"-1|[0-9]{1,13}", limit):
        return None
    return int(limit) if limit != "-1" else 10**13


def _memory_limit(text: str) -> str | None:
    try:
        read = json.loads(text)
    except ValueError:
        return None
    return str(read["memory_limit"]) if isinstance(read, dict) and "memory_limit" in read else None


def _whole(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdecimal() and 0 < int(text) < 10**8 else default


def overridden_context(facts: ModelFacts, model: ModelConfig) -> int | None:
    """Return the longest request that the engine allows with the model's ``--hf-overrides``; None without them, or
    where they leave it as it is.

    YaRN's own length counts where the variable allows it: the engine takes the positions of the configuration for
    scaled already. Source: vLLM 0.32.0, config/model.py, _get_and_verify_max_len.
    """
    try:
        overrides = json.loads(flags(model.extra_args).get("--hf-overrides", ""))
        merged = {**text_part(facts.raw), **overrides.get("text_config", {}), **overrides}
        longest = context_of(merged) or 0
    except (ValueError, AttributeError, TypeError):
        return None
    scaling = merged.get("rope_parameters") or merged.get("rope_scaling")
    if model.extra_env.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") == "1" and isinstance(scaling, dict):
        base, factor = scaling.get("original_max_position_embeddings"), scaling.get("factor")
        if isinstance(base, int) and isinstance(factor, (int, float)):
            longest = max(longest, int(base * factor))
    return longest if facts.context and longest > facts.context else None


def quantized_on_load(facts: ModelFacts, method: str | None) -> ModelFacts:
    """Return the model as the engine holds it once it has quantized it by ``method`` while loading. One that comes
    quantized stays as it is: that is refused elsewhere."""
    if method is None or facts.quantization or facts.weights is None or not facts.layers:
        return facts
    on_load = table().on_load[method]
    weights = estimate_weights.quantized_on_load(facts.weights, facts.raw, facts.dtype, on_load.linear, on_load.experts)
    return replace(facts, weights=weights)


def as_loaded(facts: ModelFacts, dtype: str) -> ModelFacts:
    """Return the model as the engine holds it: in ``dtype``, or in 16 bits where the files have 32 and no type is asked
    for. A quantized model stays as it is."""
    if facts.quantization or facts.weights is None:
        return facts
    held = dtype if dtype != "auto" else "bfloat16" if facts.dtype == "float32" else facts.dtype
    before, after = ELEMENT_BYTES.get(facts.dtype or ""), ELEMENT_BYTES.get(held or "")
    if held == facts.dtype or not before or not after:
        return facts
    ratio, old = after / before, facts.weights
    sharded, kv, whole = (int(part * ratio) for part in (old.sharded, old.kv_sharded, old.replicated))
    weights = WeightBytes(sharded, kv, whole, old.source, old.padded)
    return replace(facts, dtype=held, weights=weights)
