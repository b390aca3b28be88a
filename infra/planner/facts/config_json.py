"""A model's ``config.json``, as transformers writes it, read into a shape: only what memory and speed depend on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.planner.facts import layer_kinds, quantized
from infra.planner.facts.model_facts import KvLayers, StateLayers

Config = Mapping[str, Any]

# Encoders keep no KV cache: every token is computed in one pass.
ENCODERS = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "distilbert", "modernbert", "nomic_bert", "new"})

# Settings that checkpoints of a family leave out because their class has them as defaults. Source: transformers 5.19,
# the family's configuration file.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262_208,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    },
}
# Scalings already contained in ``max_position_embeddings``, so the factor is not applied again. Source: vLLM 0.32.0,
# config/model.py, _get_and_verify_max_len.
ALREADY_SCALED = frozenset({"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "mrope"})

# Limits far above any model, yet small enough to compute with: a list has an entry for each layer.
MOST: Mapping[str, int] = {
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers"), 10_000),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_key_value_heads", "num_kv_heads"), 1_000_000),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts", "n_shared_experts"), 1_000_000),
}
_MOST_OF_OTHERS, _MOST_FACTOR, _MOST_NESTED = 2**32, 10_000, 4  # positions' scaling factor; levels of text_config
_MOST_TEXT = 200  # characters of a name


PIPELINE_FILE = "model_index.json"
"""Lists the models of a diffusers pipeline, which has no configuration of its own at its top."""


def pipeline_problem(name: str) -> str:
    """Return why a diffusers pipeline is refused."""
    return (
        f"{name} is a diffusers pipeline for images ({PIPELINE_FILE}), and no engine here serves one; allowed: a model "
        "with its config.json at its top; fix: serve it with an engine of its own kind"
    )


class UnreadableConfig(ValueError):
    """A file that is no model configuration; the text says what is missing."""


@dataclass(frozen=True)
class ModelShape:
    """Numbers of a decoder, in transformers' own meaning."""

    architecture: str | None
    model_type: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int | None
    tied: bool
    dtype: str | None
    kv: tuple[KvLayers, ...]
    state: StateLayers | None
    cache_unknown: str | None
    experts: int
    experts_per_token: int
    expert_intermediate: int
    dense_layers: int
    quantization: str | None
    quantization_bits: int | None
    remote_code: bool


def text_part(config: Config, depth: int = 0) -> Config:
    """Return the language model's own part: multimodal configurations nest it. Raises ``UnreadableConfig``."""
    if depth > _MOST_NESTED:
        raise UnreadableConfig(
            f"config.json nests one text_config in another; allowed: {_MOST_NESTED} levels; fix: fetch the file again"
        )
    for name in ("text_config", "llm_config", "language_config", "thinker_config"):
        nested = config.get(name)
        if isinstance(nested, Mapping) and ("num_hidden_layers" in nested or "text_config" in nested):
            return text_part({**{k: config[k] for k in ("tie_word_embeddings",) if k in config}, **nested}, depth + 1)
    missing = DEFAULTS.get(str(config.get("model_type", "")), {})
    return {**missing, **{k: v for k, v in config.items() if v is not None or k not in missing}} if missing else config


def number(config: Config, *names: str, default: int | None = None, least: int = 0) -> int:
    """Return the first whole number under ``names``. Raises ``UnreadableConfig`` where there is none and no default, or
    where no model has such a number."""
    for name in names:
        value = config.get(name)
        if isinstance(value, bool):
            continue
        if isinstance(value, float) and math.isfinite(value) and value == int(value):
            value = int(value)
        if isinstance(value, int):
            return _bounded(name, value, least)
    if default is None:
        allowed = "a configuration as transformers writes it, with that number"
        raise UnreadableConfig(f"config.json has no {names[0]}; allowed: {allowed}; fix: fetch the file again")
    return default


def _bounded(name: str, value: int, least: int) -> int:
    most = MOST.get(name, _MOST_OF_OTHERS)
    if least <= value <= most:
        return value
    # a number of hundreds of digits cannot even be written out
    shown = str(value) if abs(value) < 10**20 else "a very large number"
    raise UnreadableConfig(
        f"config.json: {name} is {shown}, which no model has; allowed: {least}..{most}; fix: fetch the file again"
    )


