"""Bytes of a model's tensors from the headers of its safetensors files: nothing of the tensors themselves is read.

Format: eight bytes little-endian, the length of a JSON object that names each tensor's type, shape and place. Source:
the safetensors format description.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.preflight.model_facts import WeightBytes, WeightsFrom

MOST_HEADER = 100 * 2**20  # the format's own limit

# Whole on every GPU under vLLM's tensor parallelism: norms, routers, positions, and MLA's down projections.
_REPLICATED = re.compile(
    r"(norm|\bln_|layernorm|rotary|inv_freq|position_embedding|wpe\.|q_a_proj|kv_a_proj|"
    r"\bgate\.(weight|bias|e_score)|router\.|shared_expert_gate|multi_modal_projector)"
)
_KV = re.compile(r"(^|\.)(k_proj|v_proj|key|value)\.")
_HEAD = re.compile(r"(^|\.)lm_head\.")


class UnreadableWeights(ValueError):
    """A file is no safetensors file; the text names it and says why."""


@dataclass(frozen=True)
class Tensor:
    """One tensor: its type by the format's name and the bytes it takes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


def tensors_of(file: Path) -> list[Tensor]:
    """What the file's header lists. Raises ``UnreadableWeights``."""
    with file.open("rb") as opened:
        first = opened.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= MOST_HEADER:
            raise UnreadableWeights(f"{file.name} is no safetensors file: its header would have {length} bytes")
        try:
            header = json.loads(opened.read(length))
            return [_tensor(name, entry) for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnreadableWeights(f"{file.name} is no safetensors file: its header cannot be read") from error


def _tensor(name: str, entry: Mapping[str, object]) -> Tensor:
    offsets, shape = entry["data_offsets"], entry["shape"]
    assert isinstance(offsets, list)
    assert isinstance(shape, list)
    return Tensor(name, str(entry["dtype"]), tuple(int(n) for n in shape), int(offsets[1]) - int(offsets[0]))


def by_sharding(tensors: Iterable[Tensor], *, tied: bool, source: WeightsFrom = "safetensors headers") -> WeightBytes:
    """The tensors' bytes by what tensor parallelism does with them. A tied model's output head is not loaded a second
    time, also where the files have it."""
    sharded = kv = replicated = 0
    for tensor in tensors:
        if tied and _HEAD.search(tensor.name):
            continue
        if _REPLICATED.search(tensor.name) and "embed_tokens" not in tensor.name:
            replicated += tensor.bytes
        elif _KV.search(tensor.name):
            kv += tensor.bytes
        else:
            sharded += tensor.bytes
    return WeightBytes(sharded, kv, replicated, source)
