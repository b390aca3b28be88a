"""Rules for what a model is served as: its parsers of tool calls and thoughts, its template, its quantization."""

from __future__ import annotations

from collections.abc import Iterator

from components.catalog.engine_allowed import engine_allowed
from components.model_service.managed_flags import flag_beside_key
from components.typed.refusal import Path, Problem, Severity
from components.typed.rules.stack import CHAT_KEY_WITHOUT_CHAT, FLAG_MANAGED, PARSER_UNKNOWN
from infra.stackfile.findings.pydantic_errors import nearest
from infra.stackfile.partial import Draft, Part
from infra.stackfile.rules.engine_flags import own_image
from infra.stackfile.schema.model import ModelConfig

_KEYS = {"tool_calling": "toolCalling", "reasoning": "reasoning", "chat_template": "chatTemplate"}


def judge_kind(part: Part[ModelConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    """Yield keys of chat on a model for something else, parsers that the engine lacks or nobody knows, and flags by
    hand beside the key for the same."""
    model = part.value
    yield from _flags_beside_keys(part, at)
    if part.sound("task") and model.task != "chat":
        for field, key in _KEYS.items():
            value = getattr(model, field)
            if part.sound(field) and value not in (None, False):
                yield CHAT_KEY_WITHOUT_CHAT.at(
                    (*at, key),
                    f"is for chat, and the model's task is {model.task}",
                    allowed=f"{key} with task: chat",
                    fix="take it out, or set task: chat",
                    value=value,
                )
        return
    severity: Severity = "warning" if own_image(draft) else "error"
    for index, field in enumerate(("tool_calling", "reasoning")):
        value, names = getattr(model, field), sorted(engine_allowed().parser_names(_KEYS[field]))
        path = (*at, _KEYS[field])
        if not part.sound(field):
            continue
        if isinstance(value, str) and value not in names:
            near = nearest(value, names)
            yield PARSER_UNKNOWN.at(
                path,
                f"is no parser of vLLM {engine_allowed().engine}",
                allowed=f"true, false, {', '.join(names)}",
                fix=f"did you mean {near}?" if near else "choose one of them, or take it out",
                value=value,
                severity=severity,
            )
        elif value is True and part.sound("preset", "id") and model.known_parsers[index] is None:
            yield PARSER_UNKNOWN.at(
                path,
                f"is for a model whose parser the catalogue knows, and it knows none for {model.id}",
                allowed=f"false, {', '.join(names)}",
                fix="name the parser that the model's card gives, or take it out",
                value=value,
            )


def _flags_beside_keys(part: Part[ModelConfig], at: Path) -> Iterator[Problem]:
    tools, thoughts = part.value.parsers if part.sound("preset", "id", "tool_calling", "reasoning") else (None, None)
    model = part.value
    values = {
        "toolCalling": tools,
        "reasoning": thoughts,
        "chatTemplate": model.chat_template if part.sound("chat_template") else None,
        "quantization": model.quantization if part.sound("quantization") else None,
        "adapters": (model.adapters or None) if part.sound("adapters") else None,
        "hotAdapters": model.hot_adapters if part.sound("hot_adapters") else None,
    }
    for index, argument in enumerate(model.extra_args if part.sound("extra_args") else ()):
        if (overridden := flag_beside_key(argument, values)) is not None:
            flag, key = overridden
            yield FLAG_MANAGED.at(
                (*at, "extraArgs", index),
                f"overrides {flag}, which {key} sets",
                allowed="flags the product does not set",
                fix=f"take it out, or take {key} out",
                value=argument,
            )
