"""The catalogue of models: the data files of ``components/catalog/models``, read once and checked. Pure.

A preset holds what a ``config.json`` alone does not give (a pinned commit, licence, gating, real bytes, parsers) and
the numbers of that file which the planner needs. ``null`` is unknown. ``tensorBytes`` are the bytes of all tensors that
are loaded, ``diskBytes`` those of the files that are fetched, ``leastCardGb`` what one card must have according to the
source. ``toolCalling`` and ``reasoning`` are the pinned engine's parsers of what the model writes.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from components.typed.tables import read_table

FOLDER = Path(__file__).with_suffix("")

Task = Literal["chat", "base", "embed", "classify", "transcribe", "image"]
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
    tool_calling: str | None = None
    reasoning: str | None = None
    note: str | None = None
    config: Mapping[str, Any] | None

    def is_model(self, model_id: str) -> bool:
        """Return True if the preset is of this hub id, in any case."""
        return model_id.lower() in (each.lower() for each in (self.id, *self.aliases))


NEEDED = tuple(str(field.alias) for field in Preset.model_fields.values() if field.is_required())
"""Keys that every model of a data file has, though they may be null."""


class DataFile(BaseModel):
    """One data file: when it was read, from where, and its models by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    read_on: datetime.date
    source: list[str] = Field(min_length=1)
    models: Mapping[str, Preset] = Field(min_length=1)


@cache
def read_all(folder: Path = FOLDER) -> tuple[Mapping[str, Preset], Mapping[str, str]]:
    """Return every preset by its name, and the source of each. Raises ``ValueError`` naming the file."""
    presets: dict[str, Preset] = {}
    sources: dict[str, str] = {}
    for file in sorted(folder.glob("*.yaml")):
        read = data_file(file)
        for name, preset in read.models.items():
            if name in presets:
                raise ValueError(f"{file.name}: models.{name} is in {sources[name]} too")
            presets[name], sources[name] = preset, f"preset {name} ({file.name}, {read.read_on.isoformat()})"
    return presets, sources


def data_file(file: Path, read: Callable[[Path], Any] = read_table) -> DataFile:
    """Return one data file as ``read`` reads it. Raises ``ValueError`` naming the file."""
    try:
        return DataFile.model_validate(read(file))
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from error


def names() -> tuple[str, ...]:
    """Return the names of all presets, sorted."""
    return tuple(sorted(read_all()[0]))


@cache
def _spelled() -> Mapping[str, str]:
    """Return a mapping from everything a preset may be called, in lower case, to its name."""
    spelled: dict[str, str] = {}
    for name, preset in read_all()[0].items():
        for text in (name, preset.id, *preset.aliases):
            for each in (text, text.rpartition("/")[2]):
                spelled.setdefault(each.lower(), name)
    return spelled


def name_of(called: str) -> str | None:
    """Return the name of the preset that is called so: name, hub id or alias, with or without owner, in any case."""
    return _spelled().get(called.strip().lower())


def preset(called: str) -> Preset | None:
    """Return a preset by what it may be called (see ``name_of``); None where there is none."""
    name = name_of(called)
    return read_all()[0][name] if name else None


def of_model(model_id: str) -> Preset | None:
    """Return the preset of exactly this hub id; None where there is none."""
    candidate = preset(model_id)
    return candidate if candidate is not None and candidate.is_model(model_id) else None


def near(name: str) -> tuple[str, ...]:
    """Return at most three presets that a misspelled name may mean, the likeliest first."""
    spelled = _spelled()
    matches = difflib.get_close_matches(name.strip().lower(), spelled, n=6, cutoff=0.6)
    return tuple(dict.fromkeys(spelled[match] for match in matches))[:3]
