"""Rules for LoRA adapters: names that nothing else has, a model that can be served with them, slots that are used."""

from __future__ import annotations

from collections.abc import Iterator

from components.typed.refusal import Path, Problem
from components.typed.rules.stack import ADAPTER_NAME_TAKEN, ADAPTER_SLOTS_UNUSED, ADAPTERS_BESIDE_KEY
from infra.stackfile.partial import Draft, Part
from infra.stackfile.schema.model import ModelConfig


def adapter_names(draft: Draft) -> tuple[str, ...]:
    """Return the names of all adapters that can be read, each a model's name to requests and groups."""
    return tuple(name for part in draft.models.values() if part.sound("adapters") for name in part.value.adapters)


def judge_adapters(part: Part[ModelConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    """Yield what keeps a model from being served with its adapters, and slots that no adapter needs."""
    model = part.value
    if part.sound("adapters", "adapter_slots") and model.adapter_slots is not None:
        count = len(model.adapters)
        if model.adapter_slots > count:
            yield ADAPTER_SLOTS_UNUSED.at(
                (*at, "adapterSlots"),
                f"is more than the adapters of the model, {count}" if count else "is for a model with adapters",
                allowed=f"1..{count}" if count else "no adapterSlots",
                value=model.adapter_slots,
            )
    if not part.sound("adapters") or not model.adapters:
        return
    if part.sound("task") and model.task != "chat":
        message = f"are served for chat, and the model's task is {model.task}"
        yield ADAPTERS_BESIDE_KEY.at((*at, "adapters"), message, allowed="no adapters", fix="take them out")
    if part.sound("long_prompts") and model.long_prompts is not None:
        message = f"are those of this model alone, and its long prompts go to {model.long_prompts}"
        yield ADAPTERS_BESIDE_KEY.at(
            (*at, "adapters"), message, allowed="adapters without longPrompts", fix="take longPrompts out"
        )
    senders = [n for n, p in draft.models.items() if p.sound("long_prompts") and p.value.long_prompts == model.name]
    if senders:
        message = f"would never be asked: this model takes the long prompts of {senders[0]}, under its name"
        yield ADAPTERS_BESIDE_KEY.at((*at, "adapters"), message, allowed="no adapters", fix="take them out")


def judge_adapter_names(draft: Draft) -> Iterator[Problem]:
    """Yield adapters whose name is that of a model, of an alias or of another adapter."""
    owners = {name.lower(): f"the name of model {name}" for name in draft.model_names}
    for name, part in draft.models.items():
        if part.sound("aliases"):
            owners |= {alias: f"an alias of model {name}" for alias in part.value.aliases if alias not in owners}
    for name, part in draft.models.items():
        for adapter in part.value.adapters if part.sound("adapters") else ():
            owner = owners.setdefault(adapter.lower(), f"an adapter of model {name}")
            if owner != f"an adapter of model {name}":
                yield ADAPTER_NAME_TAKEN.at(
                    ("models", name, "adapters", adapter), f"is {owner} already", fix="give the adapter another name"
                )
