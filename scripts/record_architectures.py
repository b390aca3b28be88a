"""Recorder of the architectures an engine knows, from the source of its own registry, without importing the engine.

``python -m scripts.record_architectures REGISTRY.py VERSION`` rewrites the list that the planner reads (``FILE``). The
models' own files, in the folder of the registry, say which of them transcribe or take LoRA adapters.
"""

from __future__ import annotations

import ast
import datetime
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from infra.workspace import PROJECT

FILE = PROJECT / "infra" / "planner" / "facts" / "architectures.json"
# the registry's own tables, each with the purpose of its models
TABLES = {
    "_TEXT_GENERATION_MODELS": "chat",
    "_MULTIMODAL_MODELS": "chat",
    "_TRANSFORMERS_SUPPORTED_MODELS": "chat",
    "_EMBEDDING_MODELS": "embed",
    "_LATE_INTERACTION_MODELS": "embed",
    "_SEQUENCE_CLASSIFICATION_MODELS": "classify",
    "_TOKEN_CLASSIFICATION_MODELS": "classify",
    "_REWARD_MODELS": "classify",
}
THROUGH_TRANSFORMERS = "_TRANSFORMERS_SUPPORTED_MODELS"
FORMER = "_PREVIOUSLY_SUPPORTED_MODELS"


def tables(source: str) -> dict[str, dict[str, str]]:
    """Return the registry's tables as written: architecture → the module or version beside it."""
    by_name: dict[str, dict[str, str]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Dict):
            entries = zip(node.value.keys, node.value.values, strict=True)
            by_name[node.targets[0].id] = {
                key.value: ast.unparse(value)
                for key, value in entries
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
            }
    return by_name


def transcribing(sources: Iterable[str]) -> dict[str, set[str]]:
    """Return the classes that transcribe, and those that do nothing else."""
    classes: dict[str, set[str]] = {"transcribe": set(), "only_transcribe": set()}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and "SupportsTranscription" in map(ast.unparse, node.bases):
                classes["transcribe"].add(node.name)
                if any(ast.unparse(each) == "supports_transcription_only = True" for each in node.body):
                    classes["only_transcribe"].add(node.name)
    return classes


def with_adapters(sources: Iterable[str]) -> set[str]:
    """Return the classes that take LoRA adapters: those that say so, and those that inherit from one of them."""
    bases: dict[str, set[str]] = {}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                bases.setdefault(node.name, set()).update(ast.unparse(base).rpartition(".")[2] for base in node.bases)
    classes: set[str] = {"SupportsLoRA"}
    while more := {name for name, above in bases.items() if name not in classes and above & classes}:
        classes |= more
    return classes


def recorded(source: str, version: str, today: str, models: Sequence[str] = ()) -> dict[str, object]:
    """Return the record: names by purpose, those that go through transformers, and dropped ones with their last
    version. Raises ``ValueError`` if a table is missing."""
    read = tables(source)
    missing = [name for name in (*TABLES, FORMER) if not read.get(name)]
    if missing:
        raise ValueError(f"the registry has no {', '.join(missing)}: it is laid out otherwise than this reader knows")
    purposes: dict[str, list[str]] = {}
    for table, purpose in TABLES.items():
        purposes[purpose] = sorted({*purposes.get(purpose, []), *read[table]})
    by_capability = {**transcribing(models), "lora": with_adapters(models)}
    class_of = {name: text for table in TABLES for name, text in read[table].items()}
    hearing = {
        kind: sorted(name for name, text in class_of.items() if any(f"'{each}'" in text for each in classes))
        for kind, classes in by_capability.items()
    }
    return {
        "engine": "vllm",
        "version": version,
        "recorded_on": today,
        "source": f"vllm {version}, model_executor/models/registry.py",
        **purposes,
        **hearing,
        "through_transformers": sorted(read[THROUGH_TRANSFORMERS]),
        "until": {name: ast.literal_eval(text) for name, text in sorted(read[FORMER].items())},
    }


def main() -> None:
    registry, version = Path(sys.argv[1]), sys.argv[2]
    folders = (registry.parent, registry.parents[2] / "models")  # newer models have a folder of the package's own
    models = [file.read_text() for folder in folders for file in sorted(folder.rglob("*.py"))]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    FILE.write_text(json.dumps(recorded(registry.read_text(), version, today, models), indent=1) + "\n")


if __name__ == "__main__":
    main()
