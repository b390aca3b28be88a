"""Files as people break them: the repository's own stack files and the configurations of real families of models, cut,
doubled, moved about, crossed with one another, and with the values in them that nobody expects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

TESTS = Path(__file__).parents[1]
CORPUS = [
    file.read_text()
    for folder in (TESTS.parent / "stacks", TESTS / "fixtures" / "stackfile")
    for file in sorted(folder.glob("Pulumi.*.yaml"))
]
TREES = [yaml.safe_load(text) for text in CORPUS]

# Shapes of published configurations, cut down to what is read; one of each way to say how attention is built.
CONFIGS: dict[str, dict[str, Any]] = {
    "grouped queries": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
        "max_position_embeddings": 131072, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0}, "attention_bias": True,
    },
    "windows, and eyes": {
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "torch_dtype": "bfloat16",
        "text_config": {"model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34,
                        "sliding_window": 1024, "sliding_window_pattern": 6, "intermediate_size": 10240,
                        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}},
        "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27, "intermediate_size": 4304, "patch_size": 14,
                          "image_size": 896},
    },
    "latent attention": {
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 7168,
        "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "vocab_size": 129280,
        "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1,
        "num_experts_per_tok": 8, "first_k_dense_replace": 3, "kv_lora_rank": 512, "q_lora_rank": 1536,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "max_position_embeddings": 163840,
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
        "rope_scaling": {"type": "yarn", "factor": 40}, "auto_map": {"AutoConfig": "configuration.Config"},
    },
    "kinds of layer": {
        "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 2880, "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention", "linear_attention", "full_attention"],
        "sliding_window": 128, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
        "vocab_size": 201088, "intermediate_size": 2880, "num_local_experts": 32, "num_experts_per_tok": 4,
        "quantization_config": {"quant_method": "mxfp4"}, "max_position_embeddings": 131072,
    },
    "an encoder": {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": 384, "num_hidden_layers": 12,
        "num_attention_heads": 12, "intermediate_size": 1536, "vocab_size": 30522, "max_position_embeddings": 512,
        "type_vocab_size": 2,
    },
    "one head for all": {
        "architectures": ["FalconForCausalLM"], "model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32,
        "num_attention_heads": 71, "multi_query": True, "vocab_size": 65024,
        "quantization_config": {"quant_method": "awq", "bits": 4},
    },
    "eyes of its own": {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl", "hidden_size": 2048,
        "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2, "intermediate_size": 11008,
        "vocab_size": 151936, "max_position_embeddings": 128000, "shared_expert_intermediate_size": 12,
        "vision_config": {"depth": 32, "hidden_size": 1280, "patch_size": 14, "out_hidden_size": 2048},
    },
}  # fmt: skip

_ODD = (
    None, True, False, 0, -1, 1, 1.5, 1e308, 10**9, 10**18, 10**400, float("inf"), float("nan"), "", " ", "0", "20m",
    "80Gi", "*", "main", "-tp", "[]", "local", "aws", "azure", "gcp", "existing", "secure", "<name>", "\ud800",
    "\x1b[2J", "é" * 70, "a" * 300, "10.0.0.0/8", "::/0", "1.34", [], {}, [[]], {"": ""}, [None], {"secure": "v1:x"},
)  # fmt: skip


def _words(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {str(key) for key in value} | {word for item in value.values() for word in _words(item)}
    if isinstance(value, list):
        return {word for item in value for word in _words(item)}
    return {value} if isinstance(value, str) else set()


WORDS = sorted({word for tree in TREES for word in _words(tree)} | {"<name>", "<place>", "secure", "token"})
MODEL_WORDS = sorted({word for config in CONFIGS.values() for word in _words(config)} | {"thinker_config", "w_bit"})


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path in a tree of mappings and lists, the root's first."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, item in items for path in places(item, (*at, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The tree with ``new`` at ``path``."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


def at(value: Any, path: tuple[Any, ...]) -> Any:
    """What stands at ``path``."""
    for part in path:
        value = value[part]
    return value


def _changed(draw: Any, tree: Any, others: list[Any], words: list[str]) -> Any:
    """One change: an odd value, a piece of another file, a key that is new, gone or renamed."""
    path = draw(st.sampled_from(places(tree)))
    here = at(tree, path)
    kind = draw(st.sampled_from(["odd", "odd", "word", "crossed", "gone", "renamed", "added"]))
    if kind == "odd" or not path:
        return put(tree, path, draw(st.sampled_from(_ODD))) if path else tree
    if kind == "word":
        return put(tree, path, draw(st.sampled_from(words)))
    if kind == "crossed":
        other = draw(st.sampled_from(others))
        return put(tree, path, at(other, draw(st.sampled_from(places(other)))))
    if kind == "added":
        key = draw(st.sampled_from(words))
        more = {**here, key: draw(st.sampled_from(_ODD))} if isinstance(here, dict) else [here, here]
        return put(tree, path, more)
    outer = at(tree, path[:-1])
    if not isinstance(outer, dict):
        return tree
    name = draw(st.sampled_from(words)) if kind == "renamed" else None
    kept = {(name if key == path[-1] else key): item for key, item in outer.items() if name or key != path[-1]}
    return put(tree, path[:-1], kept)


_PIECES = (
    "&a ", "*a", "<<: *a\n", "!!int x", "!!binary x", "!!python/object:x ", "? ", "|\n", ">-\n", "\t", "{", "}", "[",
    "]", ": ", "- ", "#", "'", '"', "\n", "  ", "\0", "\ufeff", "\u2028", "---\n", "...\n", "%YAML 9.9\n", "0x1F",
    "1:30", "~", "=", "\ud800", "\x85",
)  # fmt: skip


def _cut(draw: Any, text: str) -> str:
    """One change to the text itself: lines gone, doubled, moved, indented otherwise, or a piece put in."""
    lines = text.splitlines(keepends=True)
    kind = draw(st.sampled_from(["piece", "gone", "doubled", "moved", "indented", "ended"]))
    if kind == "piece" or not lines:
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        return text[:start] + draw(st.sampled_from(_PIECES) | st.text(max_size=6)) + text[end:]
    here = draw(st.integers(0, len(lines) - 1))
    if kind == "gone":
        del lines[here : here + draw(st.integers(1, 6))]
    elif kind == "doubled":
        lines.insert(here, lines[here])
    elif kind == "moved":
        lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(here))
    elif kind == "indented":
        lines[here] = " " * draw(st.integers(0, 9)) + lines[here].lstrip()
    else:
        return text[: draw(st.integers(0, len(text)))]
    return "".join(lines)


@st.composite
def stack_texts(draw: Any) -> bytes:
    """A stack file with one to four things wrong with it."""
    index = draw(st.integers(0, len(CORPUS) - 1))
    text = CORPUS[index]
    if draw(st.booleans()):
        tree = TREES[index]
        for _ in range(draw(st.integers(1, 4))):
            tree = _changed(draw, tree, TREES, WORDS)
        text = yaml.dump(tree, Dumper=_Flat, sort_keys=False, allow_unicode=True)
    for _ in range(draw(st.integers(0 if text is not CORPUS[index] else 1, 3))):
        text = _cut(draw, text)
    return text.encode(errors="surrogatepass")


class _Flat(yaml.SafeDumper):
    """Writes a value that stands at two places twice: anchors come in by the pieces alone."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@st.composite
