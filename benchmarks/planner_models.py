"""Small models of random weights, one for each thing that decides how much a model's cache and weights take.

Their tensors are named and shaped as the family's checkpoints have them; no byte comes from anybody's model.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Config = dict[str, Any]
_DTYPES = {"bfloat16": ("BF16", 2), "float32": ("F32", 4)}
# the byte with the sign and most of the exponent: numbers about 0.01 and -0.01, never infinite
_SMALL = bytes(0x3C if n % 2 else 0xBC for n in range(256))

_LLAMA: Config = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _family(architecture: str, model_type: str, **more: Any) -> Config:
    return {**_LLAMA, "architectures": [architecture], "model_type": model_type, **more}


_GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "hidden_act": "gelu_pytorch_tanh", "query_pre_attn_scalar": 64}
_WINDOWED = {"head_dim": 64, "sliding_window": 256, "tie_word_embeddings": True, **_GEMMA}
_FIVE_OF_SIX = ["full_attention" if (n + 1) % 6 == 0 else "sliding_attention" for n in range(13)]
_EVERY_OTHER = ["full_attention" if n % 2 else "sliding_attention" for n in range(7)]

MODELS: Mapping[str, Config] = {
    "gqa": _LLAMA,
    "mha, tied": {**_LLAMA, "num_key_value_heads": 8, "tie_word_embeddings": True},
    "mqa, odd vocabulary": {**_LLAMA, "num_key_value_heads": 1, "vocab_size": 31991},
    "gqa in 32 bits": {**_LLAMA, "torch_dtype": "float32", "num_hidden_layers": 4},
    "biases": _family("Qwen2ForCausalLM", "qwen2", tie_word_embeddings=True),
    "wide heads, normed": _family("Qwen3ForCausalLM", "qwen3", head_dim=128, attention_bias=False),
    "every layer windowed": _family("MistralForCausalLM", "mistral", head_dim=64, sliding_window=256),
    "five windowed to one full": _family(
        "Gemma3ForCausalLM", "gemma3_text", **_WINDOWED, num_hidden_layers=13, layer_types=_FIVE_OF_SIX
    ),
    "every other windowed": _family(
        "Gemma2ForCausalLM", "gemma2", **_WINDOWED, num_hidden_layers=7, layer_types=_EVERY_OTHER,
        attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
    ),
    "experts": _family(
        "Qwen3MoeForCausalLM", "qwen3_moe", head_dim=64, num_experts=8, num_experts_per_tok=2, norm_topk_prob=True,
        moe_intermediate_size=256, decoder_sparse_step=1, mlp_only_layers=[], attention_bias=False,
    ),
    "latent": _family(
        "DeepseekV2ForCausalLM", "deepseek_v2", kv_lora_rank=512, q_lora_rank=None, qk_nope_head_dim=128,
        qk_rope_head_dim=64, v_head_dim=128, num_key_value_heads=8, n_routed_experts=8, n_shared_experts=1,
        first_k_dense_replace=1, moe_layer_freq=1, num_experts_per_tok=2, moe_intermediate_size=256,
        topk_method="greedy", scoring_func="softmax", routed_scaling_factor=1.0, norm_topk_prob=True,
        n_group=1, topk_group=1,
    ),
}  # fmt: skip


def tensors(config: Config) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes, as checkpoints of the family list them."""
    hidden = config["hidden_size"]
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        for name, shape in (*_attention(config), *_mlp(config, layer), *_norms(config)):
            yield f"model.layers.{layer}.{name}", shape
    yield "model.norm.weight", (hidden,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (config["vocab_size"], hidden)


def _attention(config: Config) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    if rank := config.get("kv_lora_rank"):
        nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
        yield "self_attn.q_proj.weight", (heads * (nope + rope), hidden)
        yield "self_attn.kv_a_proj_with_mqa.weight", (rank + rope, hidden)
        yield "self_attn.kv_a_layernorm.weight", (rank,)
        yield "self_attn.kv_b_proj.weight", (heads * (nope + value), rank)
        yield "self_attn.o_proj.weight", (hidden, heads * value)
        return
    size = config.get("head_dim") or hidden // heads
    widths = {"q": heads * size, "k": config["num_key_value_heads"] * size, "v": config["num_key_value_heads"] * size}
    for name, width in widths.items():
        yield f"self_attn.{name}_proj.weight", (width, hidden)
        if config["model_type"] == "qwen2":
            yield f"self_attn.{name}_proj.bias", (width,)
    yield "self_attn.o_proj.weight", (hidden, heads * size)
    if config["model_type"] in ("qwen3", "qwen3_moe", "gemma3_text"):
        yield from ((f"self_attn.{name}_norm.weight", (size,)) for name in "qk")


def _mlp(config: Config, layer: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, experts = config["hidden_size"], config.get("num_experts") or config.get("n_routed_experts")
    if layer < config.get("first_k_dense_replace", 0):
        experts = None
    places = [f"mlp.experts.{n}." for n in range(experts)] if experts else ["mlp."]
    if experts and config.get("n_shared_experts"):
        places.append("mlp.shared_experts.")
    inner = config["moe_intermediate_size"] if experts else config["intermediate_size"]
    if experts:
        yield "mlp.gate.weight", (experts, hidden)
    for place in places:
        yield f"{place}gate_proj.weight", (inner, hidden)
        yield f"{place}up_proj.weight", (inner, hidden)
        yield f"{place}down_proj.weight", (hidden, inner)


def _norms(config: Config) -> Iterator[tuple[str, tuple[int, ...]]]:
    names = ["input_layernorm", "post_attention_layernorm"]
    if config["model_type"].startswith("gemma"):
        names += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    yield from ((f"{name}.weight", (config["hidden_size"],)) for name in names)


def write(config: Config, folder: Path, seed: int = 0) -> Path:
    """A folder that vLLM loads: ``config.json`` and one file of weights. No tokenizer: the probe speaks in tokens."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    kind, size = _DTYPES[config["torch_dtype"]]
    header: dict[str, Any] = {}
    end = 0
    for name, shape in tensors(config):
        begin, end = end, end + size * _product(shape)
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    numbers = random.Random(seed)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for entry in header.values():
            begin, end = entry["data_offsets"]
            data = bytearray(numbers.randbytes(end - begin))
            data[size - 1 :: size] = data[size - 1 :: size].translate(_SMALL)
            file.write(data)
    return folder


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total
