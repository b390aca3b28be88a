"""A model's facts, built from its configuration and its files. Pure."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra.planner.facts import estimate_weights, layer_kinds
from infra.planner.facts.architectures import purpose
from infra.planner.facts.config_json import ModelShape, number, printable
from infra.planner.facts.model_facts import AudioEncoder, ModelFacts, Task, WeightBytes, WeightsFrom

FORMATS = {"safetensors": ".safetensors", "bin": ".bin", "gguf": ".gguf"}
# files that show a repository is made for sentence-transformers, whatever its architecture
EMBEDS = ("modules.json", "config_sentence_transformers.json")
TEMPLATES = ("chat_template.jinja", "chat_template.json")
# files beside the weights in many repositories that hold no weights themselves
NO_WEIGHTS = ("training_args.bin", "optimizer.bin", "scheduler.bin")


def facts(
    config: Mapping[str, Any],
    shape: ModelShape,
    *,
    model_id: str,
    revision: str | None,
    weights: WeightBytes | None,
    parameters: int | None,
    chat_template: bool | None,
    weight_files: tuple[str, ...],
    disk_bytes: int | None,
    source: str,
    licence: str | None = None,
    gated: bool | None = None,
    task: Task | None = None,
    context: int | None = None,
) -> ModelFacts:
    """Build the facts. ``task`` and ``context`` are given where the configuration does not state them correctly."""
    return ModelFacts(
        id=printable(model_id),
        revision=revision,
        architecture=shape.architecture,
        task=task or _task(shape, chat_template),
        layers=shape.layers,
        hidden=shape.hidden,
        intermediate=shape.expert_intermediate * shape.experts_per_token if shape.experts else shape.intermediate,
        heads=shape.heads,
        vocab=shape.vocab,
        context=context or shape.context,
        kv=shape.kv,
        state=shape.state,
        attention_width=shape.heads * shape.head_dim,
        experts=shape.experts,
        experts_per_token=shape.experts_per_token if shape.experts else 0,
        encoder_bytes=encoder_bytes(config, shape.hidden),
        audio=audio_encoder(config, shape.hidden),
        cache_unknown=shape.cache_unknown,
        fixed_cache_bytes=layer_kinds.FIXED_BYTES.get(shape.model_type, 0),
        weights=weights,
        dtype=shape.dtype,
        quantization=shape.quantization,
        quantization_bits=shape.quantization_bits,
        parameters=parameters,
        active_parameters=estimate_weights.active(shape, config, parameters),
        chat_template=chat_template,
        remote_code=shape.remote_code,
        licence=printable(licence) if licence is not None else None,
        gated=gated,
        weight_files=weight_files,
        disk_bytes=disk_bytes,
        source=source,
        raw=config,
    )


def _task(shape: ModelShape, chat_template: bool | None) -> Task | None:
    """Return the task: an architecture that only embeds is no chat model; a decoder without a template is base."""
    known = purpose(shape.architecture)
    if known is not None and known != "chat":
        return known
    if chat_template is None:
        return None
    return "chat" if chat_template else "base"


def weights(
    shape: ModelShape,
    config: Mapping[str, Any],
    tensors: Iterable[Tensor] | None,
    total: object = None,
    source: WeightsFrom = "safetensors index",
) -> tuple[WeightBytes, int]:
    """Return the bytes and the number of parameters: by ``tensors`` where all are known, else ``total`` bytes divided
    as the architecture divides them, else by the architecture alone."""
    estimated, parameters = estimate_weights.estimate(shape, config)
    if tensors is not None:
        return replace(by_sharding(tensors, tied=shape.tied), padded=estimated.padded), parameters
    if isinstance(total, (int, float)) and not isinstance(total, bool) and total > 0:
        more = estimate_weights.unloaded(shape, config)
        # a total that is hardly more than the model itself has no such layers in it
        if total - more / 2 < estimated.total:
            more = 0
        loaded = int(total) - more
        scale = loaded / max(1, estimated.total)
        parts = (int(estimated.sharded * scale), int(estimated.kv_sharded * scale))
        return WeightBytes(*parts, loaded - sum(parts), source, estimated.padded), parameters
    return estimated, parameters


LARGEST_IMAGE = 16_384  # tokens of the largest image where the processor's own limit is not known: Qwen's


def encoder_bytes(config: Mapping[str, Any], hidden: int) -> int:
    """Return what the engine's trial of its image encoder takes, 0 where there is none: the widest layer's numbers for
    each patch of the largest image, and the tokens that come of it. Source: vLLM, v1/worker/gpu_model_runner.py,
    profile_run, and multimodal/processing."""
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping):
        return 0
    width = number(vision, "hidden_size", "embed_dim", default=0)
    inner = number(vision, "intermediate_size", default=4 * width)
    size, patch = number(vision, "image_size", default=0), number(vision, "patch_size", default=0)
    merged = number(vision, "spatial_merge_size", default=1) ** 2
    patches = (size // patch) ** 2 if size and patch else LARGEST_IMAGE * merged
    return 2 * (patches * (4 * width + 2 * inner) + patches // merged * hidden)


# Positions of the encoder that become one token, and the chunks of the longest recording, by family; others count as
# the worst of them. Source: vLLM 0.32.0, model_executor/models (whisper.py, qwen2_audio.py, voxtral.py, ultravox.py).
_AUDIO = {"whisper": (1, 1), "qwen2_audio": (2, 1), "qwen2_5_omni": (2, 1), "voxtral": (4, 1), "ultravox": (8, 16)}
_OTHER_AUDIO = (8, 20)
AUDIO_POSITIONS = 1500  # of 30 seconds, where the configuration does not say: Whisper's


def audio_encoder(config: Mapping[str, Any], hidden: int) -> AudioEncoder | None:
    """Return the encoder of speech, None where there is none: in each layer the widest numbers of every position."""
    family = str(config.get("model_type", ""))
    audio = config if family == "whisper" else config.get("audio_config")
    if audio is None and isinstance(thinker := config.get("thinker_config"), Mapping):
        audio = thinker.get("audio_config")
    if not isinstance(audio, Mapping):
        return None
    width = number(audio, "d_model", "hidden_size", default=hidden, least=1)
    inner = number(audio, "encoder_ffn_dim", "intermediate_size", default=4 * width)
    positions = number(audio, "max_source_positions", default=AUDIO_POSITIONS, least=1)
    each, longest = _AUDIO.get(family, _OTHER_AUDIO)
    tokens = max(1, positions // each)
    return AudioEncoder(
        tokens=tokens, bytes=2 * (positions * (4 * width + 2 * inner) + tokens * hidden), longest=longest
    )


def formats(names: Iterable[str]) -> tuple[str, ...]:
    """Return the formats the weights come in, by the names of the files at the root of a repository."""
    held = [name for name in names if "/" not in name and name not in NO_WEIGHTS]
    return tuple(form for form, ending in FORMATS.items() if any(name.endswith(ending) for name in held))


def chat_template(names: Iterable[str], tokenizer: Mapping[str, Any] | None) -> bool | None:
    """Return True if there is a chat template; None where there is no tokenizer configuration to show it."""
    if set(names) & set(TEMPLATES):
        return True
    return None if tokenizer is None else bool(tokenizer.get("chat_template"))


def task_of(names: Iterable[str]) -> Task | None:
    """Return the task that the repository's own files show; None where they show none."""
    return "embed" if set(names) & set(EMBEDS) else None


