"""Rules for ``longPrompts``: models of one name, of which the gateway takes the first that a request fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from components.typed.refusal import Path, Problem
from components.typed.rules.pools import (
    LONG_PROMPTS_CIRCLE,
    LONG_PROMPTS_DIFFER,
    LONG_PROMPTS_NAMED,
    LONG_PROMPTS_NOT_LONGER,
    LONG_PROMPTS_SHARED,
    LONG_PROMPTS_UNKNOWN,
)
from infra.stackfile.long_prompts import chain, public_names
from infra.stackfile.partial import Draft, Part
from infra.stackfile.schema.model import ModelConfig


def judge_long_prompts(draft: Draft) -> Iterator[Problem]:
    """Yield all problems of models that send their long prompts to others."""
    targets = {name: part.value.long_prompts for name, part in draft.models.items() if part.sound("long_prompts")}
    longer = {name: other for name, other in targets.items() if other is not None}
    senders: dict[str, str] = {}
    for name, other in longer.items():
        path: Path = ("models", name, "longPrompts")
        first = senders.setdefault(other, name)
        if other not in draft.model_names:
            names = ", ".join(each for each in draft.model_names if each != name) or "none: there is no other model"
            fix = "use one of them, or add the model"
            yield LONG_PROMPTS_UNKNOWN.at(path, "is not a model of this stack", allowed=names, fix=fix, value=other)
        elif name in _behind(longer, name):
            yield LONG_PROMPTS_CIRCLE.at(path, "leads back to this model", value=other)
        elif first != name:
            message = f"takes the long prompts of {first} already, and answers under its name"
            yield LONG_PROMPTS_SHARED.at(path, message, value=other)
        elif other in draft.models:
            yield from _pair(draft.models[name], draft.models[other], path)
    yield from _named(draft, public_names(targets))


def _behind(longer: Mapping[str, str], name: str) -> list[str]:
    """Return where a model's long prompts may go; itself among them in a circle."""
    return [longer[each] for each in chain(longer, name) if each in longer]


def _pair(short: Part[ModelConfig], long: Part[ModelConfig], path: Path) -> Iterator[Problem]:
    one, other = short.value, long.value
    if short.sound("max_tokens") and long.sound("max_tokens") and other.max_tokens <= one.max_tokens:
        message = f"has a context of {other.max_tokens} tokens, and this model {one.max_tokens}"
        yield LONG_PROMPTS_NOT_LONGER.at(
            path, message, allowed=f"a model with maxTokens above {one.max_tokens}", value=other.name
        )
    if short.sound("task") and one.task == "transcribe":
        message = "has no effect on transcribe: the length of a recording is not in its bytes"
        yield LONG_PROMPTS_DIFFER.at(path, message, fix="take longPrompts out", value=other.name)
    for key in ("task", "id", "revision"):
        mine, theirs = getattr(one, key), getattr(other, key)
        if short.sound(key) and long.sound(key) and mine != theirs:
            message = f"has {key} {theirs}, and this model {mine}: both answer under one name"
            severity: Any = "error" if key == "task" else "warning"
            fix = f"write the same {key} in both"
            yield LONG_PROMPTS_DIFFER.at(path, message, allowed=mine, fix=fix, value=other.name, severity=severity)


def _named(draft: Draft, asked_as: Mapping[str, str]) -> Iterator[Problem]:
    """Check that nothing names a model that only takes another's long prompts."""
    for name, public in asked_as.items():
        if name in draft.models and draft.models[name].sound("aliases"):
            for index, alias in enumerate(draft.models[name].value.aliases):
                message = f"would never be asked: this model takes the long prompts of {public}, under its names"
                path: Path = ("models", name, "aliases", index)
                yield LONG_PROMPTS_NAMED.at(
                    path, message, allowed="no alias", fix=f"write it at model {public}", value=alias
                )
    for group, part in draft.groups.items():
        for key in ("models", "wake"):
            for index, model in enumerate((getattr(part.value, key) or ()) if part.sound(key) else ()):
                if model in asked_as:
                    public = asked_as[model]
                    message = f"is asked for as {public} alone, whose long prompts it takes"
                    yield LONG_PROMPTS_NAMED.at(
                        ("gateway", "groups", group, key, index),
                        message,
                        allowed=public,
                        fix=f"write {public}",
                        value=model,
                    )
