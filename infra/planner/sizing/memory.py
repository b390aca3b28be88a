"""Contents of a GPU's memory: weights, KV cache, and what else the engine needs. All pure arithmetic.

Terms are vLLM's own: it takes ``gpu_memory_utilization`` of the card, loads the weights, runs the largest batch once to
see what activations need, captures its graphs, and gives the rest to the KV cache in blocks of ``BLOCK`` tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from infra.planner.facts.model_facts import ELEMENT_BYTES, KvLayers, ModelFacts, WeightBytes

GIB = 2**30
BLOCK = 16  # tokens; vLLM's default on CUDA
TENSOR_PARALLEL = (1, 2, 4, 8)
KV_ELEMENT_BYTES = {"auto": None, "bfloat16": 2.0, "float16": 2.0, "fp8": 1.0, "fp8_e4m3": 1.0, "fp8_e5m2": 1.0}

# CUDA context, cuBLAS workspaces and, from two GPUs on, NCCL's buffers; then graphs for vLLM's default capture sizes.
# Estimates (no log of a run on this card was at hand), on the safe side of what users report for 24 to 80 GiB cards.
CONTEXT_BYTES = int(0.6 * GIB)
NCCL_BYTES = int(0.5 * GIB)
GRAPH_BYTES_PER_LAYER = 16 * 2**20
SAMPLER_BYTES = 4 + 4 + 2  # logits as fp32, their sorted copy, and a mask, per vocabulary entry and sequence


@dataclass(frozen=True)
class Engine:
    """Engine settings that decide memory. ``max_batched_tokens`` is how many tokens one step computes;
    ``steps_in_flight`` how many steps are under way at once: vLLM prepares the next while one computes, except on the
    CPU and with ``--no-async-scheduling``, and has one more for each further stage of ``pipeline_parallel``.
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


@dataclass(frozen=True)
class MemoryPlan:
    """Memory of one GPU, in bytes. ``kv_free`` is what is left for the KV cache and may be negative; ``null_block`` is
    the one block of it that no sequence gets; ``needed_for_one`` is one sequence of the full context.
    ``longest_context`` is that of a single sequence, in tokens, 0 where none fits; ``sequences`` is how many of the
    full context fit, not rounded, infinite without a cache."""

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

    @property
    def loads(self) -> bool:
        """Return True if anything is left for the KV cache at all."""
        return self.kv_free > 0

    @property
    def fits(self) -> bool:
        """Return True if vLLM would start: one sequence of the full context must have its cache."""
        return self.kv_free > 0 and self.kv_free - self.null_block >= self.needed_for_one

    def description(self) -> str:
        """Return the arithmetic in one line, in GiB."""
        parts = [f"{self.gpu_bytes / GIB:.1f} GiB card, {self.usable / GIB:.1f} usable"]
        named = (
            ("weights", self.weights),
            ("activations", self.activations),
            ("engine and graphs", self.overhead),
            ("LoRA", self.lora),
        )
        parts += [f"- {value / GIB:.2f} {name}" for name, value in named if value]
        needed = f"= {self.kv_free / GIB:.2f} for the KV cache; one full sequence needs {self.needed_for_one / GIB:.2f}"
        return " ".join([*parts, needed])


def kv_element_bytes(facts: ModelFacts, kv_dtype: str) -> float:
    """Return the bytes of one number in the cache: the model's own type unless another is asked for."""
    asked = KV_ELEMENT_BYTES.get(kv_dtype)
    if asked is not None:
        return asked
    own = facts.dtype or "bfloat16"
    # an FP8 or 4-bit model computes, and so caches, in 16 bits
    return max(2.0, ELEMENT_BYTES.get(own, 2.0)) if own != "float32" else 4.0


def kv_bytes_per_token(facts: ModelFacts, tensor_parallel: int = 1, kv_dtype: str = "auto") -> float:
    """Return the cache bytes of one token in all layers on one GPU, as long as no window has passed it."""
    element = kv_element_bytes(facts, kv_dtype)
    return sum(group.bytes_per_token(tensor_parallel, element) for group in facts.kv)


