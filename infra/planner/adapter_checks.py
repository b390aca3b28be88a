"""Findings about a model's LoRA adapters, by what their own files say."""

from __future__ import annotations

from collections.abc import Iterator

from components.typed.refusal import Path, Problem
from components.typed.rules.planner import (
    ADAPTER_FACTS_UNKNOWN,
    ADAPTER_NOT_SERVED,
    ADAPTER_OF_ANOTHER_BASE,
    ADAPTER_RANK_WRONG,
)
from components.typed.rules.stack import PICKLE_ONLY
from infra.planner.facts.adapters import AdapterFacts
from infra.planner.facts.architectures import choose, recorded, takes_adapters
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.sizing.compatibility import Demands
from infra.stackfile.findings.owner_needed import AGREE
from infra.stackfile.schema.model import AdapterConfig, ModelConfig


def judge_adapters(
    model: ModelConfig,
    facts: ModelFacts | None,
    by_name: dict[str, AdapterFacts | None],
    demands: Demands,
    at: Path,
) -> Iterator[Problem]:
    """Yield what is wrong with the adapters of a model, or not known of them. ``by_name``: their facts."""
    if facts is not None and model.most_adapters and not _takes(facts, demands):
        key = "adapters" if model.adapters else "hotAdapters"
        message = f"are for a model that takes none: vLLM {recorded().version} has no LoRA for {facts.architecture}"
        fix = "set engine: transformers, or take the adapters out"
        yield ADAPTER_NOT_SERVED.at((*at, key), message, allowed="a model that takes adapters", fix=fix)
    for name, adapter in model.adapters.items():
        yield from _judge(model, adapter, by_name.get(name), demands, (*at, "adapters", name))


def _takes(facts: ModelFacts, demands: Demands) -> bool:
    implementation = choose(facts, demands.engine).implementation
    return implementation != "vllm" or takes_adapters(facts.architecture)


def _judge(
    model: ModelConfig, adapter: AdapterConfig, known: AdapterFacts | None, demands: Demands, at: Path
) -> Iterator[Problem]:
    if known is None or (known.revision is not None and known.revision != adapter.revision):
        what = "is not known here" if known is None else f"is known here of another commit alone, {known.revision}"
        message = f"{what}: whether it is of this model and of this rank nobody can judge; {AGREE}"
        fix = f"record it: ebbtide catalog add {adapter.id} --revision {adapter.revision} (--model-dir FOLDER offline)"
        yield ADAPTER_FACTS_UNKNOWN.at((*at, "id"), message, fix=fix, value=adapter.id)
        return
    if known.base is None or known.base.lower() != model.id.lower():
        base = f"was trained for {known.base}" if known.base is not None else "does not say what it was trained for"
        message = f"{base}, and this model is {model.id}: the engine would not notice, and answer nonsense"
        yield ADAPTER_OF_ANOTHER_BASE.at((*at, "id"), message, allowed=f"an adapter of {model.id}", value=adapter.id)
    if known.rank != adapter.rank:
        message = f"is not its rank, which is {known.rank}"
        yield ADAPTER_RANK_WRONG.at(
            (*at, "rank"), message, allowed=str(known.rank), fix=f"set rank: {known.rank}", value=adapter.rank
        )
    if known.refused:
        message = f"has what vLLM {recorded().version} refuses: {', '.join(known.refused)}"
        yield ADAPTER_NOT_SERVED.at((*at, "id"), message, allowed="plain LoRA as PEFT saves it", value=adapter.id)
    if "bin" in known.weight_files and "safetensors" not in known.weight_files:
        if demands.streamed:
            message = "comes as a pickle only (.bin), which is not copied into this place's bucket"
            yield PICKLE_ONLY.at((*at, "id"), message, allowed="safetensors", value=adapter.id, severity="error")
        elif not demands.pickle_accepted:
            message = "comes as a pickle only (.bin), which can run code in the engine, on the node that loads it"
            yield PICKLE_ONLY.at((*at, "id"), message, allowed="safetensors", value=adapter.id)
