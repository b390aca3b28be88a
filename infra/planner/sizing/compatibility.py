"""Compatibility of a model with what a stack asks: its files, its architecture, its purpose, and the card. Pure.

Memory is judged elsewhere (``memory.py``); what only the stack file shows is judged in ``infra/stackfile``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from components.typed.refusal import Path, Problem
from components.typed.rules.planner import (
    CHAT_TEMPLATE_UNKNOWN,
    FP8_BLOCKS_CUT,
    GATE_NOT_LOOKED_UP,
    MEMORY_ESTIMATE_ROUGH,
    POOR_EMBEDDINGS,
    SCORES_NEED_A_HEAD,
    TASK_MISMATCH,
)
from components.typed.rules.stack import (
    ARCHITECTURE_UNSUPPORTED,
    BASE_MODEL_ON_CHAT,
    CONTEXT_ABOVE_MODEL,
    GGUF_ONLY,
    HEADS_NOT_DIVISIBLE,
    LICENCE_NOT_ACCEPTED,
    NOT_A_CHAT_MODEL,
    PICKLE_ONLY,
    REMOTE_CODE_NEEDED,
)
from infra.planner.facts import quantized
from infra.planner.facts.architectures import Implementation, choose, transcribes
from infra.planner.facts.config_json import printable, text_part
from infra.planner.facts.model_facts import ModelFacts, Task
from infra.planner.sizing import memory
from infra.planner.sizing.compatibility_gpu import Gpu, judge_cache, judge_gpu, judge_on_load, table

MOST_GPUS = 64
_UNSERVED: Mapping[Task | None, str] = {"image": "makes images"}
AskedTask = Literal["chat", "base", "embed", "rerank", "score", "transcribe", "image"]
# what a model is called that is not for the task, and the task to set for it
_PURPOSES: Mapping[Task | None, tuple[str, str]] = {
    "embed": ("is an embedding model", "embed"),
    "classify": ("scores or classifies", "rerank"),
    "transcribe": ("turns speech into text and does nothing else", "transcribe"),
}


@dataclass(frozen=True)
class Demands:
    """Demands of the stack on one model. ``context`` is in tokens; None: the model's own. The three consents are what
    the stack's owner has agreed to; ``plugins`` are the engine's plugins in the image; ``split_key`` is the key that
    says over how many GPUs a layer is cut; ``streamed``: the engine reads the weights from a bucket;
    ``expert_parallel``: experts stay whole; ``quantization``: what the engine is to make of it while it loads;
    ``scaled``: positions are scaled by ``--hf-overrides``."""

    task: AskedTask = "chat"
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    split_key: str = "gpus"
    context: int | None = None
    dtype: str = "auto"
    kv_dtype: str = "auto"
    engine: Implementation = "auto"
    quantization: str | None = None
    licence_accepted: bool = False
    pickle_accepted: bool = False
    streamed: bool = False
    remote_code_accepted: bool = False
    plugins: frozenset[str] = field(default_factory=frozenset)
    expert_parallel: bool = False
    scaled: bool = False


def judge_model_facts(facts: ModelFacts, gpu: Gpu | None, demands: Demands, at: Path) -> Iterator[Problem]:
    """Yield every problem with serving ``facts`` under ``demands``; ``at`` is the model's path in the stack file,
    ``gpu`` None a CPU. An unknown fact is not refused, but reported where it may hurt."""
    yield from _files(facts, demands, at)
    yield from _purpose(facts, demands, at)
    if facts.task in _UNSERVED:
        return
    yield from _architecture(facts, demands, at)
    yield from _context(facts, demands, at)
    yield from _split(facts, demands, at)
    yield from judge_on_load(facts, gpu, demands.quantization, demands.dtype, at)
    if gpu is not None:
        yield from judge_gpu(facts, gpu, demands.dtype, demands.plugins, demands.tensor_parallel, at)
        yield from judge_cache(facts, gpu, demands.kv_dtype, at)


def _files(facts: ModelFacts, demands: Demands, at: Path) -> Iterator[Problem]:
    path, held = (*at, "id"), set(facts.weight_files)
    if facts.gated and not demands.licence_accepted:
        message = "is gated: its licence must be accepted by whoever runs it"
        if facts.licence:
            message = f"is gated under the licence {facts.licence}, which must be accepted by whoever runs it"
        fix = "read it on the model's page, accept it there, and record who accepted it in the stack"
        yield LICENCE_NOT_ACCEPTED.at(
            path, message, allowed="a model whose licence is acknowledged", fix=fix, value=facts.id
        )
    elif facts.gated is None and facts.disk_bytes is None and not demands.licence_accepted:
        # with its files at hand nothing needs to be downloaded
        message = "may be gated: that could not be looked up"
        fix = "look on its page; if it is, accept the licence there and give a token"
        yield GATE_NOT_LOOKED_UP.at(path, message, allowed="a model one may fetch", fix=fix, value=facts.id)
    if held == {"gguf"}:
        message = "comes as GGUF only, which this engine does not load"
        fix = "use the repository it was converted from, or an AWQ, GPTQ or FP8 build"
        yield GGUF_ONLY.at(path, message, allowed="safetensors", fix=fix, value=facts.id)
    elif "bin" in held and "safetensors" not in held:
        yield from _pickle(facts, demands, path)


def _pickle(facts: ModelFacts, demands: Demands, path: Path) -> Iterator[Problem]:
    if demands.streamed:
        # Source: vLLM 0.32.0, model_executor/model_loader/runai_streamer_loader.py, _prepare_weights
        message = "comes as a pickle only (.bin), and the engine can read this place's bucket with safetensors alone"
        fix = "use a revision or build with safetensors, or publish a conversion under an id of your own"
        yield PICKLE_ONLY.at(path, message, allowed="safetensors", fix=fix, value=facts.id, severity="error")
    elif not demands.pickle_accepted:
        message = "comes as a pickle only (.bin), which can run code in the engine, on the node that loads it"
        fix = "use a revision or build with safetensors; or set allowPickle: true where you trust its publisher"
        yield PICKLE_ONLY.at(path, message, allowed="safetensors", fix=fix, value=facts.id)


def _architecture(facts: ModelFacts, demands: Demands, at: Path) -> Iterator[Problem]:
    choice = choose(facts, demands.engine)
    if choice.implementation is None:
        allowed = "an architecture of the engine's list, or one it serves through transformers"
        fix = "use another model, or another version of the engine"
        if demands.engine == "vllm" and choose(facts).implementation is not None:
            fix = "set engine: auto"
        yield ARCHITECTURE_UNSUPPORTED.at((*at, "id"), choice.reason, allowed=allowed, fix=fix, value=facts.id)
    elif choice.remote_code and not demands.remote_code_accepted:
        message = f"needs code from its own repository (auto_map) to run: {choice.reason}"
        fix = "use a model the engine has itself, or read that code at its commit and have the exception approved"
        yield REMOTE_CODE_NEEDED.at((*at, "id"), message, allowed="no remote code", fix=fix, value=facts.id)


def _purpose(facts: ModelFacts, demands: Demands, at: Path) -> Iterator[Problem]:
    path, task = (*at, "id"), facts.task
    if task in _UNSERVED:
        message = f"{_UNSERVED[task]}, and no engine here serves that"
        if least := facts.raw.get("least_card_gb"):
            message += f"; its source asks for a card of {least} GB"
        allowed, fix = "a model for one of the tasks", "use one, or serve this one with an engine of its own kind"
        yield TASK_MISMATCH.at(path, message, allowed=allowed, fix=fix, value=facts.id)
    elif demands.task == "chat" and task in _PURPOSES:
        message = f"{_PURPOSES[task][0]}, and its route is for chat"
        fix = f"set task: {_PURPOSES[task][1]}"
        yield NOT_A_CHAT_MODEL.at(path, message, allowed="a chat or instruct model", fix=fix, value=facts.id)
    elif demands.task == "chat" and (task == "base" or facts.chat_template is False):
        message = "is a base model: it has no chat template, and its route is for chat"
        yield BASE_MODEL_ON_CHAT.at(
            path, message, allowed="a chat or instruct model", fix="use its instruct version", value=facts.id
        )
    elif demands.task == "chat" and task is None:
        message = "may have no chat template: that could not be looked up"
        fix = "look for chat_template in its tokenizer_config.json"
        yield CHAT_TEMPLATE_UNKNOWN.at(path, message, allowed="a chat or instruct model", fix=fix, value=facts.id)
    elif demands.task == "embed" and task in ("chat", "base"):
        message = "was not made for embeddings: the engine turns it into one, with poor vectors"
        fix = "use an embedding model, or set task: chat"
        yield POOR_EMBEDDINGS.at(path, message, allowed="an embedding model", fix=fix, value=facts.id)
    elif demands.task == "transcribe" and not transcribes(facts.architecture):
        message = "turns no speech into text"
        fix = "use one, or set the task it is made for"
        yield TASK_MISMATCH.at(path, message, allowed="a model like Whisper or Voxtral", fix=fix, value=facts.id)
    elif demands.task in ("rerank", "score") and task != "classify":
        yield from _no_head(facts, path)
    elif demands.task in ("rerank", "score") and (labels := _labels(facts)) not in (None, 1):
        message = f"sorts into {labels} classes, and the engine scores with models that have one"
        yield TASK_MISMATCH.at(
            path, message, allowed="a cross-encoder with one label", fix="use a reranker", value=facts.id
        )
    elif demands.task == "embed" and task in _PURPOSES and task != "embed":
        message, fix = f"{_PURPOSES[task][0]}, and gives no vectors", f"set task: {_PURPOSES[task][1]}"
        yield TASK_MISMATCH.at(path, message, allowed="an embedding model", fix=fix, value=facts.id)


def _no_head(facts: ModelFacts, path: Path) -> Iterator[Problem]:
    """Yield what is wrong with scoring by a model that was not made for it."""
    if facts.task in ("embed", "transcribe"):
        message = f"{_PURPOSES[facts.task][0]}: it has no head that scores"
        fix = f"set task: {_PURPOSES[facts.task][1]}"
        if facts.task == "embed":
            fix += ", which has the paths for rerank and score as well"
        yield TASK_MISMATCH.at(path, message, allowed="a cross-encoder", fix=fix, value=facts.id)
        return
    message = "has no head that scores: the engine makes one only as told by --hf-overrides, else scores mean nothing"
    fix = "use a cross-encoder, or give the overrides of its model card under extraArgs"
    yield SCORES_NEED_A_HEAD.at(path, message, allowed="a cross-encoder", fix=fix, value=facts.id)


def _labels(facts: ModelFacts) -> int | None:
    """Return the number of classes that a model sorts into; None where its configuration does not say."""
    count, names = facts.raw.get("num_labels"), facts.raw.get("id2label")
    if isinstance(count, int):
        return count
    return len(names) if isinstance(names, Mapping) else None


def _context(facts: ModelFacts, demands: Demands, at: Path) -> Iterator[Problem]:
    if facts.context is not None and demands.context is not None and demands.context > facts.context:
        message = f"is more than {facts.id} was made for, {facts.context} tokens"
        fix = f"set maxTokens: {facts.context} or less"
        if demands.scaled:
            fix += ", or give max_position_embeddings in --hf-overrides, too: the engine takes it for scaled already"
        yield CONTEXT_ABOVE_MODEL.at(
            (*at, "maxTokens"), message, allowed=f"1..{facts.context}", fix=fix, value=demands.context
        )


def splits(facts: ModelFacts, most: int = MOST_GPUS) -> tuple[int, ...]:
    """Return the GPU counts the model can be split over: attention heads divide, and KV heads divide or are copied."""
    return tuple(n for n in range(1, most + 1) if memory.divides(facts, n))


def _split(facts: ModelFacts, demands: Demands, at: Path) -> Iterator[Problem]:
    path, count = (*at, demands.split_key), demands.tensor_parallel
    if not memory.divides(facts, count):
        possible = splits(facts)
        shown = ", ".join(map(str, possible))
        kv = f" and {facts.kv_heads} KV heads" if facts.kv_heads != facts.heads and facts.kv else ""
        less = max((n for n in possible if n < count), default=1)
        message = f"does not divide {facts.heads} attention heads{kv}"
        yield HEADS_NOT_DIVISIBLE.at(path, message, allowed=shown, fix=f"set {demands.split_key}: {less}", value=count)
        return
    block = _block(facts, demands.quantization)
    config = text_part(facts.raw)
    dense = "moe_intermediate_size" not in config or config.get("first_k_dense_replace")
    cut = () if demands.expert_parallel else ("moe_intermediate_size",)
    for name in (*cut, *(("intermediate_size",) if dense else ())):
        width = config.get(name)
        if block and isinstance(width, int) and count > 1 and width % (count * block):
            whole = [n for n in splits(facts) if width % (n * block) == 0]
            message = f"cuts {name} {width} into parts that are no whole blocks of {block}"
            less = max((n for n in whole if n < count), default=1)
            yield FP8_BLOCKS_CUT.at(
                path, message, allowed=", ".join(map(str, whole)), fix=f"set {demands.split_key}: {less}", value=count
            )
            return


def _block(facts: ModelFacts, on_load: str | None) -> int | None:
    """Return the side of a quantized block; None where there are none. Source: vLLM, validate_fp8_block_shape."""
    if on_load is not None and facts.quantization is None:
        return table().on_load[on_load].block
    config = facts.raw.get("quantization_config")
    size = config.get("weight_block_size") if isinstance(config, dict) else None
    if facts.quantization == "fp8" and isinstance(size, list) and size and isinstance(size[0], int) and size[0] > 0:
        return size[0]
    return None


# Doubts: where the memory plan counts less than the engine will, or differently; reported, never hidden. Pure.

# families whose weights, counted from the shape, match a published count, as tests check
COUNTED = {
    *("bert", "roberta", "xlm-roberta", "camembert"),
    *("llama", "mistral", "mixtral", "phi3", "gemma2", "gemma3", "gemma3_text", "gpt_oss"),
    *("qwen2", "qwen2_5_vl", "qwen3", "qwen3_moe", "deepseek_v2", "deepseek_v3"),
}


def judge_doubts(facts: ModelFacts, at: Path) -> Iterator[Problem]:
    """Yield a problem that names what keeps the figures of this model from being exact."""
    reasons = (*_weights(facts), *_cache(facts))
    if reasons:
        message = f"is counted only roughly: {'; '.join(reasons)}"
        allowed = "a model whose safetensors are at hand, with layers that attend"
        fix = "give a folder with its safetensors or their index, and read the engine's own log before relying on it"
        yield MEMORY_ESTIMATE_ROUGH.at((*at, "id"), message, allowed=allowed, fix=fix, value=facts.id)


def _weights(facts: ModelFacts) -> Iterator[str]:
    if facts.weights is None or facts.weights.source != "architecture":
        return
    family = str(facts.raw.get("model_type", ""))
    if family not in COUNTED:
        shown = f"of family {printable(family)}" if family else "of no named family"
        yield f"its weights are reckoned as a plain decoder's, which nobody has held against one {shown}"
    held = quantized.stored(facts.raw)
    if held is not None and held.weight_bytes is None:
        shown = facts.dtype or "16 bits"
        yield f"its settings do not say what {facts.quantization} takes a weight, so they count in full ({shown})"


def _cache(facts: ModelFacts) -> Iterator[str]:
    if facts.task == "transcribe":
        yield "what its decoder keeps of the audio is not counted, so fewer sequences fit"
    if facts.cache_unknown is not None:
        counted = "every layer counts as full attention, in 16 bits, with a margin for its kernels"
        yield f"{facts.cache_unknown}, so {counted}"
