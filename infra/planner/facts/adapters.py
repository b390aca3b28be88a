"""Facts about LoRA adapters: what an ``adapter_config.json`` says, from a folder, the hub, or the records beside the
stack files (``stacks/adapters/*.yaml``, written by ``ebbtide catalog add``)."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components.typed.refusal import Problem
from components.typed.rules.planner import RECORD_UNREADABLE
from infra.planner.facts.build import formats, parsed
from infra.planner.facts.config_json import UnreadableConfig, printable
from infra.stackfile import yaml_source

CONFIG = "adapter_config.json"
FOLDER = "adapters"
"""Folder beside the stack files."""

_MOST_RANK = 2**20
# Ways to begin the training that leave the base as it is; others change it, and vLLM refuses them. Source: vLLM 0.32.0,
# lora/peft_helper.py, which also has the other features that it refuses.
_PLAIN_BEGINNINGS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
_REFUSED = {
    "modules_to_save": "whole modules saved beside the adapter (modules_to_save)",
    "use_dora": "DoRA (use_dora)",
    "lora_bias": "a bias in its layers (lora_bias)",
    "alora_invocation_tokens": "activation by tokens (alora_invocation_tokens)",
    "layer_replication": "replicated layers (layer_replication)",
    "use_bdlora": "block-diagonal matrices (use_bdlora)",
    "use_qalora": "QALoRA (use_qalora)",
}


@dataclass(frozen=True, kw_only=True)
class AdapterFacts:
    """Facts of one adapter. ``base``: the model it was trained for, None where it does not say; ``rank``: its highest;
    ``refused``: features that the engine refuses; ``weight_files``: their formats; ``raw``: its configuration."""

    id: str
    revision: str | None
    base: str | None
    rank: int
    refused: tuple[str, ...]
    weight_files: tuple[str, ...]
    source: str
    raw: Mapping[str, Any]


def facts(
    config: Mapping[str, Any], *, adapter_id: str, revision: str | None, weight_files: tuple[str, ...], source: str
) -> AdapterFacts:
    """Return the facts in an adapter's configuration. Raises ``UnreadableConfig`` for one without a rank."""
    more = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(more.values() if isinstance(more, Mapping) else (None,))]
    if not all(type(rank) is int and 0 < rank < _MOST_RANK for rank in ranks):
        raise UnreadableConfig(
            f"the {CONFIG} of {printable(adapter_id)} names no rank; allowed: r, a whole number above 0; "
            "fix: fetch the file again, as PEFT writes it"
        )
    base = config.get("base_model_name_or_path")
    return AdapterFacts(
        id=printable(adapter_id),
        revision=revision,
        base=printable(base) if isinstance(base, str) and base else None,
        rank=max(rank for rank in ranks if isinstance(rank, int)),
        refused=tuple(_refused(config)),
        weight_files=weight_files,
        source=source,
        raw=config,
    )


def _refused(config: Mapping[str, Any]) -> Iterator[str]:
    if str(config.get("peft_type", "LORA")).upper() != "LORA":
        yield f"another method than LoRA (peft_type {printable(str(config['peft_type']))})"
    if config.get("bias", "none") != "none":
        yield "trained biases (bias)"
    yield from (words for key, words in _REFUSED.items() if config.get(key))
    begun = config.get("init_lora_weights", True)
    if isinstance(begun, str) and begun.lower() not in _PLAIN_BEGINNINGS:
        yield f"a beginning that changes the base (init_lora_weights {printable(begun)})"


def from_folder(folder: Path, adapter_id: str, revision: str | None = None) -> AdapterFacts | None:
    """Return the facts of an adapter on disk, its files in ``folder`` or in ``folder/model`` as the store has them;
    None for a folder without an adapter. Raises ``UnreadableConfig``."""
    for place in (folder, folder / "model"):
        if (place / CONFIG).is_file():
            config = parsed((place / CONFIG).read_text())
            if config is None:
                raise UnreadableConfig(f"{place / CONFIG} is not a JSON object; fix: fetch the file again")
            names = [file.name for file in place.iterdir() if file.is_file()]
            weight_files, source = formats(names), str(folder)
            return facts(config, adapter_id=adapter_id, revision=revision, weight_files=weight_files, source=source)
    return None


@dataclass(frozen=True)
class RecordedAdapters:
    """Facts by the adapter's id in lower case, and the problems with the files."""

    facts: Mapping[str, AdapterFacts] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def find(self, adapter_id: str) -> AdapterFacts | None:
        """Return the facts of an adapter; None where it is not recorded."""
        return self.facts.get(adapter_id.lower())


NONE = RecordedAdapters()


def read(stacks: Path) -> RecordedAdapters:
    """Read the adapters recorded beside the stack files in ``stacks``."""
    by_id: dict[str, AdapterFacts] = {}
    problems: list[Problem] = []
    for file in sorted((stacks / FOLDER).glob("*.yaml")):
        try:
            recorded_adapter = _recorded(yaml_source.read(file, "a recorded adapter").value, file.name)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, yaml_source.Unreadable):
            message = f"of {FOLDER}/{file.name} cannot be read"
            allowed, fix = "a file as ebbtide catalog add writes it", "record the adapter anew, or delete the file"
            problems.append(RECORD_UNREADABLE.at(("models",), message, allowed=allowed, fix=fix))
            continue
        by_id[recorded_adapter.id.lower()] = recorded_adapter
    return RecordedAdapters(by_id, tuple(problems))


def _recorded(record: Mapping[str, Any], name: str) -> AdapterFacts:
    return facts(
        record["config"],
        adapter_id=str(record["id"]),
        revision=str(record["revision"]) if record.get("revision") else None,
        weight_files=tuple(map(str, record["weightFiles"])),
        source=f"{name}, recorded {record['readOn']}",
    )


def document(adapter: AdapterFacts, today: datetime.date) -> str:
    """Return the text of the file that records an adapter."""
    whole = {
        "readOn": today,
        "source": [adapter.source],
        "id": adapter.id,
        "revision": adapter.revision,
        "weightFiles": list(adapter.weight_files),
        "config": dict(adapter.raw),
    }
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=110)
