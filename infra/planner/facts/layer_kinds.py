"""Kinds of a decoder's layers: those that attend, and those with a fixed-size state instead of a growing cache. Pure.

Hybrid families each use another name. Source: transformers 5.19 and vLLM 0.32.0, each family's configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ATTENTION, STATE, NEITHER = "full_attention", "mamba", "mlp"
# settings that only layers with such a state have
_STATE_KEYS = (
    *("ssm_state_size", "mamba_d_state", "mamba_d_ssm", "state_size", "linear_conv_kernel_dim", "conv_L_cache"),
    *("linear_attn_config", "lru_width"),
)
# Families whose layers this planner reads as the engine does. Any other counts with every layer as full attention.
FAMILIES = frozenset(
    {
        *(
            "arcee",
            "aya_vision",
            "bloom",
            "cohere",
            "cohere2",
            "deepseek",
            "deepseek_v2",
            "deepseek_v3",
            "deepseek_v32",
        ),
        *("deepseek_vl_v2", "ernie4_5", "ernie4_5_moe", "exaone", "exaone4", "falcon", "gemma", "gemma2", "gemma3"),
        *("gemma3_text", "gemma3n", "gemma4", "glm", "glm4", "glm4_moe", "gpt2", "gpt_bigcode", "gpt_neox", "gpt_oss"),
        *(
            "gptj",
            "granite",
            "granitemoe",
            "granite_moe",
            "idefics3",
            "internlm2",
            "internlm3",
            "internvl_chat",
            "kimi_k2",
        ),
        *("llama", "llava", "llava_next", "ministral", "mistral", "mistral3", "mixtral", "mllama", "mpt", "nemotron"),
        *("olmo", "olmo2", "olmo3", "olmoe", "opt", "paligemma", "phi", "phi3", "phi3_v", "phimoe", "pixtral", "qwen2"),
        *("qwen2_5_vl", "qwen2_audio", "qwen2_moe", "qwen2_vl", "qwen3", "qwen3_5", "qwen3_5_moe", "qwen3_moe"),
        *("qwen3_next", "qwen3_omni_moe", "qwen3_vl", "qwen3_vl_moe", "seed_oss", "smollm3", "smolvlm", "stablelm"),
        *("starcoder2", "voxtral"),
        # with a state beside the cache, or instead of it
        *(
            "bamba",
            "falcon_h1",
            "granitemoehybrid",
            "jamba",
            "kimi_linear",
            "lfm2",
            "lfm2_moe",
            "minimax",
            "minimax_text_01",
        ),
        *("nemotron_h",),
    }
)
# What a sequence of a family that is not read here took on each GPU, however short: from a log that gives what 30,000
# and what 13,528 tokens need (vllm-project/vllm 44376).
FIXED_BYTES: Mapping[str, int] = {"deepseek_v4": int(4.4 * 2**30)}
_KNOWN_WORDS = ("full_attention", "sliding_attention", "chunked_attention", "attention", "mamba", "mamba2", "mlp")
# layers of other shapes than the rest, or patterns in a spelling that is not read here
_UNREAD_KEYS = ("hybrid_layer_pattern", "compress_ratios", "compress_rates", "swa_num_key_value_heads", "moba_config")
_STATE_WORDS = ("linear", "mamba", "conv", "recurrent", "ssm", "gated_delta")


def kinds(text: Mapping[str, Any], layers: int) -> list[str] | None:
    """Return the kind of every layer, in transformers' words; None where the configuration has layers of one kind."""
    for name in ("layer_types", "layers_block_type"):
        listed = text.get(name)
        if isinstance(listed, list) and len(listed) == layers:
            return [str(each) for each in listed]
    pattern = text.get("hybrid_override_pattern")  # Nemotron-H: M a state, * attention, - and E neither
    if isinstance(pattern, str) and len(pattern) == layers:
        return [{"*": ATTENTION, "M": STATE}.get(letter, NEITHER) for letter in pattern]
    listed = text.get("attn_type_list")  # MiniMax-Text: 1 attention, 0 linear
    if isinstance(listed, list) and len(listed) == layers:
        return [ATTENTION if each == 1 else STATE for each in listed]
    attending = _attending(text, layers)
    return None if attending is None else [ATTENTION if index in attending else STATE for index in range(layers)]


