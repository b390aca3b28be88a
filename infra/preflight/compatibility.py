"""Whether a model can be served as a stack asks: its files, its architecture, what it is for, and the card. Pure.

Memory is judged elsewhere (``memory.py``); what only the stack file shows, in ``infra/config``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from components.typed.refusal import Path, Problem
from infra.preflight import memory
from infra.preflight.compatibility_engine import Asked, choose
from infra.preflight.compatibility_gpu import Gpu, judge_cache, judge_gpu
from infra.preflight.config_json import text_part
from infra.preflight.model_facts import ModelFacts, Task

MOST_GPUS = 64


@dataclass(frozen=True)
class Wanted:
    """What the stack asks of one model. ``context`` in tokens; None: the model's own. The three consents are what the
    stack's owner has agreed to; ``plugins`` are the engine's plugins in the image; ``split_key`` is the key that says
    over how many GPUs a layer is cut, ``stages_key`` the one that says into how many stages they are."""

    task: Task = "chat"
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    split_key: str = "gpus"
    stages_key: str = "nodes"
    context: int | None = None
    dtype: str = "auto"
    kv_dtype: str = "auto"
    engine: Asked = "AUTO"
    licence_accepted: bool = False
    pickle_accepted: bool = False
    remote_code_accepted: bool = False
    plugins: frozenset[str] = field(default_factory=frozenset)


def judge_model_facts(facts: ModelFacts, gpu: Gpu | None, wanted: Wanted, at: Path) -> Iterator[Problem]:
    """All that is wrong with serving ``facts`` so; ``at`` is the model's path in the stack file, ``gpu`` None a CPU.
    What is unknown is not refused, but said where it may hurt."""
    yield from _files(facts, wanted, at)
    yield from _purpose(facts, wanted, at)
    if facts.task == "image":
        for key, count in ((wanted.split_key, wanted.tensor_parallel), (wanted.stages_key, wanted.pipeline_parallel)):
            if count > 1:
                message = "is more than one, and an image model does not split: the others would idle"
                yield Problem(245, (*at, key), message, "1", f"set {key}: 1", count)
        return
    yield from _architecture(facts, wanted, at)
    yield from _context(facts, wanted, at)
    yield from _split(facts, wanted, at)
    if gpu is not None:
        yield from judge_gpu(facts, gpu, wanted.dtype, wanted.plugins, wanted.tensor_parallel, at)
        yield from judge_cache(facts, gpu, wanted.kv_dtype, at)


def _files(facts: ModelFacts, wanted: Wanted, at: Path) -> Iterator[Problem]:
    path, held = (*at, "id"), set(facts.weight_files)
    if facts.gated and not wanted.licence_accepted:
        message = "is gated: its licence must be accepted by whoever runs it"
        if facts.licence:
            message = f"is gated under the licence {facts.licence}, which must be accepted by whoever runs it"
        fix = "read it on the model's page, accept it there, and record who accepted it in the stack"
        yield Problem(19, path, message, "a model whose licence is acknowledged", fix, facts.id, severity="mandatory")
    elif facts.gated is None and facts.disk_bytes is None and not wanted.licence_accepted:
        # with its files at hand nobody asks for them
        message = "may be gated: that could not be looked up"
        fix = "look on its page; if it is, accept the licence there and give a token"
        yield Problem(241, path, message, "a model one may fetch", fix, facts.id, severity="warning")
    if held == {"gguf"}:
        message = "comes as GGUF only, which this engine does not load"
        fix = "use the repository it was converted from, or an AWQ, GPTQ or FP8 build"
        yield Problem(21, path, message, "safetensors", fix, facts.id)
    elif "bin" in held and "safetensors" not in held and not wanted.pickle_accepted:
        message = "comes as a pickle only (.bin), which can run code when it is loaded"
        fix = "use a revision or build with safetensors, or have the exception approved"
        yield Problem(22, path, message, "safetensors", fix, facts.id, severity="mandatory")


def _architecture(facts: ModelFacts, wanted: Wanted, at: Path) -> Iterator[Problem]:
    choice = choose(facts, wanted.engine)
    if choice.implementation is None:
        allowed = "an architecture of the engine's list, or one it serves through transformers"
        fix = "use another model, or another version of the engine"
        if wanted.engine == "VLLM" and choose(facts).implementation is not None:
            fix = "set engine: AUTO"
        yield Problem(24, (*at, "id"), choice.reason, allowed, fix, facts.id)
    elif choice.remote_code and not wanted.remote_code_accepted:
        message = f"needs code from its own repository (auto_map) to run: {choice.reason}"
        fix = "use a model the engine has itself, or read that code at its commit and have the exception approved"
        yield Problem(23, (*at, "id"), message, "no remote code", fix, facts.id, severity="mandatory")


def _purpose(facts: ModelFacts, wanted: Wanted, at: Path) -> Iterator[Problem]:
    path, task = (*at, "id"), facts.task
    if task == "image" or wanted.task == "image":
        if task != wanted.task and task is not None:
            makes = "makes images" if task == "image" else "makes no images"
            message = f"{makes}, and its route is for {wanted.task}"
            yield Problem(245, path, message, f"a model for {wanted.task}", f"set task: {task}", facts.id)
    elif wanted.task == "chat" and task == "embed":
        message = "is an embedding model, and its route is for chat"
        yield Problem(33, path, message, "a chat or instruct model", "set task: embed", facts.id)
    elif wanted.task == "chat" and task == "other":
        message = "classifies, and its route is for chat"
        yield Problem(33, path, message, "a chat or instruct model", "use a chat or instruct model", facts.id)
    elif wanted.task == "chat" and (task == "base" or facts.chat_template is False):
        message = "is a base model: it has no chat template, and its route is for chat"
        yield Problem(31, path, message, "a chat or instruct model", "use its instruct version", facts.id)
    elif wanted.task == "chat" and task is None:
        message = "may have no chat template: that could not be looked up"
        fix = "look for chat_template in its tokenizer_config.json"
        yield Problem(244, path, message, "a chat or instruct model", fix, facts.id, severity="warning")
    elif wanted.task == "embed" and task in ("chat", "base"):
        message = "was not made for embeddings: the engine turns it into one, with poor vectors"
        yield Problem(246, path, message, "an embedding model", "use one", facts.id, severity="warning")


def _context(facts: ModelFacts, wanted: Wanted, at: Path) -> Iterator[Problem]:
    if facts.context is not None and wanted.context is not None and wanted.context > facts.context:
        message = f"is more than {facts.id} was made for, {facts.context} tokens"
        fix = f"set maxTokens: {facts.context} or less"
        yield Problem(27, (*at, "maxTokens"), message, f"1..{facts.context}", fix, wanted.context)


def splits(facts: ModelFacts, most: int = MOST_GPUS) -> tuple[int, ...]:
    """The counts of GPUs the model can be split over: attention heads divide, and KV heads divide or are copied."""
    return tuple(n for n in range(1, most + 1) if memory.divides(facts, n))


def _split(facts: ModelFacts, wanted: Wanted, at: Path) -> Iterator[Problem]:
    path, count = (*at, wanted.split_key), wanted.tensor_parallel
    if not memory.divides(facts, count):
        possible = splits(facts)
        shown = ", ".join(map(str, possible))
        kv = f" and {facts.kv_heads} KV heads" if facts.kv_heads != facts.heads and facts.kv else ""
        less = max((n for n in possible if n < count), default=1)
        message = f"does not divide {facts.heads} attention heads{kv}"
        yield Problem(28, path, message, shown, f"set {wanted.split_key}: {less}", count)
        return
    block = _block(facts)
    config = text_part(facts.raw)
    dense = "moe_intermediate_size" not in config or config.get("first_k_dense_replace")
    for name in ("moe_intermediate_size", *(("intermediate_size",) if dense else ())):
        width = config.get(name)
        if block and isinstance(width, int) and count > 1 and width % (count * block):
            whole = [n for n in splits(facts) if width % (n * block) == 0]
            message = f"cuts {name} {width} into parts that are no whole FP8 blocks of {block}"
            less = max((n for n in whole if n < count), default=1)
            yield Problem(242, path, message, ", ".join(map(str, whole)), f"set {wanted.split_key}: {less}", count)
            return


def _block(facts: ModelFacts) -> int | None:
    """The side of an FP8 block; None where there are none. Source: vLLM, validate_fp8_block_shape."""
    config = facts.raw.get("quantization_config")
    size = config.get("weight_block_size") if isinstance(config, dict) else None
    if facts.quantization == "fp8" and isinstance(size, list) and size and isinstance(size[0], int) and size[0] > 0:
        return size[0]
    return None
