"""Which implementation of a model the engine takes: its own, or that of transformers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from infra.preflight.architectures import last_version_with, purpose, recorded
from infra.preflight.model_facts import ModelFacts

Asked = Literal["AUTO", "VLLM", "TRANSFORMERS"]


@dataclass(frozen=True)
class Choice:
    """``implementation`` None: neither can serve it, and ``reason`` says why. ``remote_code``: only with code from the
    model's repository."""

    implementation: Literal["VLLM", "TRANSFORMERS"] | None
    reason: str
    remote_code: bool = False


def choose(facts: ModelFacts, asked: Asked = "AUTO") -> Choice:
    """What ``asked`` comes to. AUTO prefers the engine's own implementation, which is the faster one; where it has none
    it goes through transformers if the engine lists it so, or if the repository brings a model class of its own
    (``auto_map``). Source: vLLM, model_executor/models/registry.py."""
    name, version = facts.architecture, recorded().version
    if name is None:
        return Choice(None, "has no architecture in its config.json")
    own = purpose(name) is not None and name not in recorded().through_transformers
    custom = _custom_class(facts)
    if asked == "TRANSFORMERS":
        return Choice("TRANSFORMERS", "as asked", remote_code=custom and purpose(name) is None)
    if own:
        return Choice("VLLM", f"vLLM {version} has {name}")
    if asked == "AUTO" and name in recorded().through_transformers:
        return Choice("TRANSFORMERS", f"vLLM {version} serves {name} through transformers")
    if asked == "AUTO" and custom:
        reason = f"vLLM {version} has no {name}; its repository brings the class"
        return Choice("TRANSFORMERS", reason, remote_code=True)
    return Choice(None, _without(name, version, asked))


def _custom_class(facts: ModelFacts) -> bool:
    found = facts.raw.get("auto_map")
    return isinstance(found, Mapping) and any(str(key).startswith("AutoModel") for key in found)


def _without(name: str, version: str, asked: Asked) -> str:
    last = last_version_with(name)
    if last is not None:
        return f"is of architecture {name}, which vLLM had until {last} and {version} no longer has"
    if asked == "VLLM" and name in recorded().through_transformers:
        return f"is of architecture {name}, which vLLM {version} serves through transformers only"
    return f"is of architecture {name}, which vLLM {version} does not know"
