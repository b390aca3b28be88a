"""Rules for LoRA adapters: names that nothing else has, a model that can be served with them, slots that are used, and
who may load which."""

from __future__ import annotations

from collections.abc import Iterator

from components.typed.fields import is_name
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
    if part.sound("adapters", "hot_adapters", "adapter_slots") and model.adapter_slots is not None:
        count = model.most_adapters
        if model.adapter_slots > count:
            yield ADAPTER_SLOTS_UNUSED.at(
                (*at, "adapterSlots"),
                f"is more than the adapters that the model may have, {count}"
                if count
                else "is for a model with adapters",
                allowed=f"1..{count}" if count else "no adapterSlots",
                value=model.adapter_slots,
            )
    if part.sound("adapters") and model.adapters:
        yield from _beside(part, (*at, "adapters"), draft)
    if part.sound("hot_adapters") and model.hot_adapters is not None:
        yield from _beside(part, (*at, "hotAdapters"), draft)
        if part.sound("nodes") and model.nodes > 1:
            message = f"are read by one machine, and a replica of this model has {model.nodes}"
            yield ADAPTERS_BESIDE_KEY.at(
                (*at, "hotAdapters"), message, allowed="adapters that are there from the start", fix="use adapters"
            )


def _beside(part: Part[ModelConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    """Yield what adapters, from the start or loaded by a call, are not served with."""
    model = part.value
    if part.sound("task") and model.task != "chat":
        message = f"are served for chat, and the model's task is {model.task}"
        yield ADAPTERS_BESIDE_KEY.at(at, message, allowed="no adapters", fix="take them out")
    if part.sound("long_prompts") and model.long_prompts is not None:
        message = f"are those of this model alone, and its long prompts go to {model.long_prompts}"
        yield ADAPTERS_BESIDE_KEY.at(at, message, allowed="adapters without longPrompts", fix="take longPrompts out")
    senders = [n for n, p in draft.models.items() if p.sound("long_prompts") and p.value.long_prompts == model.name]
    if senders:
        message = f"would never be asked: this model takes the long prompts of {senders[0]}, under its name"
        yield ADAPTERS_BESIDE_KEY.at(at, message, allowed="no adapters", fix="take them out")


def models_that_load(draft: Draft) -> tuple[str, ...]:
    """Return the models into which a call may load adapters, as far as that can be read."""
    parts = draft.models.items()
    return tuple(name for name, part in parts if not part.sound("hot_adapters") or part.value.hot_adapters is not None)


def is_loaded_by_call(draft: Draft, name: str) -> bool:
    """Return True for the name of an adapter that a call may load, and for ``MODEL/*``, which stands for all of them.
    Whether one of that name is there, nobody knows here."""
    base, slash, adapter = name.partition("/")
    return bool(slash) and base in models_that_load(draft) and (adapter == "*" or is_name(adapter))


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