def kv_bytes_of_sequence(facts: ModelFacts, engine: Engine, context: int | None = None, block: int = BLOCK) -> int:
    """Return the cache bytes of one sequence of ``context`` tokens on one GPU, in whole blocks, as vLLM reserves them.

    A windowed layer keeps its window and what the steps in flight add to it, never more than the context, and one more
    block because the window need not begin at a block's start. Layers of several kinds lie in groups of equal size: the
    last group of a kind is padded. Source: vLLM, v1/kv_cache_interface.py and v1/core/kv_cache_utils.py.
    """
    tokens = context if context is not None else engine.context
    element = kv_element_bytes(facts, engine.kv_dtype)
    groups = [g for g in facts.kv if g.count]
    size = _group_size([g.count for g in groups])
    total = 0.0
    for group in groups:
        kept, spare = tokens, 0
        if group.window is not None:
            kept, spare = min(tokens, group.window - 1 + engine.steps_in_flight * engine.max_batched_tokens), 1
        blocks = -(-kept // block) + spare
        layers = -(-group.count // size) * size
        per_layer = group.heads_per_gpu(engine.tensor_parallel) * group.elements * element
        total += blocks * block * layers * per_layer
    return int(total)


def block_bytes(facts: ModelFacts, engine: Engine, block: int = BLOCK) -> int:
    """Return the bytes of one block on one GPU: its tokens in every layer of one group. The engine divides the cache
    into such blocks and holds one back that no sequence gets. Source: vLLM 0.32.0, v1/core/kv_cache_utils.py."""
    groups = [g for g in facts.kv if g.count]
    size = _group_size([g.count for g in groups])
    element = kv_element_bytes(facts, engine.kv_dtype)
    pages = (g.heads_per_gpu(engine.tensor_parallel) * g.elements * element * block for g in groups)
    return int(size * max(pages, default=0))


def _group_size(counts: Iterable[int]) -> int:
    """Return the layers of one block table: vLLM takes the fewest of any kind, or the most where the kinds differ
    little, because padding is then cheaper."""
    found = sorted(counts)
    if len(found) < 2:
        return found[0] if found else 1
    least, most = found[0], found[-1]
    return most if most < 1.5 * least else least


def activation_bytes(facts: ModelFacts, engine: Engine) -> int:
    """Return the peak bytes of the largest step on one GPU: the widest layer's inputs and outputs for every token of
    the batch, and the logits of every sequence's last token."""
    width = 2 * facts.hidden + 2 * max(facts.intermediate, facts.hidden) / engine.tensor_parallel
    step = engine.max_batched_tokens * width * 2
    logits = engine.sequences * facts.vocab * SAMPLER_BYTES
    return int(step + logits)


def overhead_bytes(facts: ModelFacts, engine: Engine) -> int:
    """Return the bytes that belong to neither weights nor cache: context, communication, graphs."""
    graphs = 0 if engine.eager else facts.layers * GRAPH_BYTES_PER_LAYER
    return CONTEXT_BYTES + graphs + (NCCL_BYTES if engine.tensor_parallel * engine.pipeline_parallel > 1 else 0)


def lora_bytes(facts: ModelFacts, engine: Engine) -> int:
    """Return the bytes of the adapters held at once: two thin matrices beside every linear layer, on one GPU."""
    per_layer = engine.lora_rank * (4 * 2 * facts.hidden + 3 * (facts.hidden + facts.intermediate))
    return int(engine.loras * facts.layers * per_layer * 2 / engine.tensor_parallel)


def plan(facts: ModelFacts, gpu_bytes: int, engine: Engine) -> MemoryPlan:
    """Plan the memory of one GPU of ``gpu_bytes``, in the largest stage. Raises ``ValueError`` where the weights' size
    is unknown."""
    facts = largest_stage(facts, engine.pipeline_parallel)
    if facts.weights is None:
        raise ValueError(f"{facts.id}: the size of the weights is unknown")
    usable = int(gpu_bytes * engine.memory_share)
    weights = facts.weights.per_gpu(engine.tensor_parallel, facts.kv_heads)
    activations, overhead = activation_bytes(facts, engine), overhead_bytes(facts, engine)
    lora = lora_bytes(facts, engine)
    free = usable - weights - activations - overhead - lora
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
    weights = _weights(facts, facts.weights, layers) if facts.weights is not None else None
    return replace(facts, layers=layers, kv=kv, weights=weights)


def _weights(facts: ModelFacts, weights: WeightBytes, layers: int) -> WeightBytes:
    element = max(2.0, ELEMENT_BYTES.get(facts.dtype or "", 2.0))
    embedding = min(weights.sharded, int(facts.vocab * facts.hidden * element))
    shared, kv, whole = (
        -(-part * layers // facts.layers)
        for part in (weights.sharded - embedding, weights.kv_sharded, weights.replicated)
    )
    return WeightBytes(embedding + shared, kv, whole, weights.source)


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
