"""The kinds of field a stack file has, each with its own refusal. Shapes are built from these."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo
from pydantic.alias_generators import to_camel

from components.typed.refusal import Rule
from components.typed.rules.file import COUNT_INVALID, ENVIRONMENT_NAME_INVALID, LABEL_INVALID
from components.typed.rules.pools import NODES_COUNT
from components.typed.rules.stack import (
    GPU_COUNT,
    MEMORY_SHARE_INVALID,
    MIN_COUNT,
    NAME_INVALID,
    SPLIT_LEAVES_GPUS_OVER,
)

NAME_ALLOWED = "at most 63 of a-z, 0-9 and -, beginning and ending with a letter or digit (DNS-1123)"
# A validation's context: codes of rules, each with a text that is accepted because of a waiver.
Accepted = frozenset[tuple[str, str]]
MOST_AT_ONCE = 10_000
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class StackModel(BaseModel):
    """A part of the stack file: frozen, camelCase in YAML, snake_case in Python, no unknown keys.

    Rules between fields are not pydantic validators but in ``infra/stackfile/rules`` and the places' ``judge.py``: a
    validator over a whole model is skipped as soon as one field is wrong, and a user wants to see all errors at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, hide_input_in_errors=True)


def integer(
    rule: Rule, least: int, most: int | None = None, *, fix: str, too_small: str | None = None
) -> BeforeValidator:
    """Return a validator for a whole number from ``least`` to ``most``; true, 1.0 and "1" are not whole numbers."""
    allowed = f"a whole number from {least} to {most}" if most else f"a whole number from {least}"

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise rule.refusal("is not a whole number", allowed=allowed, fix=fix)
        if value < least:
            raise rule.refusal(too_small or f"is less than {least}", allowed=allowed, fix=fix)
        if most is not None and value > most:
            raise rule.refusal(f"is more than {most}", allowed=allowed, fix=fix)
        return value

    return BeforeValidator(check)


def text(rule: Rule, pattern: str, says: str, *, allowed: str, fix: str, waived: str = r"(?!)") -> BeforeValidator:
    """Return a validator for text that matches all of ``pattern``, or ``waived`` if the context accepts the text."""

    def check(value: Any, info: ValidationInfo) -> str:
        if not isinstance(value, str):
            quoted = f"put it in quotes; {fix}" if isinstance(value, (int, float)) else fix
            raise rule.refusal("is not text", allowed=allowed, fix=quoted)
        accepted = (rule.code, value) in (info.context or ()) and re.fullmatch(waived, value)
        if not accepted and not re.fullmatch(pattern, value):
            raise rule.refusal(says, allowed=allowed, fix=fix)
        return value

    return BeforeValidator(check)


def pattern(rule: Rule, kind: str, regex: str) -> BeforeValidator:
    """Return a validator for text that matches all of ``regex``; ``kind`` names the refusal's words in ``rule``."""
    words = rule.values[kind]
    return text(rule, regex, words.says, allowed=words.allowed, fix=words.fix)


def is_name(value: str) -> bool:
    """Return True if Kubernetes takes this as a name."""
    return _NAME.fullmatch(value) is not None


def suggest_name(value: str) -> str | None:
    """Return the nearest name that Kubernetes takes, or None if nothing is left of it."""
    near = re.sub(r"[^a-z0-9-]+", "-", value.lower())[:63].strip("-")
    return near if is_name(near) else None


def _check_name(value: Any) -> str:
    if not isinstance(value, str):
        raise NAME_INVALID.refusal("is not a name", allowed=NAME_ALLOWED, fix="put it in quotes")
    if not is_name(value):
        near = suggest_name(value)
        says = f"has {len(value)} characters" if len(value) > 63 else "is not a name Kubernetes takes"
        raise NAME_INVALID.refusal(says, allowed=NAME_ALLOWED, fix=f"call it {near}" if near else "choose another")
    return value


def _check_share(value: Any) -> float:
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if number is None or not 0 < number <= 1:
        raise MEMORY_SHARE_INVALID.refusal(
            "is not a share of the GPU's memory",
            allowed="a number above 0 and at most 1",
            fix="write 0.9 for nine tenths, or leave it out",
        )
    return float(number)


Name = Annotated[str, BeforeValidator(_check_name)]
MemoryShare = Annotated[float, BeforeValidator(_check_share)]
GpuCount = Annotated[int, integer(GPU_COUNT, 1, 64, fix="ask for 1, 2, 4 or 8 GPUs")]
NodeCount = Annotated[int, integer(NODES_COUNT, 1, 64, fix="leave nodes out for one machine a replica")]
SplitCount = Annotated[int, integer(SPLIT_LEAVES_GPUS_OVER, 1, 1024, fix="leave it out: gpus and nodes give it")]
FewestCount = Annotated[
    int, integer(MIN_COUNT, 0, 10_000, too_small="is less than none", fix="use 0 to let it go to zero")
]
MostCount = Annotated[int, integer(COUNT_INVALID, 0, MOST_AT_ONCE, fix="give the most that may run at once")]
Limit = Annotated[int, integer(COUNT_INVALID, 1, 10_000_000, fix="give a whole number above 0")]
LabelKey = Annotated[
    str,
    pattern(
        LABEL_INVALID,
        "LabelKey",
        r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?",
    ),
]
LabelValue = Annotated[str, pattern(LABEL_INVALID, "LabelValue", r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")]
EnvName = Annotated[str, pattern(ENVIRONMENT_NAME_INVALID, "EnvName", r"[A-Za-z_][A-Za-z0-9_]*")]