def model_files(draw: Any) -> dict[str, bytes]:
    """The files of a model's folder: a config.json with one to four things wrong with it, and sometimes others."""
    tree: Any = draw(st.sampled_from(sorted(CONFIGS.items(), key=lambda item: item[0])))[1]
    for _ in range(draw(st.integers(1, 4))):
        tree = _changed(draw, tree, list(CONFIGS.values()), MODEL_WORDS)
    text = json.dumps(tree)
    if draw(st.integers(0, 5)) == 0:
        text = _cut(draw, text)
    files = {"config.json": text}
    index: Any = {"metadata": {"total_size": 16_000_000_000}, "weight_map": {"lm_head.weight": "a.safetensors"}}
    tokenizer: Any = {"chat_template": "{{ messages }}", "tokenizer_class": "LlamaTokenizer"}
    for name, whole in (("model.safetensors.index.json", index), ("tokenizer_config.json", tokenizer)):
        if draw(st.integers(0, 3)) == 0:
            files[name] = json.dumps(_changed(draw, whole, [index, tokenizer], MODEL_WORDS))
    contents = {name: content.encode(errors="surrogatepass") for name, content in files.items()}
    if draw(st.integers(0, 7)) == 0:
        sound = {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}
        header = json.dumps({"a": draw(st.sampled_from(_ODD)), "b": sound})
        contents["model.safetensors"] = len(header).to_bytes(8, "little") + header.encode(errors="surrogatepass")
    return contents
