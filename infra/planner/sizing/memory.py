"""Contents of a GPU's memory: weights, KV cache, and what else the engine needs. All pure arithmetic.

Terms are vLLM's own: it takes ``gpu_memory_utilization`` of the card, loads the weights, runs the largest batch once to
see what activations need, captures its graphs, and gives the rest to the KV cache in blocks of ``BLOCK`` tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from infra.planner.facts.model_facts import ELEMENT_BYTES, KvLayers, ModelFacts, WeightBytes

GIB = 2**30
BLOCK = 16  # tokens; vLLM's default on CUDA
TENSOR_PARALLEL = (1, 2, 4, 8)
KV_ELEMENT_BYTES = {"auto": None, "bfloat16": 2.0, "float16": 2.0, "fp8": 1.0, "fp8_e4m3": 1.0, "fp8_e5m2": 1.0}

# What a start takes beside weights and cache. The logs in tests/fixtures/planner say how far these are off.
CONTEXT_BYTES = int(0.5 * GIB)  # cuBLAS's and attention's workspaces, buffers of the model's runner
NCCL_BYTES = int(0.5 * GIB)
GRAPH_BYTES_PER_LAYER = 8 * 2**20
# The sampler's trial, per vocabulary entry and sequence: logits in 16 and in 32 bits, their sorted copy, the order (64
# bits), probabilities, their sums and masks. Source: vLLM, v1/sample/ops/topk_topp_sampler.py; 36 fits six start logs.
SAMPLER_BYTES = 36
# Shares of the card that are kept free where more may be taken than is known: for a family whose layers are not read
# here (DeepSeek-V4-Flash: vllm-project/vllm 44376), and for experts in four bits, whose kernel is chosen at the start
# (gpt-oss-120b with 1,024 tokens in a step: vllm-project/vllm 27508).
UNKNOWN_FAMILY_SHARE = 0.08
UNKNOWN_KERNEL_SHARE = 0.03
STATE_BLOCKS = 2  # of a sequence in each group of layers: the state now, and the one that its prefix is cached by


@dataclass(frozen=True)
class Engine:
    """Engine settings that decide memory. ``max_batched_tokens`` is how many tokens one step computes;
    ``steps_in_flight`` how many steps are under way at once: vLLM prepares the next while one computes, except on the
    CPU and with ``--no-async-scheduling``, and has one more for each further stage of ``pipeline_parallel``.
    ``text_only``: an encoder of images or speech is not tried.
    Source: vLLM 0.32.0, config/vllm.py, max_concurrent_batches."""

    context: int
    sequences: int = 16
    max_batched_tokens: int = 8192
    memory_share: float = 0.9
    kv_dtype: str = "auto"
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    eager: bool = False
    steps_in_flight: int = 2
    lora_rank: int = 0
    loras: int = 0
    expert_parallel: bool = False
    text_only: bool = False


@dataclass(frozen=True)
class MemoryPlan:
    """Memory of one GPU, in bytes. ``kv_free`` is what is left for the KV cache and may be negative; ``null_block`` is
    the one block of it that no sequence gets; ``needed_for_one`` is one sequence of the full context.
    ``longest_context`` is that of a single sequence, in tokens, 0 where none fits; ``sequences`` is how many of the
    full context fit, not rounded, infinite without a cache. ``margin`` is kept free for kernels that are not known;
    ``state_blocks`` is the most sequences that layers with a state allow, None where there are none. ``measured`` is
    what a recorded start took more than the terms of the sum (``measured_by`` says which; ``measured_starts.py``)."""

    gpu_bytes: int
    usable: int
    weights: int
    activations: int
    overhead: int
    lora: int
    kv_free: int
    kv_bytes_per_token: float
    needed_for_one: int
    longest_context: int
    sequences: float
    kv_tokens: int
    null_block: int = 0
    margin: int = 0
    state_blocks: int | None = None
    asked_sequences: int = 0
    measured: int = 0
    measured_by: str = ""

    @property
    def non_cache(self) -> int:
        """Return all that is not the KV cache's."""
        return self.usable - self.kv_free

    @property
    def overbooked(self) -> bool:
        """Return True if the engine refuses so many sequences: each needs a block for its state. Source: vLLM 0.32.0,
        config/compilation.py ("exceeds available Mamba cache blocks")."""
        return self.state_blocks is not None and self.asked_sequences > self.state_blocks

    @property
    def loads(self) -> bool:
        """Return True if anything is left for the KV cache at all."""
        return self.kv_free > 0

    @property
    def fits(self) -> bool:
        """Return True if one sequence of the full context has its cache."""
        return self.kv_free > 0 and self.kv_free - self.null_block >= self.needed_for_one

    def description(self) -> str:
        """Return the arithmetic in one line, in GiB."""
        parts = [f"{self.gpu_bytes / GIB:.1f} GiB card, {self.usable / GIB:.1f} usable"]
        named = (
            ("weights", self.weights),
            ("activations", self.activations),
            ("engine and graphs", self.overhead),
            ("LoRA", self.lora),
            ("margin for what is not known", self.margin),
        )
        parts += [f"- {value / GIB:.2f} {name}" for name, value in named if value]
        if self.measured_by:
            parts.append(f"{'-' if self.measured >= 0 else '+'} {abs(self.measured) / GIB:.2f} {self.measured_by}")
        needed = f"= {self.kv_free / GIB:.2f} for the KV cache; one full sequence needs {self.needed_for_one / GIB:.2f}"
        return " ".join([*parts, needed])


