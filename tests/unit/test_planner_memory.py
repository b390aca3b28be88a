"""The planner's arithmetic: the source texts' figures, and what must hold for any model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.commands.fit import answered
from infra.commands.options import FitOptions
from infra.planner.facts import config_json, estimate_weights, model_source, presets
from infra.planner.facts.model_facts import KvLayers, ModelFacts
from infra.planner.fit_answer import as_json
from infra.planner.sizing import memory
from infra.planner.sizing.memory import GIB, Engine, full_forward
from infra.workspace import PROJECT

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}
LLAMA_70B = {
    **LLAMA_8B,
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
    "num_hidden_layers": 80,
}
DEEPSEEK_V3 = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "num_hidden_layers": 61,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 129280,
    "max_position_embeddings": 163840,
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096},
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}


def facts_of(config: dict[str, Any]) -> ModelFacts:
    shape = config_json.read(config)
    weights, parameters = estimate_weights.estimate(shape, config)
    return model_source.facts(
        config,
        shape,
        model_id="test/model",
        revision=None,
        weights=weights,
        parameters=parameters,
        chat_template=True,
        weight_files=("safetensors",),
        disk_bytes=None,
        source="test",
    )


EIGHT, SEVENTY = facts_of(LLAMA_8B), facts_of(LLAMA_70B)


def test_parameters_of_known_models_are_exact() -> None:
    # as their authors give them
    assert EIGHT.parameters == 8_030_261_248
    assert SEVENTY.parameters == 70_553_706_496
    assert facts_of(DEEPSEEK_V3).parameters == pytest.approx(671_026_419_200, rel=1e-6)


def test_weights_are_as_the_texts_quote_them() -> None:
    # seed 000: "Llama-3.1-8B: Requires approximately 16 GB of GPU memory."
    assert EIGHT.weights is not None
    assert EIGHT.weights.total / 1e9 == pytest.approx(16, rel=0.01)
    # seed 000: "Llama-3.1-70B: Requires approximately 160 GB of GPU memory.": the weights are 141 GB, and 160 with what
    # the engine needs beside them on eight cards
    assert SEVENTY.weights is not None
    assert SEVENTY.weights.total / 1e9 == pytest.approx(141.1, rel=0.001)
    plan = memory.plan(SEVENTY, 80 * GIB, Engine(context=4096, tensor_parallel=8))
    assert 141 < 8 * (plan.weights + plan.activations + plan.overhead) / 1e9 < 171


def test_a_model_of_24_billion_parameters_weighs_what_the_text_says_in_16_bits_and_in_8() -> None:
    # seed 001: "An un-quantized 24B model at BF16 [...] requires 24 x 2 = 48GB [...] FP8 [...] 24 x 1 = 24GB."
    # Mistral-Small-24B's own shape: 23.57 billion, of which embeddings and norms stay in 16 bits
    small = {
        **LLAMA_8B, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": 5120,
        "intermediate_size": 32768, "num_hidden_layers": 40, "head_dim": 128, "vocab_size": 131072,
    }  # fmt: skip
    plain = facts_of(small)
    eight_bits = facts_of({**small, "quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}})
    assert plain.weights is not None
    assert eight_bits.weights is not None
    assert plain.parameters == pytest.approx(24e9, rel=0.02)
    assert plain.weights.total / 1e9 == pytest.approx(48, rel=0.02)
    assert eight_bits.weights.total / 1e9 == pytest.approx(24, rel=0.06)


def test_cache_of_a_thousand_tokens_is_as_the_text_quotes_it() -> None:
    # seed 000: "Example KV Cache Requirements (1000 Tokens): Llama-3.1-8B: ~0.125 GB, Llama-3.1-70B: ~0.313 GB"
    assert memory.kv_bytes_per_token(EIGHT) == 131_072
    assert memory.kv_bytes_per_token(SEVENTY) == 327_680
    assert 1000 * memory.kv_bytes_per_token(EIGHT) / 1e6 / 1024 == pytest.approx(0.125, rel=0.03)
    assert 1000 * memory.kv_bytes_per_token(SEVENTY) / 1e6 / 1024 == pytest.approx(0.313, rel=0.03)


def test_the_full_context_needs_what_the_text_says() -> None:
    # seed 001: "Llama-3.1-8B requires at least 16GB of KV cache with the default context length (128k tokens).
    # Reducing the context length from 128k to 32k tokens" brings it to 4 GB
    engine = Engine(context=131_072)
    assert memory.kv_bytes_of_sequence(EIGHT, engine) == 16 * GIB
    assert memory.kv_bytes_of_sequence(EIGHT, engine, 32_768) == 4 * GIB


@pytest.mark.parametrize(("batch", "context"), [(16, 1024), (8, 2048), (4, 4096), (1, 16384)])
def test_a_24_gb_card_holds_the_batches_the_text_names(batch: int, context: int) -> None:
    # seed 003: "a GPU with 24 GB of VRAM can handle batched inference with around: a batch size of 16 and a context
    # length of 1024; 8 and 2048; 4 and 4096; 1 and 16384"
    plan = memory.plan(EIGHT, 24 * GIB, Engine(context=context, sequences=batch, max_batched_tokens=2048))
    assert plan.fits
    assert plan.sequences >= batch


def test_the_totals_of_a_full_forward_pass_come_out_to_the_hundredth() -> None:
    # seed 002: "LLama-3.1-70B [...] Total Inference Memory: 236.69 GB, Model Weights: 130.39 GB, KV Cache: 19.77 GB,
    # Activation Memory: 86.54 GB"; "Meta-LLaMA-3.1-7B": 62.12 = 14.90 + 3.95 + 43.27; "Mistral 7B": 60.26 = 13.04 + …
    expected = {
        (70_000_000_000, 80, 8192, 64): (130.39, 19.77, 86.54, 236.69),
        (8_000_000_000, 32, 4096, 32): (14.90, 3.95, 43.27, 62.12),
        (7_000_000_000, 32, 4096, 32): (13.04, 3.95, 43.27, 60.26),
    }
    for shape, figures in expected.items():
        totals = full_forward(*shape)
        parts = (totals.weights, totals.kv, totals.activations, totals.total)
        assert [round(part / GIB, 2) for part in parts] == pytest.approx(list(figures), abs=0.011)


def test_the_page_tells_what_the_figures_of_older_guides_are() -> None:
    page = (PROJECT / "docs" / "plan.md").read_text().partition("## Against older guides")[2]
    seventy, eight = presets.find("llama-3.1-70b"), presets.find("llama-3.1-8b")
    assert seventy is not None
    assert eight is not None
    assert seventy.weights is not None
    plan = memory.plan(seventy, 80 * GIB, Engine(context=4096, tensor_parallel=8))
    beside = 8 * (plan.weights + plan.activations + plan.overhead)
    assert (
        f"weights {seventy.weights.total / 1e9:.1f} GB; with activations and the engine {beside / 1e9:.1f} GB" in page
    )
    cache = 4096 * memory.kv_bytes_per_token(eight)
    assert f"{cache / 1e9:.2f} GB for 4,096 tokens; all heads would take {4 * cache / 1e9:.2f} GB" in page
    for preset in ("llama-3.1-70b", "llama-3.1-8b"):
        shown = as_json(answered(FitOptions(model=preset)))["full_forward_bytes"]
        assert f"{shown / GIB:.2f} GiB" in page


def test_vllm_needs_less_than_the_full_forward_pass() -> None:
    plan = memory.plan(EIGHT, 80 * GIB, Engine(context=8096, sequences=1))
    assert plan.weights + plan.activations + plan.needed_for_one < full_forward(8_000_000_000, 32, 4096, 32).total / 2


def test_heads_are_copied_when_there_are_more_gpus_than_heads() -> None:
    two_heads = facts_of({**LLAMA_8B, "num_key_value_heads": 2})
    per_gpu = [memory.kv_bytes_per_token(two_heads, n) for n in (1, 2, 4, 8)]
    assert per_gpu == [per_gpu[0], per_gpu[0] / 2, per_gpu[0] / 2, per_gpu[0] / 2]


def test_a_latent_cache_is_whole_on_every_gpu() -> None:
    # 61 layers of 512 + 64 numbers of 2 bytes
    deepseek = facts_of(DEEPSEEK_V3)
    assert memory.kv_bytes_per_token(deepseek) == memory.kv_bytes_per_token(deepseek, 8) == 61 * 576 * 2
    assert deepseek.context == 163_840


def test_windowed_layers_stop_growing_with_the_context() -> None:
    gemma = facts_of(
        {**LLAMA_8B, "model_type": "gemma3_text", "sliding_window": 1024, "num_hidden_layers": 48, "head_dim": 128}
    )
    assert gemma.kv == (KvLayers(8, 8, 256, None), KvLayers(40, 8, 256, 1024))
    engine = Engine(context=131_072, max_batched_tokens=2048)
    short, long = (memory.kv_bytes_of_sequence(gemma, engine, n) for n in (32_768, 131_072))
    assert (long - short) == (131_072 - 32_768) * 8 * 2 * 128 * 2 * 8  # only the 8 layers that see everything


SMALL = {
    **LLAMA_8B,
    "hidden_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 6,
    "head_dim": 64,
    "vocab_size": 32000,
}
MIXED = {**SMALL, "sliding_window": 256}


@pytest.mark.parametrize(
    ("config", "blocks", "tokens"),
    [
        (SMALL, 682, 87_296),
        ({**MIXED, "model_type": "mistral"}, 682, 253_952),
        ({**MIXED, "model_type": "gemma3_text", "num_hidden_layers": 13}, 2048, 85_598),
        ({**MIXED, "model_type": "gemma2", "num_hidden_layers": 7}, 1024, 97_541),
    ],
)
def test_the_cache_holds_as_many_tokens_as_the_engine_logs(config: dict[str, Any], blocks: int, tokens: int) -> None:
    # vLLM 0.32.0 on the CPU (blocks of 128 tokens, one step in flight), 256 MiB of cache, 4,096 tokens of context:
    # docs/results/planner.json
    facts, engine = facts_of(config), Engine(context=4096, max_batched_tokens=1024, steps_in_flight=1)
    of_block, one = memory.block_bytes(facts, engine, 128), memory.kv_bytes_of_sequence(facts, engine, block=128)
    assert 256 * 2**20 // of_block == blocks
    assert int(blocks * of_block / one * 4096) == tokens


def test_a_windowed_layer_keeps_what_every_step_in_flight_adds() -> None:
    windowed = facts_of({**MIXED, "model_type": "mistral"})
    engine = Engine(context=32_768, max_batched_tokens=2048)
    for steps in (1, 2):
        kept = memory.kv_bytes_of_sequence(windowed, replace(engine, steps_in_flight=steps))
        blocks = -(-(255 + steps * 2048) // memory.BLOCK) + 1
        assert kept == blocks * memory.BLOCK * memory.kv_bytes_per_token(windowed)
    assert engine.steps_in_flight == 2  # as on a GPU


def test_a_cache_of_one_sequence_and_not_a_block_more_does_not_start() -> None:
    # vLLM holds one block back: with it the sequence would not fit
    plan = memory.plan(EIGHT, 24 * GIB, Engine(context=4096, max_batched_tokens=2048))
    assert plan.null_block == memory.BLOCK * 131_072
    just = replace(plan, kv_free=plan.needed_for_one + plan.null_block)
    assert just.fits
    assert not replace(just, kv_free=just.kv_free - 1).fits


def test_a_model_that_does_not_divide_over_the_gpus_is_not_split_so() -> None:
    odd = facts_of({**LLAMA_8B, "num_attention_heads": 36, "num_key_value_heads": 4, "head_dim": 128})
    assert [n for n in (1, 2, 4, 8) if memory.divides(odd, n)] == [1, 2, 4]


shapes = st.builds(
    lambda layers, kv, group, dim, mlp, vocab, window: facts_of(
        {
            **LLAMA_8B,
            "num_hidden_layers": layers,
            "num_key_value_heads": kv,
            "num_attention_heads": kv * group,
            "head_dim": dim,
            "hidden_size": kv * group * dim,
            "intermediate_size": mlp,
            "vocab_size": vocab,
            **({"sliding_window": window, "sliding_window_pattern": 3} if window else {}),
        }
    ),
    st.integers(1, 96),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([64, 96, 128]),
    st.integers(256, 30_000),
    st.integers(1000, 260_000),
    st.sampled_from([0, 128, 1024, 4096]),
)
engines = st.builds(
    Engine,
    context=st.integers(1, 200_000),
    sequences=st.integers(1, 256),
    max_batched_tokens=st.integers(16, 16_384),
    memory_share=st.floats(0.1, 0.99),
    kv_dtype=st.sampled_from(["auto", "fp8"]),
    tensor_parallel=st.sampled_from([1, 2, 4, 8]),
    eager=st.booleans(),
)


@given(shapes, engines, st.integers(8, 200))
def test_more_of_anything_never_leaves_more(facts: ModelFacts, engine: Engine, gib: int) -> None:
    plan = memory.plan(facts, gib * GIB, engine)

    def changed(**more: Any) -> memory.MemoryPlan:
        return memory.plan(facts, gib * GIB, replace(engine, **more))

    assert changed(context=engine.context * 2).needed_for_one >= plan.needed_for_one
    assert changed(context=engine.context * 2).sequences <= plan.sequences or plan.sequences == 0
    assert changed(sequences=engine.sequences * 2).kv_free <= plan.kv_free
    assert changed(max_batched_tokens=engine.max_batched_tokens * 2).kv_free <= plan.kv_free
    assert changed(kv_dtype="fp8").needed_for_one <= changed(kv_dtype="auto").needed_for_one
    split = changed(tensor_parallel=engine.tensor_parallel * 2)
    assert split.weights <= plan.weights
    assert split.kv_bytes_per_token <= plan.kv_bytes_per_token
    assert memory.plan(facts, (gib + 8) * GIB, engine).kv_free >= plan.kv_free


@given(shapes, engines, st.integers(8, 200))
def test_the_longest_context_fits_and_one_token_more_does_not(facts: ModelFacts, engine: Engine, gib: int) -> None:
    plan = memory.plan(facts, gib * GIB, engine)
    longest = plan.longest_context
    if longest:
        assert memory.kv_bytes_of_sequence(facts, engine, longest) <= plan.kv_free - plan.null_block
    if facts.context is None or longest < facts.context:
        assert memory.kv_bytes_of_sequence(facts, engine, longest + 1) > plan.kv_free - plan.null_block
    assert plan.fits == (engine.context <= longest) or engine.context > (facts.context or 0)
