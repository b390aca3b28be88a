"""Models known without a network: the data files of ``components/catalog/models``, read once and checked.

A preset holds what a ``config.json`` alone does not give (a pinned commit, licence, gating, real bytes) and the numbers
of that file which the planner needs. ``null`` is unknown. ``tensorBytes`` are the bytes of all tensors that are loaded,
``diskBytes`` those of the files that are fetched, ``leastCardGb`` what one card must have according to the source.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from components.typed.tables import read_table
from infra.planner.facts import build, config_json
from infra.planner.facts.model_facts import ModelFacts, Task, WeightBytes
from infra.workspace import PROJECT

FOLDER = PROJECT / "components" / "catalog" / "models"

Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Count = Annotated[int, Field(gt=0)]


class Preset(BaseModel):
    """One model as in its data file."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    aliases: tuple[str, ...] = ()
    revision: Commit | None
    licence: str | None
    gated: bool | None
    chat_template: bool | None
    weight_files: tuple[str, ...]
    parameters: Count | None
    tensor_bytes: Count | None
    disk_bytes: Count | None = None
    task: Task | None = None
    context: Count | None = None
    architecture: str | None = None
    least_card_gb: Count | None = None
    note: str | None = None
    config: Mapping[str, Any] | None


NEEDED = tuple(str(field.alias) for field in Preset.model_fields.values() if field.is_required())
"""Keys that every model of a data file has, though they may be null."""


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    read_on: datetime.date
    source: list[str] = Field(min_length=1)
    models: Mapping[str, Preset] = Field(min_length=1)


@cache
def _read(folder: Path = FOLDER) -> tuple[Mapping[str, Preset], Mapping[str, str]]:
    """Return every preset by its name, and the source of each. Raises ``ValueError`` naming the file."""
    found: dict[str, Preset] = {}
    sources: dict[str, str] = {}
    for file in sorted(folder.glob("*.yaml")):
        read = _file(file)
        for name, preset in read.models.items():
            if name in found:
                raise ValueError(f"{file.name}: models.{name} is in {sources[name]} too")
            found[name], sources[name] = preset, f"preset {name} ({file.name}, {read.read_on.isoformat()})"
    return found, sources


def _file(file: Path, read: Callable[[Path], Any] = read_table) -> _File:
    try:
        return _File.model_validate(read(file))
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from error


def facts_in(file: Path, read: Callable[[Path], Any]) -> tuple[ModelFacts, ...]:
    """Return the facts of every model in one data file as ``read`` reads it. Raises ``ValueError`` naming the file."""
    whole = _file(file, read)
    source = f"{file.name}, recorded {whole.read_on.isoformat()}"
    return tuple(_facts(preset, source) for preset in whole.models.values())


def _facts(preset: Preset, source: str) -> ModelFacts:
    return _image(preset, source) if preset.config is None else _text(preset, preset.config, source)


def names() -> tuple[str, ...]:
    """Return the names of all presets, sorted."""
    return tuple(sorted(_read()[0]))


@cache
def _spelled(folder: Path = FOLDER) -> Mapping[str, str]:
    """Return a mapping from everything a preset may be called, in lower case, to its name."""
    spelled: dict[str, str] = {}
    for name, preset in _read(folder)[0].items():
        for text in (name, preset.id, *preset.aliases):
            for each in (text, text.rpartition("/")[2]):
                spelled.setdefault(each.lower(), name)
    return spelled


def preset(name: str) -> Preset | None:
    """Return a preset by its name, hub id or alias, with or without owner, in any case; None where there is none."""
    found = _spelled().get(name.strip().lower())
    return _read()[0][found] if found else None


def near(name: str) -> tuple[str, ...]:
    """Return at most three presets that a misspelled name may mean, the likeliest first."""
    spelled = _spelled()
    matches = difflib.get_close_matches(name.strip().lower(), spelled, n=6, cutoff=0.6)
    return tuple(dict.fromkeys(spelled[match] for match in matches))[:3]


@cache
def find(name: str) -> ModelFacts | None:
    """Return the facts of the preset with this name (see ``preset``)."""
    called = _spelled().get(name.strip().lower())
    if called is None:
        return None
    return _facts(_read()[0][called], _read()[1][called])


def _text(found: Preset, config: Mapping[str, Any], source: str) -> ModelFacts:
    shape = config_json.read(config)
    weights, parameters = build.weights(shape, config, None, found.tensor_bytes, "preset")
    return build.facts(
        config,
        shape,
        model_id=found.id,
        revision=found.revision,
        weights=weights,
        parameters=found.parameters or parameters,
        chat_template=found.chat_template,
        weight_files=found.weight_files,
        disk_bytes=found.disk_bytes,
        source=source,
        licence=found.licence,
        gated=found.gated,
        task=found.task,
        context=found.context,
    )


def _image(found: Preset, source: str) -> ModelFacts:
    """Return the facts of an image model, which is no decoder: nothing of it is cached or split."""
    size = found.tensor_bytes
    return ModelFacts(
        id=found.id,
        revision=found.revision,
        architecture=found.architecture,
        task=found.task,
        layers=0,
        hidden=0,
        intermediate=0,
        heads=0,
        vocab=0,
        context=None,
        kv=(),
        weights=WeightBytes(0, 0, size, "preset") if size else None,
        dtype="bfloat16",
        parameters=found.parameters,
        active_parameters=found.parameters,
        chat_template=found.chat_template,
        licence=found.licence,
        gated=found.gated,
        weight_files=found.weight_files,
        disk_bytes=found.disk_bytes,
        source=source,
        raw={"least_card_gb": found.least_card_gb} if found.least_card_gb else {},
    )