def kv_element_bytes(facts: ModelFacts, kv_dtype: str) -> float:
    """Return the bytes of one number in the cache: the model's own type unless another is asked for, which a family
    whose cache is not known may not heed."""
    requested_bytes = KV_ELEMENT_BYTES.get(kv_dtype)
    if requested_bytes is not None and facts.cache_unknown is None:
        return requested_bytes
    own = facts.dtype or "bfloat16"
    # an FP8 or 4-bit model computes, and so caches, in 16 bits
    return max(2.0, ELEMENT_BYTES.get(own, 2.0)) if own != "float32" else 4.0


def kv_bytes_per_token(facts: ModelFacts, tensor_parallel: int = 1, kv_dtype: str = "auto") -> float:
    """Return the cache bytes of one token in all layers on one GPU, as long as no window has passed it."""
    element = kv_element_bytes(facts, kv_dtype)
    return sum(group.bytes_per_token(tensor_parallel, element) for group in facts.kv)


@dataclass(frozen=True, kw_only=True)
class _Pages:
    """Division of the cache: blocks of ``layers`` pages of ``page`` bytes. ``tokens`` is how many tokens a page of each
    kind of layers holds."""

    layers: int
    page: float
    tokens: tuple[int, ...]

    @property
    def block_bytes(self) -> int:
        return int(self.layers * self.page)


