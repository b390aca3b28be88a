"""Facts about a model, found without loading it: its shape, its tensors' bytes, what it needs to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from components.catalog.models import Task as Task

WeightsFrom = Literal["safetensors headers", "safetensors index", "architecture", "preset", "unknown"]

# bytes of one element by the names safetensors and transformers give the type
ELEMENT_BYTES: Mapping[str, float] = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "fp8": 1,
}


@dataclass(frozen=True)
class KvLayers:
    """Layers that keep the same amount per token.

    ``count`` layers, each with ``heads`` KV heads of ``elements`` numbers per token (keys and values together; for MLA
    one latent "head" that every GPU holds whole: ``divides`` is then False). ``window`` is how many tokens back a layer
    looks; None: all of them. ``extra_bytes`` are kept per token whatever the cache's type: an indexer's keys.
    """

    count: int
    heads: int
    elements: int
    window: int | None = None
    divides: bool = True
    extra_bytes: int = 0

    def heads_per_gpu(self, tensor_parallel: int) -> int:
        """Return the KV heads one GPU holds: vLLM copies them where there are more GPUs than heads."""
        return max(1, -(-self.heads // tensor_parallel)) if self.divides else self.heads

    def bytes_per_token(self, tensor_parallel: int, element_bytes: float) -> float:
        """Return the bytes of one token in all these layers, on one GPU."""
        return self.count * self.layer_bytes(tensor_parallel, element_bytes)

    def layer_bytes(self, tensor_parallel: int, element_bytes: float) -> float:
        """Return the bytes of one token in one layer, on one GPU."""
        return self.heads_per_gpu(tensor_parallel) * self.elements * element_bytes + self.extra_bytes


@dataclass(frozen=True, kw_only=True)
class StateLayers:
    """Layers that keep one state of a fixed size for each sequence, however long: ``bytes`` each, divided over GPUs."""

    count: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class PaddedExperts:
    """Experts in four bits that the engine's kernels hold with both sides rounded up to whole tiles. ``count`` is that
    of all layers, each of three matrices of ``hidden`` by ``width`` numbers of ``weight_bytes``."""

    count: int
    hidden: int
    width: int
    weight_bytes: float

    def added(self, split: int) -> int:
        """Return the bytes that one GPU holds beyond those of the files, with ``width`` cut into ``split`` parts."""
        before = self.hidden * self.width / split
        after = _whole_tiles(self.hidden, 256) * _whole_tiles(-(-self.width // split), 128)
        return int(3 * self.count * self.weight_bytes * (after - before))


def _whole_tiles(length: int, tile: int) -> int:
    return -(-length // tile) * tile


@dataclass(frozen=True)
class WeightBytes:
    """Bytes of the tensors by how tensor parallelism treats them: ``sharded`` are divided by it, ``kv_sharded`` only as
    far as there are KV heads, ``replicated`` are whole on every GPU."""

    sharded: int
    kv_sharded: int
    replicated: int
    source: WeightsFrom
    padded: PaddedExperts | None = None

    @property
    def total(self) -> int:
        return self.sharded + self.kv_sharded + self.replicated

    def per_gpu(self, tensor_parallel: int, kv_heads: int, *, expert_parallel: bool = False) -> int:
        """Return the bytes on one of ``tensor_parallel`` GPUs. With ``expert_parallel`` a GPU has whole experts, and
        fewer of them."""
        kv_shards = max(1, min(tensor_parallel, kv_heads))
        read = -(-self.sharded // tensor_parallel) + -(-self.kv_sharded // kv_shards) + self.replicated
        if self.padded is None:
            return read
        if expert_parallel:
            return read + self.padded.added(1) // tensor_parallel
        return read + self.padded.added(tensor_parallel)


@dataclass(frozen=True, kw_only=True)
class AudioEncoder:
    """An encoder of speech, which works in chunks of 30 seconds: ``tokens`` that come of one, ``bytes`` that it takes
    meanwhile; the longest recording has ``longest`` chunks."""

    tokens: int
    bytes: int
    longest: int

    def tried_bytes(self, batched_tokens: int, sequences: int, context: int) -> int:
        """Return what the engine's trial takes: as many chunks as one step's tokens allow, and a whole recording at
        least, but no more than all sequences can hold. Source: vLLM 0.32.0, multimodal/encoder_budget.py."""
        most = min(batched_tokens // self.tokens, sequences * max(1, context // self.tokens))
        return self.bytes * max(self.longest, most)


@dataclass(frozen=True)
class ModelFacts:
    """One model at one revision. ``None`` is unknown and reported as such wherever it matters; nothing is guessed.

    ``context`` is the longest the model was made for, in tokens. ``attention_width`` is that of all query heads,
    ``encoder_bytes`` what its encoder of images takes for the largest one, ``audio`` its encoder of speech,
    ``cache_unknown`` why its layers are counted
    as full attention without knowing whether they are, ``fixed_cache_bytes`` what a sequence of such a family took
    beyond that in a start log. ``quantization`` is the method's name in the config
    (``fp8``, ``awq``, ``gptq``, ``bitsandbytes``, ``mxfp4``, …). ``weight_files`` are the formats it comes in
    (``safetensors``, ``bin``, ``gguf``).
    """

    id: str
    revision: str | None
    architecture: str | None
    task: Task | None
    layers: int
    hidden: int
    intermediate: int
    heads: int
    vocab: int
    context: int | None
    kv: tuple[KvLayers, ...]
    weights: WeightBytes | None
    state: StateLayers | None = None
    attention_width: int = 0
    experts: int = 0
    experts_per_token: int = 0
    encoder_bytes: int = 0
    audio: AudioEncoder | None = None
    cache_unknown: str | None = None
    fixed_cache_bytes: int = 0
    dtype: str | None = None
    quantization: str | None = None
    quantization_bits: int | None = None
    parameters: int | None = None
    active_parameters: int | None = None
    chat_template: bool | None = None
    remote_code: bool = False
    licence: str | None = None
    gated: bool | None = None
    weight_files: tuple[str, ...] = ()
    disk_bytes: int | None = None
    source: str = ""
    raw: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)

    @property
    def kv_heads(self) -> int:
        """Return the most KV heads of the layers whose heads are divided over GPUs; 1 where none are."""
        return max((group.heads for group in self.kv if group.divides), default=1)
