"""Parameters of the vision tower of a model that also sees: a ViT and what joins it to the language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.preflight.config_json import number


def vision_parameters(config: Mapping[str, Any], text_hidden: int) -> int:
    """0 where there is no tower. Exact for Gemma 3 (SigLIP) and Qwen2.5-VL; of other kinds the blocks alone, which is
    nearly all of it."""
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping):
        return 0
    layers = _whole(vision, "num_hidden_layers", "depth")
    hidden = _whole(vision, "hidden_size", "embed_dim")
    inner = _whole(vision, "intermediate_size") or hidden * 4
    if not (layers and hidden):
        return 0
    kind = str(config.get("model_type", ""))
    if kind == "qwen2_5_vl":
        return layers * _gated_block(hidden, inner) + _qwen_ends(vision, hidden, text_hidden)
    blocks = layers * _plain_block(hidden, inner)
    return blocks + (_siglip_ends(vision, hidden) + hidden * text_hidden + hidden if kind == "gemma3" else 0)


def _whole(config: Mapping[str, Any], *names: str) -> int:
    return number(config, *names, default=0)


def _plain_block(hidden: int, inner: int) -> int:
    """Four projections and two layers with their biases, two norms with theirs."""
    return 4 * (hidden * hidden + hidden) + 2 * hidden * inner + inner + hidden + 4 * hidden


def _gated_block(hidden: int, inner: int) -> int:
    """Three layers in the MLP, and norms without biases."""
    return 4 * (hidden * hidden + hidden) + 3 * hidden * inner + 2 * inner + hidden + 2 * hidden


def _siglip_ends(vision: Mapping[str, Any], hidden: int) -> int:
    """The patches' embedding, one position for each patch, and the last norm."""
    patch, image = _whole(vision, "patch_size"), _whole(vision, "image_size")
    channels = _whole(vision, "num_channels") or 3
    positions = (image // patch) ** 2 if patch else 0
    return channels * patch * patch * hidden + hidden + positions * hidden + 2 * hidden


def _qwen_ends(vision: Mapping[str, Any], hidden: int, text_hidden: int) -> int:
    """The patches' embedding, without bias, and the merger of neighbouring patches."""
    patch = _whole(vision, "patch_size", "spatial_patch_size")
    channels = _whole(vision, "in_channels", "in_chans") or 3
    patches = channels * (_whole(vision, "temporal_patch_size") or 2) * patch * patch * hidden
    merged = hidden * (_whole(vision, "spatial_merge_size") or 2) ** 2
    out = _whole(vision, "out_hidden_size") or text_hidden
    return patches + hidden + merged * merged + merged + merged * out + out
