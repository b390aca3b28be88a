"""Facts of models that are known without a network: those of the catalogue (``components/catalog/models.py``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from components.catalog.models import NEEDED as NEEDED
from components.catalog.models import Preset, data_file, name_of, read_all
from components.catalog.models import names as names
from components.catalog.models import near as near
from components.catalog.models import preset as preset
from infra.planner.facts import build, config_json
from infra.planner.facts.model_facts import ModelFacts, WeightBytes


def facts_in(file: Path, read: Callable[[Path], Any]) -> tuple[ModelFacts, ...]:
    """Return the facts of every model in one data file as ``read`` reads it. Raises ``ValueError`` naming the file."""
    whole = data_file(file, read)
    source = f"{file.name}, recorded {whole.read_on.isoformat()}"
    return tuple(_facts(preset, source) for preset in whole.models.values())


def _facts(preset: Preset, source: str) -> ModelFacts:
    return _image(preset, source) if preset.config is None else _text(preset, preset.config, source)


@cache
def find(name: str) -> ModelFacts | None:
    """Return the facts of the preset with this name (see ``preset``)."""
    called = name_of(name)
    if called is None:
        return None
    presets, sources = read_all()
    return _facts(presets[called], sources[called])


def _text(entry: Preset, config: Mapping[str, Any], source: str) -> ModelFacts:
    shape = config_json.read(config)
    weights, parameters = build.weights(shape, config, None, entry.tensor_bytes, "preset")
    return build.facts(
        config,
        shape,
        model_id=entry.id,
        revision=entry.revision,
        weights=weights,
        parameters=entry.parameters or parameters,
        chat_template=entry.chat_template,
        weight_files=entry.weight_files,
        disk_bytes=entry.disk_bytes,
        source=source,
        licence=entry.licence,
        gated=entry.gated,
        task=entry.task,
        context=entry.context,
    )


def _image(entry: Preset, source: str) -> ModelFacts:
    """Return the facts of an image model, which is no decoder: nothing of it is cached or split."""
    size = entry.tensor_bytes
    return ModelFacts(
        id=entry.id,
        revision=entry.revision,
        architecture=entry.architecture,
        task=entry.task,
        layers=0,
        hidden=0,
        intermediate=0,
        heads=0,
        vocab=0,
        context=None,
        kv=(),
        weights=WeightBytes(0, 0, size, "preset") if size else None,
        dtype="bfloat16",
        parameters=entry.parameters,
        active_parameters=entry.parameters,
        chat_template=entry.chat_template,
        licence=entry.licence,
        gated=entry.gated,
        weight_files=entry.weight_files,
        disk_bytes=entry.disk_bytes,
        source=source,
        raw={"least_card_gb": entry.least_card_gb} if entry.least_card_gb else {},
    )
