"""Weights from the architecture alone, where the files are missing: parameters by the shape in ``config.json``.

Counted as transformers' own classes build them (biases, norms and all), so that a known model matches to the last
parameter; the tests of the presets compare with published counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from infra.planner.facts import config_json, quantized
from infra.planner.facts.config_json import ENCODERS, ModelShape, number, text_part
from infra.planner.facts.model_facts import ELEMENT_BYTES, PaddedExperts, WeightBytes

PLAIN_MLP = {"gpt2", "gptj", "gpt_neox", "opt", "bloom", "falcon", "phi", "starcoder2", "mpt", "gpt_bigcode"}
FOUR_NORMS = {"gemma2", "gemma3", "gemma3_text", "glm4"}  # before and after attention, before and after the MLP
QK_NORM = {"qwen3", "qwen3_moe", "qwen3_next", "qwen3_5", "qwen3_5_moe", "gemma3", "gemma3_text"}
PREDICTS_MORE = {
    "qwen3_next",
    "qwen3_5_moe",
    "deepseek_v3",
    "deepseek_v32",
}  # with a layer that their configurations leave out
QKV_BIAS = {"qwen2", "qwen2_moe", "qwen2_vl", "qwen2_5_vl"}  # not in their configurations: the classes add them


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Counts, by how they are stored and split. ``linear``, ``kv``, ``down`` and ``experts`` are quantized where
    the model is; ``embedding``, ``vision`` and ``small`` never are. ``down`` and ``small`` are whole on every GPU."""

    embedding: int
    kv: int
    linear: int
    experts: int
    small: int
    down: int = 0
    vision: int = 0

    @property
    def total(self) -> int:
        return self.embedding + self.kv + self.linear + self.experts + self.small + self.down + self.vision


def parameters(shape: ModelShape, config: Mapping[str, Any]) -> Parameters:
    """Count the parameters of a decoder, with its vision tower if it has one, or of a BERT-like encoder."""
    text = text_part(config)
    if shape.model_type in ENCODERS:
        return _encoder(shape, text)
    hidden = shape.hidden
    embedding = shape.vocab * hidden * (1 if shape.tied else 2)
    attention, kv, down = _attention(shape, text)
    delta, attending = _delta_net(text, hidden), shape.layers
    if delta and shape.state:  # layers with a gated delta net in place of attention
        attending -= shape.state.count
    matrices = 2 if shape.model_type in PLAIN_MLP else 3
    dense = shape.dense_layers if shape.experts else shape.layers
    linear = attending * attention + (shape.layers - attending) * delta + dense * matrices * hidden * shape.intermediate
    sparse = shape.layers - dense
    experts = sparse * shape.experts * 3 * hidden * shape.expert_intermediate
    shared = number(text, "n_shared_experts", default=0) * shape.expert_intermediate
    shared = shared or number(text, "shared_expert_intermediate_size", default=0)
    linear += sparse * 3 * hidden * shared
    small = shape.layers * _small_of_layer(shape, text) + hidden + sparse * _small_of_router(shape, text)
    return Parameters(
        embedding=embedding,
        kv=attending * kv,
        linear=linear,
        experts=experts,
        small=small,
        down=shape.layers * down,
        vision=vision_parameters(config, hidden),
    )


def _attention(shape: ModelShape, text: Mapping[str, Any]) -> tuple[int, int, int]:
    """Count one layer's parameters: those divided over all GPUs, those over KV heads, those whole on every GPU."""
    hidden, heads = shape.hidden, shape.heads
    latent = number(text, "kv_lora_rank", default=0)
    if latent:
        nope, rope = number(text, "qk_nope_head_dim", default=0), number(text, "qk_rope_head_dim", default=0)
        value = number(text, "v_head_dim", default=shape.head_dim)
        rank = number(text, "q_lora_rank", default=0)
        down = hidden * (latent + rope)
        if rank:
            down += hidden * rank
            query = rank * heads * (nope + rope)
        else:
            query = hidden * heads * (nope + rope)
        return query + latent * heads * (nope + value) + heads * value * hidden, 0, down
    gate = 1 if text.get("attn_output_gate") or shape.model_type == "qwen3_next" else 0
    return (2 + gate) * hidden * heads * shape.head_dim, 2 * hidden * shape.kv_heads * shape.head_dim, 0


