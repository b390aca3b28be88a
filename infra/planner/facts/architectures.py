"""Architectures the pinned engine serves, from the list of its own registry (``record_architectures.py``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from infra.planner.facts.model_facts import ModelFacts

Purpose = Literal["chat", "embed", "classify", "transcribe"]


@dataclass(frozen=True)
class Recorded:
    """Recorded list of one version. ``until`` names architectures given up and the last version that had them;
    ``transcribe`` those that turn speech into text, of which ``only_transcribe`` do nothing else; ``lora`` those that
    take LoRA adapters."""

    version: str
    chat: frozenset[str]
    embed: frozenset[str]
    classify: frozenset[str]
    transcribe: frozenset[str]
    only_transcribe: frozenset[str]
    lora: frozenset[str]
    through_transformers: frozenset[str]
    until: dict[str, str]


@cache
def recorded() -> Recorded:
    """Return the list in ``architectures.json``."""
    read = json.loads(Path(__file__).with_name("architectures.json").read_text())
    names = ("chat", "embed", "classify", "transcribe", "only_transcribe", "lora", "through_transformers")
    return Recorded(version=read["version"], until=read["until"], **{name: frozenset(read[name]) for name in names})


def purpose(architecture: str | None) -> Purpose | None:
    """Return what the engine would serve it for; None where it does not know it. One that can chat counts as chat."""
    known = recorded()
    if architecture in known.only_transcribe:
        return "transcribe"
    if architecture in known.chat:
        return "chat"
    if architecture in known.embed:
        return "embed"
    return "classify" if architecture in known.classify else None


def transcribes(architecture: str | None) -> bool:
    """Return True if the engine turns speech into text with it."""
    return architecture in recorded().transcribe


def takes_adapters(architecture: str | None) -> bool:
    """Return True if the engine's own implementation takes LoRA adapters; that of transformers does for every model."""
    return architecture in recorded().lora


def last_version_with(architecture: str) -> str | None:
    """Return the last version that had an architecture now given up; None for any other."""
    return recorded().until.get(architecture)


# The implementation the engine takes for a model: its own, or that of transformers. Pure.

Implementation = Literal["auto", "vllm", "transformers"]


@dataclass(frozen=True)
class Choice:
    """Choice for one model. ``implementation`` None: neither can serve it, and ``reason`` says why. ``remote_code``:
    only with code from the model's repository."""

    implementation: Literal["vllm", "transformers"] | None
    reason: str
    remote_code: bool = False


def choose(facts: ModelFacts, requested: Implementation = "auto") -> Choice:
    """Return the implementation for ``requested``. ``auto`` prefers the engine's own, which is faster; without one,
    transformers' is used if the engine lists it so, or if the repository brings its own model class (``auto_map``).
    Source: vLLM, model_executor/models/registry.py."""
    name, version = facts.architecture, recorded().version
    if name is None:
        return Choice(None, "has no architecture in its config.json")
    own = purpose(name) is not None and name not in recorded().through_transformers
    custom = _custom_class(facts)
    if requested == "transformers":
        return Choice("transformers", "as asked", remote_code=custom and purpose(name) is None)
    if own:
        return Choice("vllm", f"vLLM {version} has {name}")
    if requested == "auto" and name in recorded().through_transformers:
        return Choice("transformers", f"vLLM {version} serves {name} through transformers")
    if requested == "auto" and custom:
        reason = f"vLLM {version} has no {name}; its repository brings the class"
        return Choice("transformers", reason, remote_code=True)
    return Choice(None, _without(name, version, requested))


def _custom_class(facts: ModelFacts) -> bool:
    auto_map = facts.raw.get("auto_map")
    return isinstance(auto_map, Mapping) and any(str(key).startswith("AutoModel") for key in auto_map)


def _without(name: str, version: str, requested: Implementation) -> str:
    last = last_version_with(name)
    if last is not None:
        return f"is of architecture {name}, which vLLM had until {last} and {version} no longer has"
    if requested == "vllm" and name in recorded().through_transformers:
        return f"is of architecture {name}, which vLLM {version} serves through transformers only"
    return f"is of architecture {name}, which vLLM {version} does not know"
