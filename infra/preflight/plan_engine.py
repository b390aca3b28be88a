"""The engine's settings, as far as memory depends on them, off a model of the stack file.

Defaults are the engine's own. Source: vLLM 0.32.0, engine/arg_utils.py, get_batch_defaults and
_set_default_max_num_seqs_and_batched_tokens_args; config/model.py, _resolve_auto_dtype.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from infra.config.engine_flags import flag_name
from infra.config.model import ModelConfig
from infra.preflight.memory import GIB, KV_ELEMENT_BYTES, Engine
from infra.preflight.model_facts import ELEMENT_BYTES, ModelFacts, WeightBytes

# flags that change what the memory holds in ways this plan does not follow
UNFOLLOWED = (
    *("--quantization", "-q", "--cpu-offload-gb", "--hf-overrides", "--kv-offloading-size", "--kv-cache-memory-bytes"),
    *(
        "--enable-expert-parallel",
        "--speculative-config",
        "--decode-context-parallel-size",
        "--num-gpu-blocks-override",
    ),
)


def batched_tokens(gpu_bytes: int, product: str | None, sequences: int, context: int) -> int:
    """Tokens one step computes unless told otherwise: by the card, and never more than all sequences have together."""
    if gpu_bytes >= 160 * GIB:
        by_card = 16384
    elif gpu_bytes >= 70 * GIB and "a100" not in (product or "").lower():
        by_card = 8192
    else:
        by_card = 2048
    return min(by_card, sequences * context)


def engine_of(model: ModelConfig, gpu_bytes: int, product: str | None) -> Engine:
    """What the pod's engine is started with on a card of ``gpu_bytes``."""
    given = flags(model.extra_args)
    default = batched_tokens(gpu_bytes, product, model.max_sequences, model.max_tokens)
    kv_dtype = given.get("--kv-cache-dtype", "auto")
    lora = "--enable-lora" in given
    return Engine(
        context=model.max_tokens,
        sequences=model.max_sequences,
        max_batched_tokens=_whole(given.get("--max-num-batched-tokens"), default),
        memory_share=model.gpu_memory_utilization,
        kv_dtype=kv_dtype if kv_dtype in KV_ELEMENT_BYTES else "auto",
        tensor_parallel=model.split[0],
        pipeline_parallel=model.split[1],
        steps_in_flight=1 + model.split[1],
        eager="--enforce-eager" in given,
        lora_rank=_whole(given.get("--max-lora-rank"), 16) if lora else 0,
        loras=_whole(given.get("--max-loras"), 1) if lora else 0,
    )


def unfollowed(model: ModelConfig) -> tuple[str, ...]:
    """Flags of the model after which this plan's memory is not to be relied on."""
    given = flags(model.extra_args)
    strange = given.get("--kv-cache-dtype", "auto") not in KV_ELEMENT_BYTES
    return (*(flag for flag in UNFOLLOWED if flag in given), *(("--kv-cache-dtype",) if strange else ()))


def flags(arguments: Iterable[str]) -> Mapping[str, str]:
    """``--flag=value`` and ``--flag value`` as a mapping; a flag without value maps to nothing."""
    found: dict[str, str] = {}
    last: str | None = None
    for argument in arguments:
        name = flag_name(argument)
        if name is None:
            if last is not None:
                found[last], last = argument.strip(), None
            continue
        for sign in ("=", " "):
            if sign in argument.strip():
                found[name], last = argument.strip().split(sign, 1)[1].strip(), None
                break
        else:
            found[name], last = "", name
    return found


def _whole(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdecimal() and 0 < int(text) < 10**8 else default


def as_loaded(facts: ModelFacts, dtype: str) -> ModelFacts:
    """The model as the engine holds it: in ``dtype``, and in 16 bits where the files have 32 and nothing is asked.
    What is quantized stays so."""
    if facts.quantization or facts.weights is None:
        return facts
    held = dtype if dtype != "auto" else "bfloat16" if facts.dtype == "float32" else facts.dtype
    before, after = ELEMENT_BYTES.get(facts.dtype or ""), ELEMENT_BYTES.get(held or "")
    if held == facts.dtype or not before or not after:
        return facts
    ratio, old = after / before, facts.weights
    sharded, kv, whole = (int(part * ratio) for part in (old.sharded, old.kv_sharded, old.replicated))
    weights = WeightBytes(sharded, kv, whole, old.source)
    return replace(facts, dtype=held, weights=weights)