def _delta_net(text: Mapping[str, Any], hidden: int) -> int:
    """Count the projections of a layer with a gated delta net; 0 where there is none. Source: vLLM,
    model_executor/models/qwen3_next.py."""
    heads = number(text, "linear_num_value_heads", default=0)
    keys = number(text, "linear_num_key_heads", default=0) * number(text, "linear_key_head_dim", default=0)
    values = heads * number(text, "linear_value_head_dim", default=0)
    return hidden * (2 * keys + 2 * values + 2 * heads) + values * hidden


def _small_of_layer(shape: ModelShape, text: Mapping[str, Any]) -> int:
    """Count norms, biases and the like of one layer."""
    family = shape.model_type
    count = shape.hidden * (4 if family in FOUR_NORMS else 2)
    if family in QK_NORM:
        count += 2 * shape.head_dim
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    if family in QKV_BIAS:
        count += queries + 2 * keys
    elif text.get("attention_bias") is True:
        count += queries + 2 * keys + shape.hidden
    for rank in ("kv_lora_rank", "q_lora_rank"):  # the norms between MLA's projections
        count += number(text, rank, default=0)
    return count + (shape.heads if family == "gpt_oss" else 0)  # attention sinks


def _small_of_router(shape: ModelShape, text: Mapping[str, Any]) -> int:
    """Count the router of one layer with experts, and what gpt-oss and DeepSeek V3 add."""
    count = shape.hidden * shape.experts
    if shape.model_type == "gpt_oss":
        count += shape.experts * (1 + 2 * shape.expert_intermediate + shape.hidden)  # biases, never quantized
    if shape.model_type == "deepseek_v3":
        count += shape.experts  # the correction that keeps experts equally busy
    return count


def _encoder(shape: ModelShape, text: Mapping[str, Any]) -> Parameters:
    """Count BERT and RoBERTa as transformers builds them, with the pooler."""
    hidden, inner = shape.hidden, shape.intermediate
    positions = number(text, "max_position_embeddings", default=0) + number(text, "type_vocab_size", default=0)
    embedding = (shape.vocab + positions) * hidden
    kv = shape.layers * 2 * hidden * hidden
    linear = shape.layers * (2 * hidden * hidden + 2 * hidden * inner) + hidden * hidden
    small = shape.layers * (4 * hidden + inner + hidden + 4 * hidden) + 2 * hidden + hidden
    return Parameters(embedding=embedding, kv=kv, linear=linear, experts=0, small=small)


def estimate(shape: ModelShape, config: Mapping[str, Any]) -> tuple[WeightBytes, int]:
    """Return the bytes and the number of parameters."""
    counts = parameters(shape, config)
    plain = ELEMENT_BYTES.get(shape.dtype or "bfloat16", 2)
    held = quantized.stored(config)
    packed = plain if held is None or held.weight_bytes is None else held.weight_bytes
    linear = plain if shape.quantization == "mxfp4" else packed  # only the experts are in four bits there
    sharded = (counts.embedding + counts.vision) * plain + counts.linear * linear + counts.experts * packed
    replicated = counts.small * plain + counts.down * linear
    parts = (int(sharded), int(counts.kv * linear), int(replicated))
    return WeightBytes(*parts, "architecture", padded(shape, config)), counts.total


def quantized_on_load(
    weights: WeightBytes, config: Mapping[str, Any], dtype: str | None, linear: float | None, experts: float | None
) -> WeightBytes:
    """Return the bytes that are held once the engine has quantized a model of ``dtype`` while loading it: ``linear``
    and ``experts`` are bytes a weight, None where they stay."""
    shape = config_json.read(config)
    counts, plain = parameters(shape, config), ELEMENT_BYTES.get(dtype or "bfloat16", 2)
    less, less_experts = (plain - size if size is not None else 0.0 for size in (linear, experts))
    return replace(
        weights,
        sharded=max(0, weights.sharded - int(counts.linear * less + counts.experts * less_experts)),
        kv_sharded=max(0, weights.kv_sharded - int(counts.kv * less)),
        replicated=max(0, weights.replicated - int(counts.down * less)),
        source="architecture",
        padded=_padded(shape, experts) if experts == quantized.MXFP4_BYTES else None,
    )