def parsed(text: str) -> dict[str, Any] | None:
    """Return the JSON object in ``text``; None for anything else."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


# Bytes of a model's tensors from the headers of its safetensors files: nothing of the tensors themselves is read.
#
# Format: eight bytes little-endian, the length of a JSON object that names each tensor's type, shape and place. Source:
# the safetensors format description.

MOST_HEADER = 100 * 2**20  # the format's own limit

# Whole on every GPU under vLLM's tensor parallelism: norms, routers, positions, and MLA's down projections.
_REPLICATED = re.compile(
    r"(norm|\bln_|layernorm|rotary|inv_freq|position_embedding|wpe\.|q_a_proj|kv_a_proj|"
    r"\bgate\.(weight|bias|e_score)|router\.|shared_expert_gate|multi_modal_projector)"
)
_KV = re.compile(r"(^|\.)(k_proj|v_proj|key|value)\.")
_HEAD = re.compile(r"(^|\.)lm_head\.")
# layers that predict further tokens: loaded as a draft model alone, if at all
_MORE_TOKENS = re.compile(r"^(model\.)?mtp\.")


class UnreadableWeights(ValueError):
    """A file that is no safetensors file; the text names it and says why."""


@dataclass(frozen=True)
class Tensor:
    """One tensor: its type under the format's name, and the bytes it takes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


def tensors_of(file: Path) -> list[Tensor]:
    """Return the tensors that the file's header lists. Raises ``UnreadableWeights``."""
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
    """Return the tensors' bytes by what tensor parallelism does with them. A tied model's output head is not loaded a
    second time, even where the files have it."""
    sharded = kv = replicated = 0
    for tensor in tensors:
        if (tied and _HEAD.search(tensor.name)) or _MORE_TOKENS.search(tensor.name):
            continue
        if _REPLICATED.search(tensor.name) and "embed_tokens" not in tensor.name:
            replicated += tensor.bytes
        elif _KV.search(tensor.name):
            kv += tensor.bytes
        else:
            sharded += tensor.bytes
    return WeightBytes(sharded, kv, replicated, source)
