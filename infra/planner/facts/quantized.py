"""Bytes a checkpoint's quantization takes per weight, from the ``quantization_config`` of its ``config.json``. Pure.

Each tool writes its settings in its own shape. Anything they do not show is unknown and never guessed smaller: the
weights then count in the model's own type. Source: vLLM 0.32.0, model_executor/layers/quantization.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

GROUP = 128  # weights that share a scale where the settings do not say how many
MXFP4_BYTES = 4.25 / 8  # a scale of 8 bits for 32 numbers
NVFP4_BYTES = 4.5 / 8  # a scale of 8 bits for 16 numbers


@dataclass(frozen=True)
class Stored:
    """Stored form of the weights. ``weight_bytes`` are those of one weight with its share of scales and zeros, None
    where unknown."""

    method: str
    bits: int | None
    weight_bytes: float | None


def stored(config: Mapping[str, Any]) -> Stored | None:
    """Return how weights are stored; None where nothing is quantized. Raises ``ValueError`` where the settings are no
    mapping."""
    settings = config.get("quantization_config") or config.get("compression_config")
    if not settings:
        return None
    if not isinstance(settings, Mapping):
        raise ValueError("quantization_config is no mapping")
    method = str(settings.get("quant_method", "unknown")).lower()
    if method in ("awq", "gptq", "auto-round", "inc"):
        return _grouped(method, _bits(settings.get("bits") or settings.get("w_bit")), settings)
    if method == "bitsandbytes":
        return _grouped(method, 4 if settings.get("load_in_4bit") else 8, settings)
    if method == "compressed-tensors":
        return _compressed(method, settings)
    if method == "modelopt":
        return _modelopt(settings)
    if method in ("fp8", "fbgemm_fp8"):
        return Stored(method, 8, 1.0 + _block_scale(settings.get("weight_block_size")))
    if method == "mxfp4":
        return Stored(method, 4, MXFP4_BYTES)
    return Stored(method, _bits(settings.get("bits") or settings.get("w_bit")), None)


def _bits(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 16 else None


def _grouped(method: str, bits: int | None, settings: Mapping[str, Any]) -> Stored:
    """Return the size of integers in groups, each with a scale of 16 bits and a zero of as many bits as a weight."""
    bits = bits or (4 if method == "awq" else None)
    size = settings.get("group_size", settings.get("q_group_size"))
    group = size if isinstance(size, int) and size > 0 else GROUP
    return Stored(method, bits, bits / 8 + (2 + bits / 8) / group if bits else None)


def _compressed(method: str, settings: Mapping[str, Any]) -> Stored:
    """Return the size for layers in groups quantized alike; the widest stands for all, so the sum is not too small."""
    sizes = list(_groups(settings))
    if not sizes or None in sizes:
        return Stored(method, None, None)
    bits, size = max((each for each in sizes if each), key=lambda each: each[1])
    return Stored(method, bits, size)


def _groups(settings: Mapping[str, Any]) -> Iterator[tuple[int, float] | None]:
    groups = settings.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        bits = _bits(weights.get("num_bits")) if isinstance(weights, Mapping) else None
        if bits is None or not isinstance(weights, Mapping):
            yield None
            continue
        yield bits, bits / 8 + _scale(bits, weights)


def _scale(bits: int, weights: Mapping[str, Any]) -> float:
    size = weights.get("group_size")
    if isinstance(size, int) and size > 0:
        if weights.get("type") == "float" and bits == 4:
            return 1 / size
        return (2 + (0 if weights.get("symmetric") is not False else bits / 8)) / size
    return _block_scale(weights.get("block_structure"))


def _modelopt(settings: Mapping[str, Any]) -> Stored:
    algorithm = str(settings.get("quant_algo") or "").upper()
    if algorithm == "NVFP4":
        return Stored("modelopt_fp4", 4, NVFP4_BYTES)
    if algorithm in ("FP8", "FP8_PER_CHANNEL_PER_TOKEN"):
        return Stored("modelopt", 8, 1.0)
    if algorithm == "FP8_PB_WO":
        return Stored("modelopt", 8, 1.0 + _block_scale([128, 128]))
    return Stored("modelopt", None, None)


def _block_scale(block: object) -> float:
    """Return the scale's bytes per weight: of a 32-bit scale per block where there are blocks, 0 for one per tensor."""
    if isinstance(block, list) and len(block) == 2 and all(isinstance(n, int) and 0 < n < 2**32 for n in block):
        return 4 / float(block[0] * block[1])
    return 0.0
