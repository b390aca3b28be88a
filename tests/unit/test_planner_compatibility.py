"""Whether a model can be served as asked: every refusal with its whole text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.typed.refusal import Problem
from infra.planner.facts import presets
from infra.planner.facts.architectures import Choice, choose, recorded
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.sizing.compatibility import Demands, judge_model_facts, splits
from infra.planner.sizing.compatibility_gpu import Gpu, capability, judge_gpu, table
from infra.planner.sizing.planned_pool import as_loaded
from infra.stackfile.findings.formatting import show, show_path

AT = ("models", "m")
T4, A10G, L4, H100 = Gpu("T4", (7, 5)), Gpu("A10G", (8, 6)), Gpu("L4", (8, 9)), Gpu("H100", (9, 0))


def known(name: str) -> ModelFacts:
    preset = presets.find(name)
    assert preset is not None
    return preset


QWEN = known("qwen2.5-7b")
DEEPSEEK = known("deepseek-v3")
CROSS = replace(QWEN, architecture="BertForSequenceClassification", task="classify")
EAR = replace(QWEN, architecture="WhisperForConditionalGeneration", task="transcribe")


def words_of(problem: Problem) -> str:
    parts = f"{show_path(problem.path)}: {show(problem.value)} {problem.message}"
    return f"{parts}; allowed: {problem.allowed}; fix: {problem.fix} [{problem.code} {problem.severity}]"


def messages(facts: ModelFacts, gpu: Gpu | None = H100, demands: Demands | None = None) -> list[str]:
    return [words_of(problem) for problem in judge_model_facts(facts, gpu, demands or Demands(), AT)]


def raw(facts: ModelFacts, **more: Any) -> Mapping[str, Any]:
    return {**facts.raw, **more}


def quantized(method: str, **more: Any) -> ModelFacts:
    return replace(QWEN, quantization=method, dtype="float16", **more)


CASES: dict[str, tuple[ModelFacts, Gpu | None, Demands, str]] = {
    "gated": (
        known("llama-3.1-8b"),
        H100,
        Demands(),
        "models.m.id: 'meta-llama/Llama-3.1-8B-Instruct' is gated under the licence llama3.1, which must be "
        "accepted by whoever runs it; allowed: a model whose licence is acknowledged; fix: read it on the model's "
        "page, accept it there, and record who accepted it in the stack [EBB019 mandatory]",
    ),
    "gated under no named licence": (
        replace(QWEN, gated=True, licence=None),
        H100,
        Demands(),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' is gated: its licence must be accepted by whoever runs it; "
        "allowed: a model whose licence is acknowledged; fix: read it on the model's page, accept it there, and "
        "record who accepted it in the stack [EBB019 mandatory]",
    ),
    "gating unknown": (
        known("mistral-7b"),
        H100,
        Demands(),
        "models.m.id: 'mistralai/Mistral-7B-Instruct-v0.3' may be gated: that could not be looked up; allowed: a "
        "model one may fetch; fix: look on its page; if it is, accept the licence there and give a token [EBB241 "
        "warning]",
    ),
    "GGUF only": (
        replace(QWEN, weight_files=("gguf",)),
        H100,
        Demands(),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' comes as GGUF only, which this engine does not load; allowed: "
        "safetensors; fix: use the repository it was converted from, or an AWQ, GPTQ or FP8 build [EBB021 error]",
    ),
    "pickle only": (
        replace(QWEN, weight_files=("bin", "gguf")),
        H100,
        Demands(),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' comes as a pickle only (.bin), which can run code in the "
        "engine, on the node that loads it; allowed: safetensors; fix: use a revision or build with safetensors; or "
        "set allowPickle: true where you trust its publisher [EBB022 mandatory]",
    ),
    "pickle only, in a bucket": (
        replace(QWEN, weight_files=("bin",)),
        H100,
        Demands(pickle_accepted=True, streamed=True),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' comes as a pickle only (.bin), and the engine can read this place's "
        "bucket with safetensors alone; allowed: safetensors; fix: use a revision or build with safetensors, or "
        "publish a conversion under an id of your own [EBB022 error]",
    ),
    "remote code": (
        replace(QWEN, architecture="OwnForCausalLM", raw=raw(QWEN, auto_map={"AutoModelForCausalLM": "own.Own"})),
        H100,
        Demands(),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' needs code from its own repository (auto_map) to run: vLLM 0.32.0"
        " has no OwnForCausalLM; its repository brings the class; allowed: no remote code; fix: use a model the "
        "engine has itself, or read that code at its commit and have the exception approved [EBB023 mandatory]",
    ),
    "unknown architecture": (
        replace(QWEN, architecture="OwnForCausalLM"),
        H100,
        Demands(),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' is of architecture OwnForCausalLM, which vLLM 0.32.0 does not "
        "know; allowed: an architecture of the engine's list, or one it serves through transformers; fix: use "
        "another model, or another version of the engine [EBB024 error]",
    ),
    "architecture given up": (
        replace(QWEN, architecture="MPTForCausalLM"),
        H100,
        Demands(),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' is of architecture MPTForCausalLM, which vLLM had until 0.28.0 "
        "and 0.32.0 no longer has; allowed: an architecture of the engine's list, or one it serves through "
        "transformers; fix: use another model, or another version of the engine [EBB024 error]",
    ),
    "architecture through transformers, but the engine's own is asked for": (
        replace(QWEN, architecture="GlmForCausalLM"),
        H100,
        Demands(engine="vllm"),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' is of architecture GlmForCausalLM, which vLLM 0.32.0 serves "
        "through transformers only; allowed: an architecture of the engine's list, or one it serves through "
        "transformers; fix: set engine: auto [EBB024 error]",
    ),
    "context too long": (
        QWEN,
        H100,
        Demands(context=40_000),
        "models.m.maxTokens: 40000 is more than Qwen/Qwen2.5-7B-Instruct was made for, 32768 tokens; allowed: "
        "1..32768; fix: set maxTokens: 32768 or less [EBB027 error]",
    ),
    "heads not divided": (
        QWEN,
        H100,
        Demands(tensor_parallel=8),
        "models.m.gpus: 8 does not divide 28 attention heads and 4 KV heads; allowed: 1, 2, 4, 28; fix: set gpus: "
        "4 [EBB028 error]",
    ),
    "heads divided but KV heads neither divided nor copied": (
        QWEN,
        H100,
        Demands(tensor_parallel=7),
        "models.m.gpus: 7 does not divide 28 attention heads and 4 KV heads; allowed: 1, 2, 4, 28; fix: set gpus: "
        "4 [EBB028 error]",
    ),
    "FP8 on Ampere": (
        DEEPSEEK,
        A10G,
        Demands(),
        "models.m.id: 'deepseek-ai/DeepSeek-V3' is in FP8, which A10G (compute capability 8.6) keeps but computes "
        "in 16 bits: smaller, not faster; allowed: compute capability 8.9 or more for FP8 computation; fix: use "
        "cards from Ada or Hopper on for the speed, or leave it for the memory alone [EBB029 warning]",
    ),
    "bfloat16 asked for on a T4": (
        quantized("awq"),
        T4,
        Demands(dtype="bfloat16"),
        "models.m.dtype: 'bfloat16' is asked for, but T4 (compute capability 7.5) cannot compute it; allowed: "
        "float16 here, bfloat16 from 8.0 on; fix: set dtype: float16 [EBB030 error]",
    ),
    "bfloat16 model on a T4": (
        QWEN,
        T4,
        Demands(),
        "models.m.dtype: 'bfloat16' is what the model is in, and T4 (compute capability 7.5) cannot compute it; "
        "allowed: float16 here, bfloat16 from 8.0 on; fix: set dtype: float16 [EBB030 error]",
    ),
    "a model that is unstable in float16 on a T4": (
        known("gemma-2-9b"),
        T4,
        Demands(licence_accepted=True),
        "models.m.dtype: 'bfloat16' is what the model is in, and T4 (compute capability 7.5) cannot compute it; "
        "allowed: bfloat16, from compute capability 8.0 on; fix: use a pool with cards of compute capability 8.0 "
        "or more [EBB030 error]",
    ),
    "float16 for a model unstable in it": (
        known("gemma-3-4b"),
        L4,
        Demands(licence_accepted=True, dtype="float16"),
        "models.m.dtype: 'float16' is not stable for gemma3 models, and the engine refuses it; allowed: bfloat16 "
        "or float32; fix: leave dtype out [EBB243 error]",
    ),
    "base model on chat": (
        replace(QWEN, task="base", chat_template=False),
        H100,
        Demands(),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' is a base model: it has no chat template, and its route is for "
        "chat; allowed: a chat or instruct model; fix: use its instruct version [EBB031 error]",
    ),
    "chat template unknown": (
        replace(QWEN, task=None, chat_template=None),
        H100,
        Demands(),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' may have no chat template: that could not be looked up; allowed: "
        "a chat or instruct model; fix: look for chat_template in its tokenizer_config.json [EBB244 warning]",
    ),
    "embedding model on chat": (
        known("qwen3-embedding-0.6b"),
        H100,
        Demands(),
        "models.m.id: 'Qwen/Qwen3-Embedding-0.6B' is an embedding model, and its route is for chat; allowed: a "
        "chat or instruct model; fix: set task: embed [EBB033 error]",
    ),
    "classifier": (
        CROSS,
        H100,
        Demands(),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' scores or classifies, and its route is for chat; allowed: a chat or "
        "instruct model; fix: set task: rerank [EBB033 error]",
    ),
    "a classifier for embeddings": (
        CROSS,
        H100,
        Demands(task="embed"),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' scores or classifies, and gives no vectors; allowed: an embedding "
        "model; fix: set task: rerank [EBB245 error]",
    ),
    "a classifier with several labels": (
        replace(CROSS, raw=raw(CROSS, id2label={"0": "bad", "1": "good"})),
        H100,
        Demands(task="score"),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' sorts into 2 classes, and the engine scores with models that have "
        "one; allowed: a cross-encoder with one label; fix: use a reranker [EBB245 error]",
    ),
    "an embedding model to rank": (
        known("qwen3-embedding-0.6b"),
        H100,
        Demands(task="rerank"),
        "models.m.id: 'Qwen/Qwen3-Embedding-0.6B' is an embedding model: it has no head that scores; allowed: a "
        "cross-encoder; fix: set task: embed, which has the paths for rerank and score as well [EBB245 error]",
    ),
    "a chat model to rank": (
        QWEN,
        H100,
        Demands(task="rerank"),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' has no head that scores: the engine makes one only as told by "
        "--hf-overrides, else scores mean nothing; allowed: a cross-encoder; fix: use a cross-encoder, or give the "
        "overrides of its model card under extraArgs [EBB280 warning]",
    ),
    "a chat model to transcribe": (
        QWEN,
        H100,
        Demands(task="transcribe"),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' turns no speech into text; allowed: a model like Whisper or Voxtral; "
        "fix: use one, or set the task it is made for [EBB245 error]",
    ),
    "a model that transcribes on chat": (
        EAR,
        H100,
        Demands(),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' turns speech into text and does nothing else, and its route is for "
        "chat; allowed: a chat or instruct model; fix: set task: transcribe [EBB033 error]",
    ),
    "chat model for embeddings": (
        QWEN,
        H100,
        Demands(task="embed"),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' was not made for embeddings: the engine turns it into one, with "
        "poor vectors; allowed: an embedding model; fix: use an embedding model, or set task: chat [EBB246 warning]",
    ),
    "image model": (
        known("flux.1-schnell"),
        H100,
        Demands(licence_accepted=True),
        "models.m.id: 'black-forest-labs/FLUX.1-schnell' makes images, and no engine here serves that; its source asks "
        "for a card of 40 GB; allowed: a model for one of the tasks; fix: use one, or serve this one with an engine "
        "of its own kind [EBB245 error]",
    ),
    "card too old": (
        QWEN,
        Gpu("P100", (6, 0)),
        Demands(),
        "models.m.pool: 'P100' has compute capability 6.0, and the engine's image has no code for it; allowed: 7.0"
        " or more; fix: use a pool with newer cards [EBB240 error]",
    ),
    "card too old for CUDA 13": (
        QWEN,
        Gpu("V100", (7, 0), cuda="13.0"),
        Demands(),
        "models.m.pool: 'V100' has compute capability 7.0, and the engine's image has no code for it; allowed: 7.5"
        " or more; fix: use a pool with newer cards [EBB240 error]",
    ),
    "driver too old": (
        QWEN,
        Gpu("A10G", (8, 6), driver="570.86.15", cuda="13.0"),
        Demands(),
        "models.m.pool: '570.86.15' is too old for the engine's image, which is built for CUDA 13.0; allowed: "
        "driver 580.65.06 or newer; fix: use a node image with a newer driver, or an engine image for an older "
        "CUDA [EBB043 error]",
    ),
    "a cache in FP8 on a T4": (
        quantized("awq"),
        T4,
        Demands(kv_dtype="fp8"),
        "models.m.extraArgs: 'fp8' is asked for, and the engine has no kernel that keeps a cache so on T4 (compute "
        "capability 7.5); allowed: auto, or a type the card's kernels have; fix: leave --kv-cache-dtype out, or use "
        "cards of compute capability 8.0 or more [EBB263 error]",
    ),
    "a cache in bfloat16 on a T4": (
        quantized("awq"),
        T4,
        Demands(kv_dtype="bfloat16"),
        "models.m.extraArgs: 'bfloat16' is asked for, and the engine has no kernel that keeps a cache so on T4 "
        "(compute capability 7.5); allowed: auto, or a type the card's kernels have; fix: leave --kv-cache-dtype out, "
        "or use cards of compute capability 8.0 or more [EBB263 error]",
    ),
    "a latent cache in FP8 on Ampere": (
        replace(DEEPSEEK, quantization=None),
        A10G,
        Demands(kv_dtype="fp8"),
        "models.m.extraArgs: 'fp8' is asked for, and the engine has no kernel that keeps a latent cache so on A10G "
        "(compute capability 8.6); allowed: auto, or a type the card's kernels have; fix: leave --kv-cache-dtype out, "
        "or use cards of compute capability 8.9 or more [EBB263 error]",
    ),
    "a latent cache in the other FP8": (
        DEEPSEEK,
        H100,
        Demands(kv_dtype="fp8_e5m2"),
        "models.m.extraArgs: 'fp8_e5m2' is a cache type that no kernel of the engine has for latent attention; "
        "allowed: auto, fp8; fix: take fp8, or leave --kv-cache-dtype out [EBB263 error]",
    ),
    "FP8 blocks cut": (
        replace(DEEPSEEK, raw=raw(DEEPSEEK, moe_intermediate_size=1536)),
        H100,
        Demands(tensor_parallel=8),
        "models.m.gpus: 8 cuts moe_intermediate_size 1536 into parts that are no whole blocks of 128; allowed:"
        " 1, 2, 4; fix: set gpus: 4 [EBB242 error]",
    ),
    "quantization unknown": (
        quantized("squeezellm"),
        H100,
        Demands(),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' is quantized with squeezellm, which vLLM 0.32.0 does not load; "
        "allowed: AWQ, GPTQ, FP8, compressed-tensors or MXFP4; fix: use a build of the model in one of these "
        "[EBB247 error]",
    ),
    "bitsandbytes without its plugin": (
        quantized("bitsandbytes"),
        H100,
        Demands(),
        "models.m.id: 'Qwen/Qwen2.5-7B-Instruct' is quantized with bitsandbytes, which vLLM had until 0.27.1 and "
        "has as the plugin vllm-bnb-plugin since, which the image lacks; allowed: AWQ, GPTQ, FP8, compressed-"
        "tensors or MXFP4; fix: use a build of the model in one of these, or add vllm-bnb-plugin to the image's "
        "packages [EBB247 error]",
    ),
    "bitsandbytes over two cards": (
        quantized("bitsandbytes"),
        H100,
        Demands(tensor_parallel=2, plugins=frozenset({"vllm-bnb-plugin"})),
        "models.m.gpus: 2 cannot be split over GPUs: the model is quantized with bitsandbytes beforehand; allowed:"
        " 1; fix: set gpus: 1, or use an AWQ, GPTQ or FP8 build [EBB248 error]",
    ),
    "MXFP4 on a T4": (
        replace(known("gpt-oss-20b"), dtype="float16"),
        T4,
        Demands(),
        "models.m.id: 'openai/gpt-oss-20b' is quantized with mxfp4, which T4 (compute capability 7.5) cannot "
        "compute; allowed: compute capability 8.0 or more; fix: use a pool with newer cards, or another build of "
        "the model [EBB249 error]",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_work_is_refused_with_what_is_allowed_and_how_to_mend_it(case: str) -> None:
    facts, gpu, demands, expected = CASES[case]
    assert messages(facts, gpu, demands) == [expected]


@pytest.mark.parametrize(
    ("facts", "demands"),
    [
        (known("llama-3.1-8b"), Demands(licence_accepted=True, context=131_072, tensor_parallel=8)),
        (replace(QWEN, weight_files=("bin",)), Demands(pickle_accepted=True)),
        (
            replace(QWEN, architecture="OwnForCausalLM", raw=raw(QWEN, auto_map={"AutoModel": "own.Own"})),
            Demands(remote_code_accepted=True),
        ),
        (DEEPSEEK, Demands(tensor_parallel=8)),  # its auto_map is not needed: the engine has the architecture
        (known("bge-m3"), Demands(task="embed", pickle_accepted=True)),
        (known("qwen2.5-vl-7b"), Demands(tensor_parallel=4)),
        (known("gpt-oss-120b"), Demands(tensor_parallel=8)),
        (quantized("awq"), Demands()),
        (quantized("gptq"), Demands()),
        (quantized("compressed-tensors"), Demands()),
        (quantized("bitsandbytes"), Demands(plugins=frozenset({"vllm-bnb-plugin"}))),
        (replace(QWEN, gated=None, disk_bytes=1), Demands()),  # its files are at hand
        (replace(QWEN, weight_files=()), Demands()),  # unknown is not refused
        (CROSS, Demands(task="rerank")),
        (replace(CROSS, raw=raw(CROSS, id2label={"0": "LABEL_0"})), Demands(task="score")),
        (EAR, Demands(task="transcribe")),
        (replace(QWEN, architecture="VoxtralForConditionalGeneration"), Demands(task="transcribe")),
        (QWEN, Demands(kv_dtype="fp8")),
        (DEEPSEEK, Demands(kv_dtype="fp8")),
    ],
)
def test_what_works_is_left_alone(facts: ModelFacts, demands: Demands) -> None:
    assert messages(facts, H100, demands) == []


def test_whole_experts_on_each_gpu_cut_no_block() -> None:
    facts, gpu, demands, message = CASES["FP8 blocks cut"]
    assert messages(facts, gpu, demands) == [message]
    assert messages(facts, gpu, replace(demands, expert_parallel=True)) == []


def test_a_cache_in_fp8_does_on_ampere_where_it_is_no_latent_one() -> None:
    assert messages(QWEN, A10G, Demands(kv_dtype="fp8")) == []


def test_a_model_in_32_bits_does_on_a_t4_which_the_engine_takes_in_float16() -> None:
    demands = Demands(task="embed", pickle_accepted=True)
    assert messages(as_loaded(known("bge-m3"), "auto"), T4, demands) == []
    assert "EBB030" in messages(as_loaded(known("bge-m3"), "auto"), T4, replace(demands, dtype="bfloat16"))[0]


def test_float16_makes_a_t4_do() -> None:
    assert messages(QWEN, T4, Demands(dtype="float16")) == []
    assert messages(quantized("awq"), T4) == []


def test_on_a_cpu_nothing_is_judged_by_a_card() -> None:
    assert messages(DEEPSEEK, None) == []


def test_all_that_is_wrong_comes_at_once() -> None:
    worst = replace(
        quantized("mxfp4"),
        gated=True,
        weight_files=("gguf",),
        architecture="MPTForCausalLM",
        task="base",
        dtype="bfloat16",
    )
    gpu = Gpu("T4", (7, 5), driver="525.60.13", cuda="13.0")
    problems = list(judge_model_facts(worst, gpu, Demands(context=10**6, tensor_parallel=3), AT))
    assert sorted(int(problem.code[3:]) for problem in problems) == [19, 21, 24, 27, 28, 30, 31, 43, 249]


def test_the_engine_chooses_its_own_implementation_first() -> None:
    assert choose(QWEN) == Choice("vllm", "vLLM 0.32.0 has Qwen2ForCausalLM")
    glm = replace(QWEN, architecture="GlmForCausalLM")
    assert choose(glm) == Choice("transformers", "vLLM 0.32.0 serves GlmForCausalLM through transformers")
    assert choose(glm, "vllm").implementation is None
    assert choose(QWEN, "transformers") == Choice("transformers", "as asked")
    assert choose(replace(QWEN, architecture=None)) == Choice(None, "has no architecture in its config.json")
    own = replace(QWEN, architecture="OwnForCausalLM", raw=raw(QWEN, auto_map={"AutoConfig": "own.Config"}))
    assert choose(own).implementation is None  # a configuration alone is no model


def test_the_quantization_table_is_of_the_pinned_engine() -> None:
    assert table().engine == recorded().version
    assert all(capability(text) >= (6, 0) for text in table().methods.values())


@given(st.sampled_from(presets.names()), st.integers(1, 16))
def test_a_split_is_refused_exactly_when_it_is_not_listed(name: str, count: int) -> None:
    facts = known(name)
    if facts.task == "image":
        return
    refused = {int(p.code[3:]) for p in judge_model_facts(facts, None, Demands(tensor_parallel=count), AT)} & {28}
    assert bool(refused) == (count not in splits(facts))


@given(
    st.sampled_from(presets.names()),
    st.tuples(st.integers(3, 12), st.integers(0, 9)),
    st.sampled_from(["auto", "float16", "bfloat16", "float32"]),
    st.sampled_from([None, *table().methods, *table().removed, "nonsense"]),
)
def test_no_card_and_no_model_make_it_fail(
    name: str, capability: tuple[int, int], dtype: str, method: str | None
) -> None:
    facts = replace(known(name), quantization=method)
    gpu = Gpu("any", capability, driver="580.65.06", cuda="13.0")
    for problem in judge_gpu(facts, gpu, dtype, frozenset(), 1, AT):
        assert words_of(problem)