def read(config: Config) -> ModelShape:
    """Read a configuration. Raises ``UnreadableConfig`` when a number that everything depends on is missing."""
    architectures = config.get("architectures")
    text = text_part(config)
    heads = number(text, "num_attention_heads", "n_head", "n_heads", "decoder_attention_heads", least=1)
    hidden = number(text, "hidden_size", "n_embd", "d_model", least=1)
    # Whisper counts its decoder apart, and calls the encoder's layers num_hidden_layers
    layers = number(text, "decoder_layers", "num_hidden_layers", "n_layer", "n_layers", least=1)
    head_dim = number(text, "head_dim", default=hidden // heads, least=1)
    kv_heads = _kv_heads(text, heads)
    held = _stored(config)
    experts = number(text, "num_local_experts", "num_experts", "n_routed_experts", default=0)
    intermediate = number(text, "intermediate_size", "n_inner", "ffn_dim", "decoder_ffn_dim", default=4 * hidden)
    family = printable(config.get("model_type", ""))
    unknown = None if family in ENCODERS else layer_kinds.unread(text, family, layers)
    state = None if unknown else _state(text, layers)
    return ModelShape(
        architecture=printable(architectures[0]) if isinstance(architectures, list) and architectures else None,
        model_type=printable(config.get("model_type", "")),
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=number(text, "vocab_size", least=1),
        context=context_of(text),
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", _ties_by_default(text)))),
        dtype=dtype_in(config),
        kv=_kv(text, layers, kv_heads, head_dim) if unknown is None else _unread_kv(text, layers, kv_heads, head_dim),
        state=state,
        cache_unknown=unknown,
        experts=experts,
        experts_per_token=number(text, "num_experts_per_tok", "experts_per_token", default=0),
        expert_intermediate=number(text, "moe_intermediate_size", default=intermediate) if experts else 0,
        dense_layers=number(text, "first_k_dense_replace", default=0) if experts else layers,
        quantization=printable(held.method) if held else None,
        quantization_bits=held.bits if held else None,
        remote_code=bool(config.get("auto_map")),
    )


def _kv_heads(text: Config, heads: int) -> int:
    if text.get("multi_query") is True and "num_key_value_heads" not in text and "num_kv_heads" not in text:
        return 1
    return number(text, "num_key_value_heads", "num_kv_heads", "multi_query_group_num", default=heads, least=1)


def context_of(text: Config) -> int | None:
    """Return the longest request vLLM allows: the positions, times the factor of scalings not yet contained in them."""
    base = number(
        text, "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_target_positions", default=0
    )
    if "gemma3" in str(text.get("model_type", "")):
        return base or None
    factor = 1.0
    for scaling in _scalings(text.get("rope_parameters") or text.get("rope_scaling")):
        scaling_factor = scaling.get("factor")
        kind = scaling.get("rope_type", scaling.get("type"))
        if (
            str(kind) not in ALREADY_SCALED
            and isinstance(scaling_factor, (int, float))
            and not isinstance(scaling_factor, bool)
        ):
            factor = _factor(scaling_factor)
    return int(base * factor) or None


def _factor(factor: float) -> float:
    # compared before conversion to a float, which fails for the largest whole numbers
    if 0 < factor <= _MOST_FACTOR:
        return float(factor)
    raise UnreadableConfig(
        "config.json: the positions' factor is not one; "
        f"allowed: a number above 0 and at most {_MOST_FACTOR}; fix: fetch the file again"
    )


def _scalings(settings: object) -> list[Config]:
    """Return the settings of the rotary positions: one mapping, or one for each kind of layer."""
    if not isinstance(settings, Mapping):
        return []
    nested = [value for value in settings.values() if isinstance(value, Mapping)]
    return nested or [settings]


def _ties_by_default(text: Config) -> bool:
    # transformers' default is True; these of its classes set False
    return str(text.get("model_type", "")) not in {
        *("llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "phi3", "deepseek_v2"),
        *("deepseek_v3", "gpt_oss", "olmo2", "granite_moe", "qwen2_vl", "qwen2_5_vl"),
    }


def dtype_in(config: Config) -> str | None:
    """Return the type the checkpoint says it is in; None where it does not say."""
    return _dtype(config) or _dtype(text_part(config))


def _dtype(config: Config) -> str | None:
    value = config.get("dtype") or config.get("torch_dtype")
    return printable(value).removeprefix("torch.") if isinstance(value, str) else None


def printable(value: object) -> str:
    """Return a text that moves no cursor and fills no screen: the file is not ours."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value)[:_MOST_TEXT])


def _stored(config: Config) -> quantized.Stored | None:
    try:
        return quantized.stored(config)
    except ValueError as error:
        allowed = "the settings of one method, with its quant_method"
        raise UnreadableConfig(f"config.json: {error}; allowed: {allowed}; fix: fetch the file again") from error


def _kv(text: Config, layers: int, kv_heads: int, head_dim: int) -> tuple[KvLayers, ...]:
    """Return the layers that keep a cache, alike ones together, full attention first: it decides at long contexts."""
    if str(text.get("model_type", "")) in ENCODERS:
        return ()
    windows = _windows(text, layers)
    if number(text, "kv_lora_rank", default=0):
        return (_latent(text, len(windows)),) if windows else ()
    # layers at the end that read the cache of earlier ones (Gemma 3n and 4)
    own = windows[: max(1, layers - number(text, "num_kv_shared_layers", default=0))]
    whole = number(text, "global_head_dim", default=head_dim, least=1)
    heads = number(text, "num_global_key_value_heads", default=kv_heads, least=1)
    counts = {window: own.count(window) for window in dict.fromkeys(own)}
    ordered = sorted(counts.items(), key=lambda item: (item[0] is not None, item[0] or 0))
    return tuple(
        KvLayers(count, heads, 2 * whole, None) if window is None else KvLayers(count, kv_heads, 2 * head_dim, window)
        for window, count in ordered
    )


def _latent(text: Config, layers: int) -> KvLayers:
    """Return MLA's layers: one latent for all heads, whole on every GPU, and an indexer's keys where there is one.

    An indexer keeps a number of 8 bits for each of its key's and their scale of 32; the latent beside it has scales of
    its own when it is in 8 bits. Source: vLLM, model_executor/models/deepseek_v2.py and v1/kv_cache_interface.py.
    """
    elements = number(text, "kv_lora_rank") + number(text, "qk_rope_head_dim", default=0)
    index = number(text, "index_head_dim", default=0)
    return KvLayers(layers, 1, elements, divides=False, extra_bytes=index + 4 + 80 if index else 0)


def _unread_kv(text: Config, layers: int, kv_heads: int, head_dim: int) -> tuple[KvLayers, ...]:
    """Return every layer as full attention, of the most heads and the widest that the configuration names."""
    if number(text, "kv_lora_rank", default=0):
        return (_latent(text, layers),)
    heads = max(kv_heads, number(text, "swa_num_key_value_heads", default=0))
    names = ("swa_head_dim", "global_head_dim", "v_head_dim", "swa_v_head_dim")
    width = max(head_dim, *(number(text, name, default=0) for name in names))
    return (KvLayers(layers, heads, 2 * width),)


def _state(text: Config, layers: int) -> StateLayers | None:
    """Return the layers with a state for each sequence; None where there are none, or its size is not known."""
    if not layer_kinds.keeps_state(text, layers):
        return None
    size, kinds = layer_kinds.state_bytes(text), layer_kinds.kinds(text, layers)
    count = sum(layer_kinds.is_state(kind) for kind in kinds) if kinds else layers
    return StateLayers(count=count, bytes=size) if size and count else None


def _windows(text: Config, layers: int) -> list[int | None]:
    """Return each attention layer's window, None for full attention; layers without a growing KV cache (linear
    attention, state space) are left out."""
    window = text.get("sliding_window")
    size = window if isinstance(window, int) and window > 0 else None
    kinds = layer_kinds.kinds(text, layers)
    if kinds is not None:
        attending = [kind for kind in kinds if layer_kinds.attends(kind)]
        return [size if "sliding" in kind or "chunked" in kind else None for kind in attending]
    if size is None or text.get("use_sliding_window") is False:
        return [None] * layers
    pattern = text.get("sliding_window_pattern")
    model_type = str(text.get("model_type", ""))
    if not isinstance(pattern, int):
        pattern = {"gemma2": 2, "gemma3_text": 6, "gemma3": 6, "cohere2": 4, "gpt_oss": 2}.get(model_type)
    if pattern:
        # one layer in ``pattern`` sees everything
        return [None if (index + 1) % pattern == 0 else size for index in range(layers)]
    return [size] * layers
