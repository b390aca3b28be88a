"""Models outside the catalogue whose facts were recorded beside the stack files: ``stacks/models/*.yaml``.

A file has the form of the catalogue's own (``components/catalog/models``) and is written by ``ebbtide catalog add``, so
that every command judges the model the same way, without a network.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components.typed.refusal import Problem
from components.typed.rules.planner import RECORD_UNREADABLE
from infra.planner.facts import presets
from infra.planner.facts.model_facts import ModelFacts
from infra.stackfile import yaml_source

FOLDER = "models"
"""Folder beside the stack files."""

# Parts of a config.json that no plan reads, and that can be long.
_UNREAD = ("id2label", "label2id", "transformers_version", "_name_or_path")


@dataclass(frozen=True)
class RecordedModels:
    """Facts by the model's id in lower case, and the problems with the files."""

    facts: Mapping[str, ModelFacts] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def find(self, model_id: str) -> ModelFacts | None:
        """Return the facts of a model: the catalogue's where it has the model, else those recorded."""
        return presets.find(model_id) or self.facts.get(model_id.lower())


def read(stacks: Path) -> RecordedModels:
    """Read the models recorded beside the stack files in ``stacks``."""
    facts: dict[str, ModelFacts] = {}
    problems: list[Problem] = []
    for file in sorted((stacks / FOLDER).glob("*.yaml")):
        try:
            recorded = presets.facts_in(file, lambda path: yaml_source.read(path, "a recorded model").value)
        except (ValueError, TypeError, OverflowError, RecursionError, yaml_source.Unreadable) as error:
            why = f": it {error}" if isinstance(error, yaml_source.Unreadable) else ""
            message = f"of {FOLDER}/{file.name} cannot be read{why}"
            allowed = "a file as ebbtide catalog add writes it"
            fix = "record the model anew, or delete the file"
            problems.append(RECORD_UNREADABLE.at(("models",), message, allowed=allowed, fix=fix))
            continue
        facts |= {each.id.lower(): each for each in recorded}
    return RecordedModels(facts, tuple(problems))


def document(name: str, facts: ModelFacts, today: datetime.date) -> str:
    """Return the text of the file that records ``facts`` under ``name``."""
    config = {key: value for key, value in facts.raw.items() if key not in _UNREAD}
    measured = facts.weights is not None and facts.weights.source != "architecture"
    preset = {
        "id": facts.id,
        "revision": facts.revision,
        "licence": facts.licence,
        "gated": facts.gated,
        "chatTemplate": facts.chat_template,
        "weightFiles": list(facts.weight_files),
        "parameters": facts.parameters,
        "tensorBytes": facts.weights.total if facts.weights is not None and measured else None,
        "diskBytes": facts.disk_bytes,
        "task": facts.task,
        "config": config,
    }
    whole: dict[str, Any] = {
        "readOn": today,
        "source": [facts.source],
        "models": {name: {key: value for key, value in preset.items() if value is not None or key in presets.NEEDED}},
    }
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=110)
