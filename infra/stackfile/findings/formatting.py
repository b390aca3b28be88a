"""How findings show values, texts and paths."""

from __future__ import annotations

import re
from typing import Any

from components.typed.refusal import Path

_LONGEST_SHOWN = 80
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_<>-]+(:[A-Za-z0-9_-]+)?")


def show(value: Any) -> str:
    """Return a value as an error prints it: never the inside of a mapping or list, never a control character."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a very large number"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        # repr escapes what a terminal would obey and what UTF-8 cannot carry
        return repr(value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "…")
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return f"a {type(value).__name__}"


def printable(text: str) -> str:
    """Return ``text`` with everything that a terminal would obey, or UTF-8 cannot carry, escaped."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def show_path(path: Path) -> str:
    """Format like ``models.llama-8b.extraArgs[0]``; bracket and quote keys with other characters, as Pulumi does."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{show(part)}]"
    return text
