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
    return kind != NEITHER and not any(word in kind for word in _STATE_WORDS)


def keeps_state(text: Mapping[str, Any], layers: int) -> bool:
    """Return True if any layer keeps a state for each sequence beside or instead of a cache."""
    found = kinds(text, layers)
    if found is not None and any(any(word in kind for word in _STATE_WORDS) for kind in found):
        return True
    return any(text.get(key) for key in _STATE_KEYS)
