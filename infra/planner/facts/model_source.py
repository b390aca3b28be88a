"""Sources of a model's facts: a folder with at least a ``config.json``, an archive of the model cache, a preset, or the
hub when that is asked for."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from infra.planner.facts import build, config_json, model_archive, presets
from infra.planner.facts.build import facts as facts
from infra.planner.facts.config_json import UnreadableConfig
from infra.planner.facts.model_facts import ModelFacts

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_OBJECT = "allowed: one JSON object in UTF-8, as transformers writes it; fix: fetch the file again"
# An index of the largest models has some megabytes.
_LARGEST_JSON = 64_000_000
_CACHED = re.compile(r"models--(?P<owner>[\w.-]+?)--(?P<name>[\w.-]+)")


class UnknownModel(ValueError):
    """A name without facts; the text says what is allowed and how to fix it."""


def resolve(
    name_or_path: str, *, ask_hub: bool = False, revision: str | None = None, token: str | None = None
) -> ModelFacts:
    """Return the facts of a preset, a hub id, an archive or a folder; a folder or file that exists goes first.

    The network is used only with ``ask_hub``, and then also for a preset's name, at ``revision`` or else the preset's.
    Raises ``UnknownModel``, ``HubError``, ``UnreadableConfig``, ``UnreadableWeights`` or ``UnreadableArchive``: all
    of them ``ValueError`` with a text for the user.
    """
    path = Path(name_or_path).expanduser()
    if path.exists():
        return from_path(path, revision)
    if _is_path(name_or_path):
        allowed = "a folder with a config.json, or an archive of one"
        raise UnknownModel(f"{name_or_path!r} is not there; allowed: {allowed}; fix: check the path")
    preset = presets.find(name_or_path)
    if ask_hub:
        from infra.planner.facts import hub

        model_id = preset.id if preset else name_or_path
        return hub.from_hub(model_id, revision or (preset.revision if preset else None), token)
    if preset is None:
        raise UnknownModel(_unknown(name_or_path))
    if revision is None or revision == preset.revision:
        return preset
    return dataclasses.replace(
        preset, revision=revision, source=f"{preset.source}, which is of revision {preset.revision or 'unknown'}"
    )


def _is_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith((".zip", ".tar", ".gz", ".tgz"))


def _unknown(name: str) -> str:
    near = presets.near(name)
    use = f"use {' or '.join(near)}" if near else f"use one of {', '.join(presets.names())}"
    hub_too = "ask the hub for it" if _HUB_ID.fullmatch(name) else "write owner/name and ask the hub for it"
    allowed = "a preset, a folder with a config.json, an archive of one, or with the hub's help an id on it"
    return f"{name!r} is not a preset; allowed: {allowed}; fix: {use}, or {hub_too}"


def from_path(path: Path, revision: str | None = None) -> ModelFacts:
    """Return the facts from a folder, the folder of a hub's cache, or an archive."""
    if path.is_file() or model_archive.is_archive(path):
        with model_archive.opened(path) as archive:
            model_facts = from_folder(archive.model, archive.model_id, revision or archive.revision)
            return dataclasses.replace(
                model_facts,
                disk_bytes=archive.disk_bytes,
                licence=model_facts.licence or archive.licence,
                source=str(path),
            )
    return from_folder(path, revision=revision)


def from_folder(folder: Path, model_id: str | None = None, revision: str | None = None) -> ModelFacts:
    """Return the facts of a model on disk. Weights are counted by real bytes where all safetensors files are there, by
    the index's total where only that is, else from the architecture. Raises ``UnreadableConfig`` or
    ``UnreadableWeights``."""
    config = _json(folder / "config.json")
    if config is None and (folder / config_json.PIPELINE_FILE).exists():
        raise UnreadableConfig(config_json.pipeline_problem(str(folder)))
    if config is None:
        allowed = "a folder with the model's config.json at its top"
        raise UnreadableConfig(f"{folder} has no config.json; allowed: {allowed}; fix: fetch it beside the weights")
    shape = config_json.read(config)
    names = sorted(file.name for file in folder.iterdir() if file.is_file())
    listed, total = _index(folder / "model.safetensors.index.json")
    # Mistral's own repositories hold the weights twice: once more as consolidated.safetensors
    files = [name for name in names if name.endswith(".safetensors") and not name.startswith("consolidated")]
    tensors = None
    if files and listed <= set(files):
        used = [name for name in files if not listed or name in listed]
        tensors = [tensor for name in used for tensor in build.tensors_of(folder / name)]
    weights, parameters = build.weights(shape, config, tensors, total)
    cached = _cached(folder)
    return facts(
        config,
        shape,
        model_id=model_id or cached[0] or str(config.get("_name_or_path") or folder.name),
        revision=revision or cached[1],
        weights=weights,
        parameters=parameters,
        chat_template=build.chat_template(names, _json(folder / "tokenizer_config.json")),
        weight_files=build.formats(names),
        disk_bytes=sum((folder / name).stat().st_size for name in names),
        source=str(folder),
        licence=_licence(folder / "README.md"),
        task=build.task_of(names),
    )


def _index(file: Path) -> tuple[set[str], object]:
    """Return the weight files an index names and the bytes it says they hold; an empty set and None without an index.
    Raises ``UnreadableConfig``."""
    index = _json(file) or {}
    files, about = index.get("weight_map", {}), index.get("metadata", {})
    if not isinstance(files, dict) or not isinstance(about, dict):
        raise UnreadableConfig(f"{file} is no index of weight files; allowed: weight_map and metadata as mappings")
    return {str(name) for name in files.values()}, about.get("total_size")


def _cached(folder: Path) -> tuple[str | None, str | None]:
    """Return id and commit from a path of the hub's own cache: ``models--owner--name/snapshots/commit``."""
    parts = folder.resolve().parts
    if len(parts) < 3 or parts[-2] != "snapshots":
        return None, None
    named = _CACHED.fullmatch(parts[-3])
    commit = parts[-1] if re.fullmatch(r"[0-9a-f]{40}", parts[-1]) else None
    return (f"{named['owner']}/{named['name']}" if named else None), commit


def _licence(card: Path) -> str | None:
    """Return the licence in the model card's head, between two lines of dashes."""
    try:
        text = card.read_text(errors="replace")
    except OSError:
        return None
    head = text.split("\n---", 1)[0] if text.startswith("---") else ""
    match = re.search(r"^licen[sc]e:\s*([\w.-]+)\s*$", head, re.MULTILINE)
    return match[1] if match else None


def _json(file: Path) -> dict[str, Any] | None:
    """Return the object in ``file``; None where there is no file. Raises ``UnreadableConfig`` for anything else."""
    try:
        if file.stat().st_size > _LARGEST_JSON:
            raise UnreadableConfig(f"{file} is larger than 64 MB, which no model's is; {_OBJECT}")
        read = json.loads(file.read_text())
        json.dumps(read, ensure_ascii=False).encode()  # an escape can hold half a letter, which cannot be shown
    except FileNotFoundError:
        return None
    except UnreadableConfig:
        raise
    except (ValueError, OSError, RecursionError) as error:
        raise UnreadableConfig(f"{file} cannot be read as JSON; {_OBJECT}") from error
    if not isinstance(read, dict):
        raise UnreadableConfig(f"{file} is not a JSON object; {_OBJECT}")
    return read
