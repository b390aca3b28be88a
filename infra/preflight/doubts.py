"""Where the memory plan counts less, or otherwise, than the engine will: said beside it, never hidden in it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from components.typed.refusal import Path, Problem
from infra.preflight import layer_kinds, quantized
from infra.preflight.config_json import printable, text_part
from infra.preflight.model_facts import ModelFacts

# families whose weights, counted from the shape, come out at a published count, as tests hold
COUNTED = {
    *("bert", "roberta", "xlm-roberta", "camembert"),
    *("llama", "mistral", "mixtral", "phi3", "gemma2", "gemma3", "gemma3_text", "gpt_oss"),
    *("qwen2", "qwen2_5_vl", "qwen3", "qwen3_moe", "deepseek_v2", "deepseek_v3"),
}


def judge_doubts(facts: ModelFacts, at: Path) -> Iterator[Problem]:
    """What keeps the figures of this model from being exact."""
    reasons = (*_weights(facts), *_state(facts))
    if reasons:
        message = f"is counted only roughly: {'; '.join(reasons)}"
        allowed = "a model whose safetensors are at hand, with layers that attend"
        fix = "give a folder with its safetensors or their index, and read the engine's own log before relying on it"
        yield Problem(262, (*at, "id"), message, allowed, fix, facts.id, severity="warning")


def _weights(facts: ModelFacts) -> Iterator[str]:
    if facts.weights is None or facts.weights.source != "architecture":
        return
    family = str(facts.raw.get("model_type", ""))
    if family not in COUNTED:
        told = f"of family {printable(family)}" if family else "of no named family"
        yield f"its weights are reckoned as a plain decoder's, which nobody has held against one {told}"
    held = quantized.stored(facts.raw)
    if held is not None and held.weight_bytes is None:
        told = facts.dtype or "16 bits"
        yield f"its settings do not say what {facts.quantization} takes a weight, so they count in full ({told})"


def _state(facts: ModelFacts) -> Iterator[str]:
    if facts.raw and facts.kv and layer_kinds.keeps_state(text_part(facts.raw), facts.layers):
        attending = sum(group.count for group in facts.kv)
        yield (
            f"{attending} of its {facts.layers} layers have a cache that grows; the state that others keep for each "
            "sequence is not counted, so fewer sequences fit"
        )