def padded(shape: ModelShape, config: Mapping[str, Any]) -> PaddedExperts | None:
    """Return the experts in MXFP4, which the engine's kernels pad; None where there are none. Source: vLLM 0.32.0,
    model_executor/layers/fused_moe/oracle/mxfp4.py; gpt-oss-120b takes 65.97 GiB of one H100, 34.38 of each of two."""
    held = quantized.stored(config)
    if held is None or held.method != "mxfp4" or held.weight_bytes is None:
        return None
    return _padded(shape, held.weight_bytes)


def _padded(shape: ModelShape, weight_bytes: float) -> PaddedExperts | None:
    if not shape.experts:
        return None
    count = (shape.layers - shape.dense_layers) * shape.experts
    return PaddedExperts(count=count, hidden=shape.hidden, width=shape.expert_intermediate, weight_bytes=weight_bytes)


def unloaded(shape: ModelShape, config: Mapping[str, Any]) -> int:
    """Return the bytes of the experts in the layers that predict further tokens, which a checkpoint has beside its own
    and the engine does not load; 0 where the family has none. The dense ones are small, and count."""
    text = text_part(config)
    declared = number(text, "num_nextn_predict_layers", "mtp_num_hidden_layers", default=0)
    layers = declared or (1 if shape.model_type in PREDICTS_MORE else 0)
    held = quantized.stored(config)
    if not shape.experts or (held is not None and held.weight_bytes is None):
        return 0
    each = ELEMENT_BYTES.get(shape.dtype or "bfloat16", 2) if held is None else held.weight_bytes
    return int((each or 0) * layers * shape.experts * 3 * shape.hidden * shape.expert_intermediate)


def active(shape: ModelShape, config: Mapping[str, Any], total: int | None) -> int | None:
    """Return the parameters that compute one token; ``total`` for a model without experts."""
    if not shape.experts or total is None:
        return total
    experts = parameters(shape, config).experts
    return total - experts + experts * min(shape.experts_per_token, shape.experts) // shape.experts


# Parameters of the vision tower of a multimodal model: a ViT and what joins it to the language model.


def vision_parameters(config: Mapping[str, Any], text_hidden: int) -> int:
    """Count the tower's parameters, 0 where there is none. Exact for Gemma 3 (SigLIP) and Qwen2.5-VL; for other kinds
    the blocks alone, which are nearly all of it."""
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
    """Count four projections and two layers with their biases, two norms with theirs."""
    return 4 * (hidden * hidden + hidden) + 2 * hidden * inner + inner + hidden + 4 * hidden


def _gated_block(hidden: int, inner: int) -> int:
    """Count a block with three layers in the MLP, and norms without biases."""
    return 4 * (hidden * hidden + hidden) + 3 * hidden * inner + 2 * inner + hidden + 2 * hidden


def _siglip_ends(vision: Mapping[str, Any], hidden: int) -> int:
    """Count the patches' embedding, one position for each patch, and the last norm."""
    patch, image = _whole(vision, "patch_size"), _whole(vision, "image_size")
    channels = _whole(vision, "num_channels") or 3
    positions = (image // patch) ** 2 if patch else 0
    return channels * patch * patch * hidden + hidden + positions * hidden + 2 * hidden


def _qwen_ends(vision: Mapping[str, Any], hidden: int, text_hidden: int) -> int:
    """Count the patches' embedding, without bias, and the merger of neighbouring patches."""
    patch = _whole(vision, "patch_size", "spatial_patch_size")
    channels = _whole(vision, "in_channels", "in_chans") or 3
    patches = channels * (_whole(vision, "temporal_patch_size") or 2) * patch * patch * hidden
    merged = hidden * (_whole(vision, "spatial_merge_size") or 2) ** 2
    out = _whole(vision, "out_hidden_size") or text_hidden
    return patches + hidden + merged * merged + merged + merged * out + out
