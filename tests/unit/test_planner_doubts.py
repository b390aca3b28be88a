"""Where the count of memory is not exact, it says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra.planner.facts import build, config_json, estimate_weights, presets
from infra.planner.facts.model_facts import WeightBytes
from infra.planner.sizing import memory
from infra.planner.sizing.compatibility import judge_doubts
from tests.unit.plan_kit import CONFIG, facts

PERIOD_OF_EIGHT = ["mamba"] * 5 + ["attention"] + ["mamba"] * 2
MAMBA, MAMBA_2 = {"mamba_d_state": 16}, {"mamba_d_state": 128, "mamba_n_heads": 64, "mamba_d_head": 64}
DELTA = {
    **{"linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128},
    **{"linear_value_head_dim": 128, "linear_conv_kernel_dim": 4},
}
# the layers that attend, of 32, and the bytes of the state that each other keeps for a sequence
HYBRIDS: dict[str, tuple[dict[str, Any], int, int]] = {
    "layer_types": ({"layer_types": PERIOD_OF_EIGHT * 4, **MAMBA_2}, 4, 2 * 3 * (4096 + 256) + 4 * 4096 * 128),
    "layers_block_type": (
        {"layers_block_type": ["linear_attention", "full_attention"] * 16, **DELTA},
        16,
        2 * 3 * 8192 + 4 * 32 * 128**2,
    ),
    "full_attention_interval": ({"full_attention_interval": 4, **DELTA}, 8, 2 * 3 * 8192 + 4 * 32 * 128**2),
    "attn_layer_period": ({"attn_layer_period": 8, "attn_layer_offset": 4, **MAMBA}, 4, 2 * 3 * 8192 + 4 * 8192 * 16),
    "attn_layer_indices": ({"attn_layer_indices": [9, 18, 27], **MAMBA_2}, 3, 2 * 3 * (4096 + 256) + 4 * 4096 * 128),
    "full_attn_idxs": ({"full_attn_idxs": [2, 5], "conv_L_cache": 3}, 2, 2 * 4096 * 3),
    "hybrid_override_pattern": (
        {"hybrid_override_pattern": "M-M*M-M-" * 4, "ssm_state_size": 16},
        4,
        2 * 3 * 8192 + 4 * 8192 * 16,
    ),
    "linear_attn_config": (
        {"linear_attn_config": {"full_attn_layers": [4, 8, 32], "num_heads": 32, "head_dim": 128}},
        3,
        2 * 3 * 3 * 4096 + 4 * 32 * 128**2,
    ),
}


def doubts(model_facts: Any) -> list[str]:
    return [problem.message for problem in judge_doubts(model_facts, ("models", "m"))]


@pytest.mark.parametrize("key", HYBRIDS)
def test_only_layers_that_attend_have_a_cache_and_the_others_keep_a_state(key: str) -> None:
    settings, attending, state = HYBRIDS[key]
    model_facts = facts(**settings)
    assert memory.kv_bytes_per_token(model_facts) == attending * 2 * 8 * 128 * 2
    assert model_facts.state is not None
    assert model_facts.state.bytes == state
    assert doubts(model_facts) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"attn_type_list": [0, 0, 0, 0, 0, 0, 0, 1] * 4},
        {"layer_types": PERIOD_OF_EIGHT * 4},
        {"hybrid_layer_pattern": [0, 1] * 16, "sliding_window": 128},
        {"layer_types": ["full_attention", "attention_of_tomorrow"] * 16},
        {"model_type": "tomorrow", "sliding_window": 128},
    ],
)
def test_layers_that_are_not_known_count_as_full_attention_and_are_a_doubt(settings: dict[str, Any]) -> None:
    model_facts = replace(facts(**settings), weights=WeightBytes(1, 1, 1, "safetensors headers"))
    assert [(group.count, group.window) for group in model_facts.kv] == [(32, None)]
    (doubt,) = doubts(model_facts)
    assert doubt.endswith("so every layer counts as full attention, in 16 bits, with a margin for its kernels")


def test_latent_attention_in_a_hybrid_is_counted_in_its_own_layers_alone() -> None:
    model_facts = facts(
        kv_lora_rank=512,
        qk_rope_head_dim=64,
        linear_attn_config={"full_attn_layers": [4, 8], "num_heads": 32, "head_dim": 128},
    )
    assert memory.kv_bytes_per_token(model_facts) == 2 * 576 * 2


@pytest.mark.parametrize("windows", [["sliding_attention", "full_attention"] * 16, None])
def test_windows_are_no_doubt(windows: list[str] | None) -> None:
    assert doubts(facts(sliding_window=1024, layer_types=windows)) == []


def test_a_family_nobody_has_counted_is_told_where_only_its_shape_is_known() -> None:
    unknown = facts(model_type="own")
    assert doubts(unknown) == [
        "is counted only roughly: its weights are reckoned as a plain decoder's, which nobody has held against one of "
        "family own; family own is not known here, so every layer counts as full attention, in 16 bits, with a margin "
        "for its kernels"
    ]
    held = replace(unknown, weights=WeightBytes(1, 1, 1, "safetensors headers"))
    assert doubts(held) == [
        "is counted only roughly: family own is not known here, so every layer counts as full attention, in 16 bits, "
        "with a margin for its kernels"
    ]


def test_a_quantization_that_does_not_say_its_size_is_told() -> None:
    (doubt,) = doubts(facts(quantization_config={"quant_method": "quark"}))
    assert doubt.endswith("its settings do not say what quark takes a weight, so they count in full (bfloat16)")


@pytest.mark.parametrize("name", presets.names())
def test_no_preset_is_in_doubt(name: str) -> None:
    assert doubts(presets.find(name)) == []


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (
            # DeepSeek-V2-Lite
            {
                **{"model_type": "deepseek_v2", "hidden_size": 2048, "intermediate_size": 10944, "vocab_size": 102_400},
                **{"num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16, "kv_lora_rank": 512},
                **{"qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128, "n_routed_experts": 64},
                **{"n_shared_experts": 2, "moe_intermediate_size": 1408, "first_k_dense_replace": 1},
            },
            15_706_484_224,
        ),
        (
            # Gemma 3 1B, which has no vision tower
            {
                **{"model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912, "head_dim": 256},
                **{"num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1, "vocab_size": 262_144},
                "tie_word_embeddings": True,
            },
            999_885_952,
        ),
    ],
)
def test_families_without_a_preset_are_counted_to_the_last_parameter_too(config: Any, published: int) -> None:
    whole = {**CONFIG, **config}
    shape = config_json.read(whole)
    assert estimate_weights.parameters(shape, whole).total == published
    assert build.weights(shape, whole, None)[0].total == 2 * published