def _pages(facts: ModelFacts, engine: Engine, block: int) -> _Pages:
    """Divide the cache as the engine does: every kind of layer gets pages of one size.

    Beside layers with a state the others take as many tokens to a page as make it no smaller than a state; of two kinds
    of attention the smaller takes a multiple of ``block``, or is padded. Layers of several kinds lie in groups of equal
    size: the last group of a kind is padded. Source: vLLM 0.32.0, v1/kv_cache_interface.py, v1/core/kv_cache_utils.py
    and model_executor/models/config.py.
    """
    element, groups = kv_element_bytes(facts, engine.kv_dtype), _groups(facts)
    each = [group.layer_bytes(engine.tensor_parallel, element) for group in groups]
    counts = [group.count for group in groups]
    most = max(each, default=0.0)
    if facts.state is not None:
        counts.append(facts.state.count)
        state = facts.state.bytes / engine.tensor_parallel
        block = block * max(1, math.ceil(state / (block * most))) if most else block
        page = block * most if most else state
    else:
        page = block * most
    tokens = (block * int(most // own) if own and most % own == 0 else block for own in each)
    return _Pages(layers=_group_size(counts), page=page, tokens=tuple(tokens))


def _groups(facts: ModelFacts) -> list[KvLayers]:
    return [group for group in facts.kv if group.count]


def kv_bytes_of_sequence(facts: ModelFacts, engine: Engine, context: int | None = None, block: int = BLOCK) -> int:
    """Return the cache bytes of one sequence of ``context`` tokens on one GPU, in whole blocks, as vLLM reserves them.

    A windowed layer keeps its window and what the steps in flight add to it, never more than the context, and one more
    block because the window need not begin at a block's start.
    """
    tokens = context if context is not None else engine.context
    pages, blocks = _pages(facts, engine, block), 0
    for group, held in zip(_groups(facts), pages.tokens, strict=True):
        cached, spare = tokens, 0
        if group.window is not None:
            cached, spare = min(tokens, group.window - 1 + engine.steps_in_flight * engine.max_batched_tokens), 1
        blocks += (-(-cached // held) + spare) * -(-group.count // pages.layers)
    if facts.state is not None:
        blocks += STATE_BLOCKS * -(-facts.state.count // pages.layers)
    return blocks * pages.block_bytes + facts.fixed_cache_bytes


def block_bytes(facts: ModelFacts, engine: Engine, block: int = BLOCK) -> int:
    """Return the bytes of one block on one GPU: its tokens in every layer of one group. The engine divides the cache
    into such blocks and holds one back that no sequence gets. Source: vLLM 0.32.0, v1/core/kv_cache_utils.py."""
    return _pages(facts, engine, block).block_bytes


def _group_size(counts: Iterable[int]) -> int:
    """Return the layers of one block table: vLLM takes the fewest of any kind, or the most where the kinds differ
    little, because padding is then cheaper."""
    ordered = sorted(counts)
    if len(ordered) < 2:
        return ordered[0] if ordered else 1
    least, most = ordered[0], ordered[-1]
    return most if most < 1.5 * least else least


def activation_bytes(facts: ModelFacts, engine: Engine) -> int:
    """Return the peak bytes of the largest step on one GPU: the widest layer's inputs and outputs for every token of
    the batch, what the experts of a token work on, and the sampler's trial with as many sequences as there may be; or
    the trial of an encoder of images or speech, where that takes more."""
    split = engine.tensor_parallel
    width = 2 * facts.hidden + 2 * max(facts.intermediate, facts.attention_width, facts.hidden) / split
    # each expert of a token gets its own copy of the token; these buffers stay
    experts = facts.experts_per_token * facts.hidden
    step = engine.max_batched_tokens * (width + experts) * 2
    sampler = min(engine.sequences, engine.max_batched_tokens) * facts.vocab * SAMPLER_BYTES
    return int(max(step + sampler, 0 if engine.text_only else _encoder_bytes(facts, engine)))


def _encoder_bytes(facts: ModelFacts, engine: Engine) -> int:
    """Return what the trial of an encoder takes: the engine tries the kind of input that makes the most tokens."""
    audio = facts.audio
    audio_bytes = audio.tried_bytes(engine.max_batched_tokens, engine.sequences, engine.context) if audio else 0
    return max(facts.encoder_bytes, audio_bytes)


def overhead_bytes(facts: ModelFacts, engine: Engine) -> int:
    """Return the bytes that belong to neither weights nor cache: context, communication, graphs."""
    graphs = 0 if engine.eager else facts.layers * GRAPH_BYTES_PER_LAYER
    return CONTEXT_BYTES + graphs + (NCCL_BYTES if engine.tensor_parallel * engine.pipeline_parallel > 1 else 0)


def lora_bytes(facts: ModelFacts, engine: Engine) -> int:
    """Return the bytes of the room for adapters on one GPU: for each of ``loras`` two thin matrices of the rank beside
    every linear layer, every expert, the embedding and the output layer, whether an adapter has them or not. Tensor
    parallelism cuts one of the two, on the side on which it cuts the layer. Source: vLLM 0.32.0, lora/layers."""
    if not engine.loras:
        return 0
    split, hidden, queries = engine.tensor_parallel, facts.hidden, facts.attention_width or facts.hidden
    keys_and_values = sum(group.count * group.heads * group.elements for group in facts.kv) / max(1, facts.layers)
    attention = 3 * hidden + (queries + keys_and_values) / split + queries / split + hidden
    width, experts = facts.intermediate, 1
    if facts.experts and facts.experts_per_token:
        width, experts = facts.intermediate // facts.experts_per_token, facts.experts
    if engine.expert_parallel:
        mlp = experts / split * (3 * hidden + 3 * width)
    else:
        mlp = experts * (3 * hidden + 3 * width / split)
    ends = 2 * (facts.vocab + hidden)
    numbers = engine.loras * engine.lora_rank * (facts.layers * (attention + mlp) + ends)
    return int(numbers * max(2.0, ELEMENT_BYTES.get(facts.dtype or "", 2.0)))


def plan(facts: ModelFacts, gpu_bytes: int, engine: Engine, measured: int = 0, measured_by: str = "") -> MemoryPlan:
    """Plan the memory of one GPU of ``gpu_bytes``, in the largest stage; ``measured`` is taken beside the terms of the
    sum. Raises ``ValueError`` where the weights' size is unknown."""
    facts = largest_stage(facts, engine.pipeline_parallel)
    if facts.weights is None:
        raise ValueError(f"{facts.id}: the size of the weights is unknown")
    usable = int(gpu_bytes * engine.memory_share)
    weights = facts.weights.per_gpu(engine.tensor_parallel, facts.kv_heads, expert_parallel=engine.expert_parallel)
    share = UNKNOWN_FAMILY_SHARE if facts.cache_unknown else UNKNOWN_KERNEL_SHARE if facts.weights.padded else 0.0
    margin = int(gpu_bytes * share)
    activations, overhead = activation_bytes(facts, engine), overhead_bytes(facts, engine)
    lora = lora_bytes(facts, engine)
    free = usable - weights - activations - overhead - lora - margin - measured
    one, null_block = kv_bytes_of_sequence(facts, engine), block_bytes(facts, engine)
    per_token = kv_bytes_per_token(facts, engine.tensor_parallel, engine.kv_dtype)
    return MemoryPlan(
        gpu_bytes=gpu_bytes,
        usable=usable,
        weights=weights,
        activations=activations,
        overhead=overhead,
        lora=lora,
        kv_free=free,
        kv_bytes_per_token=per_token,
        needed_for_one=one,
        longest_context=longest_context(facts, engine, free),
        sequences=max(0.0, (free - null_block) / one) if one else float("inf"),
        kv_tokens=int(max(0, free - null_block) / per_token) if per_token else 0,
        null_block=null_block,
        margin=margin,
        # without graphs the engine does not look
        state_blocks=max(0, free // null_block) if facts.state and null_block and not engine.eager else None,
        asked_sequences=engine.sequences,
        measured=measured,
        measured_by=measured_by,
    )


def longest_context(facts: ModelFacts, engine: Engine, free: int, most: int | None = None) -> int:
    """Return the longest single sequence whose cache fits ``free`` bytes beside the block that no sequence gets, at
    most ``most``, by default the model's own context (16 Mi tokens where that is unknown). 0 where not even one block
    fits."""
    free -= block_bytes(facts, engine)
    low, high = 0, most or facts.context or 2**24
    while low < high:
        middle = (low + high + 1) // 2
        if kv_bytes_of_sequence(facts, engine, middle) <= free:
            low = middle
        else:
            high = middle - 1
    return low


def divides(facts: ModelFacts, tensor_parallel: int) -> bool:
    """Return True if vLLM can split the model so: attention heads must divide, KV heads must divide or be divided."""
    if facts.heads % tensor_parallel:
        return False
    groups: list[KvLayers] = [g for g in facts.kv if g.divides]
    return all(g.heads % tensor_parallel == 0 or tensor_parallel % g.heads == 0 for g in groups)


# A model cut into stages of layers, each on its own GPUs: what the largest stage holds. Pure arithmetic.


def largest_stage(facts: ModelFacts, stages: int) -> ModelFacts:
    """Return the facts of the largest stage, as if it were a whole model: memory is planned with them.

    vLLM gives each stage the same number of layers and the remainder to some, one each: the largest has the quotient,
    rounded up. Source: vLLM 0.32.0, distributed/utils.py, get_pp_indices. The first stage also has the embedding, the
    last the output layer: one of them, in 16 bits or more, is counted for the largest, though a stage in between has
    neither. Layers that keep a cache of another kind count as if they were spread evenly.
    """
    if stages <= 1 or not facts.layers:
        return facts
    layers = -(-facts.layers // stages)
    kv = tuple(replace(group, count=-(-group.count // stages)) for group in facts.kv)
    state = replace(facts.state, count=-(-facts.state.count // stages)) if facts.state else None
    weights = _weights(facts, facts.weights, layers) if facts.weights is not None else None
    return replace(facts, layers=layers, kv=kv, state=state, weights=weights)


def _weights(facts: ModelFacts, weights: WeightBytes, layers: int) -> WeightBytes:
    element = max(2.0, ELEMENT_BYTES.get(facts.dtype or "", 2.0))
    embedding = min(weights.sharded, int(facts.vocab * facts.hidden * element))
    shared, kv, whole = (
        -(-part * layers // facts.layers)
        for part in (weights.sharded - embedding, weights.kv_sharded, weights.replicated)
    )
    padded = weights.padded and replace(weights.padded, count=-(-weights.padded.count * layers // facts.layers))
    return WeightBytes(embedding + shared, kv, whole, weights.source, padded)


# The memory of one full forward pass without an engine: every head cached, all activations kept.
#
# This is the worst case of older guides, which `ebbtide fit` shows beside its own plan. vLLM needs less: it caches only
# the KV heads, computes in slices, and keeps no score matrix. Weights 2 bytes a parameter; cache 2·L·h·s numbers of 2
# bytes; activations s·h·(34 + 5·a·s/h) numbers of 4 bytes, for s tokens, h hidden size, a heads, L layers.

FULL_FORWARD_TOKENS = 8096  # the length for which those guides give their totals


@dataclass(frozen=True)
class FullForward:
    """Bytes of one full forward pass."""

    weights: int
    kv: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.activations


def full_forward(
    parameters: int, layers: int, hidden: int, heads: int, tokens: int = FULL_FORWARD_TOKENS
) -> FullForward:
    """Return the bytes for a model in 16 bits and one sequence of ``tokens``."""
    activations = tokens * hidden * 34 + 5 * heads * tokens * tokens
    return FullForward(2 * parameters, 2 * layers * hidden * tokens * 2, 4 * activations)