def unread(text: Mapping[str, Any], family: str, layers: int) -> str | None:
    """Return why the cache of a model's layers is not known here; None where it is."""
    own = str(text.get("model_type", "")).removesuffix("_text")
    if family not in FAMILIES and own not in FAMILIES:
        return f"family {family or own} is not known here" if family or own else "it names no family"
    strange = next((key for key in _UNREAD_KEYS if text.get(key)), None)
    if strange is not None:
        return f"{strange} gives its layers a pattern that is not read here"
    listed = text.get("layer_types")
    for kind in listed if isinstance(listed, list) else ():
        if str(kind) not in _KNOWN_WORDS and not any(word in str(kind) for word in _STATE_WORDS):
            return "layer_types has a kind of layer that is not known here"
    if keeps_state(text, layers) and state_bytes(text) is None:
        return "some of its layers keep a state whose size it does not say"
    return None


def state_bytes(text: Mapping[str, Any]) -> int | None:
    """Return the bytes of one layer's state for one sequence; None where the configuration does not show them.

    A convolution keeps its last inputs in 16 bits; the recurrence keeps a matrix for each head, in 32 bits unless the
    family's class says otherwise. Source: vLLM, model_executor/layers/mamba/mamba_utils.py.
    """
    keys, values = _whole(text, "linear_num_key_heads"), _whole(text, "linear_num_value_heads")
    width, length = _whole(text, "linear_key_head_dim"), _whole(text, "linear_value_head_dim")
    if keys and values and width and length:  # gated delta net
        inputs = (_whole(text, "linear_conv_kernel_dim") or 4) - 1
        # Qwen3-Next computes its state in 16 bits, Qwen3.5 in 32
        element = 2 if str(text.get("model_type", "")) == "qwen3_next" and not text.get("mamba_ssm_dtype") else 4
        return 2 * inputs * (2 * keys * width + values * length) + element * values * width * length
    linear = text.get("linear_attn_config")
    if isinstance(linear, Mapping):  # Kimi's delta attention
        heads, size = _whole(linear, "num_heads"), _whole(linear, "head_dim")
        inputs = (_whole(linear, "short_conv_kernel_size") or 4) - 1
        return 2 * inputs * 3 * heads * size + 4 * heads * size * size if heads and size else None
    size = _first(text, "mamba_d_state", "ssm_state_size", "state_size")
    inputs = (_first(text, "mamba_d_conv", "conv_kernel") or 4) - 1
    heads, width = _first(text, "mamba_n_heads", "mamba_num_heads"), _first(text, "mamba_d_head", "mamba_head_dim")
    if size and heads and width:  # Mamba 2
        groups = _first(text, "mamba_n_groups", "n_groups") or 1
        return 2 * inputs * (heads * width + 2 * groups * size) + 4 * heads * width * size
    hidden = _whole(text, "hidden_size")
    if size and hidden:  # Mamba
        inner = (_first(text, "mamba_expand", "expand") or 2) * hidden
        return 2 * inputs * inner + 4 * inner * size
    if hidden and (cached := _whole(text, "conv_L_cache")):  # short convolutions
        return 2 * hidden * cached
    return None


def _first(text: Mapping[str, Any], *names: str) -> int | None:
    return next((value for name in names if (value := _whole(text, name))), None)


def _attending(text: Mapping[str, Any], layers: int) -> set[int] | None:
    """Return the numbers of the layers that attend, from 0; None where the configuration names none."""
    every = _whole(text, "full_attention_interval")  # Qwen3-Next: the last of every so many
    if every:
        return {index for index in range(layers) if (index + 1) % every == 0}
    every = _whole(text, "attn_layer_period")  # Jamba
    if every:
        return {index for index in range(layers) if index % every == (_whole(text, "attn_layer_offset") or 0)}
    for name in ("attn_layer_indices", "full_attn_idxs"):  # Bamba, LFM2
        listed = text.get(name)
        if isinstance(listed, list):
            return {each for each in listed if isinstance(each, int)}
    linear = text.get("linear_attn_config")  # Kimi-Linear, which counts from 1
    listed = linear.get("full_attn_layers") if isinstance(linear, Mapping) else None
    return {each - 1 for each in listed if isinstance(each, int)} if isinstance(listed, list) else None


def _whole(text: Mapping[str, Any], name: str) -> int | None:
    value = text.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def attends(kind: str) -> bool:
    """Return True if a layer of this kind has a cache that grows."""
    return kind != NEITHER and not is_state(kind)


def is_state(kind: str) -> bool:
    """Return True if a layer of this kind keeps a state of a fixed size."""
    return any(word in kind for word in _STATE_WORDS)


def keeps_state(text: Mapping[str, Any], layers: int) -> bool:
    """Return True if any layer keeps a state for each sequence beside or instead of a cache."""
    by_layer = kinds(text, layers)
    if by_layer is not None and any(is_state(kind) for kind in by_layer):
        return True
    return any(text.get(key) for key in _STATE_KEYS)
