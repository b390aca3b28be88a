"""What looks like a secret, and every text without it: the one place that decides what no output shows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from components.typed.tables import read_table

REDACTED = "<redacted>"
# A shorter secret would also be cut out of ordinary words; the value at its own path is redacted anyway.
SHORTEST = 8

_PATTERNS = read_table(Path(__file__).with_suffix(".yaml"))
_TOKENS: Mapping[str, str] = _PATTERNS["tokens"]
_ANYWHERE: Mapping[str, str] = _PATTERNS["anywhere"]
_KINDS = (*_TOKENS, *_ANYWHERE)
_LOOKS = re.compile(
    "(?<![A-Za-z0-9])(?:"
    + "|".join(f"(?P<k{index}>{pattern})" for index, pattern in enumerate(_TOKENS.values()))
    + ")|"
    + "|".join(f"(?P<k{index}>{pattern})" for index, pattern in enumerate(_ANYWHERE.values(), len(_TOKENS)))
)
_GLUED = re.compile("|".join(_TOKENS[kind] for kind in _PATTERNS["glued"]))
SECRET_KEY: str = _PATTERNS["names"]["key"]
"""What a key that holds a secret ends with, as a pattern."""
SECRET_VARIABLE = re.compile(_PATTERNS["names"]["variable"], re.IGNORECASE)


def looks(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield everything in ``text`` that looks like a secret, with its kind."""
    for match in _LOOKS.finditer(text):
        yield _KINDS[int(str(match.lastgroup)[1:])], match


def first_look(text: str) -> str | None:
    """Return the first text within ``text`` that looks like a secret."""
    match = _LOOKS.search(text)
    return match[0] if match else None


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return ``text`` without the known ``secrets``, and without anything else that looks like one."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return _GLUED.sub(REDACTED, _LOOKS.sub(REDACTED, text))


def redacted(value: Any, secrets: Iterable[str] = ()) -> Any:
    """Return plain data with every text in it redacted; in keys, which are mostly ours, only what looks like one."""
    known = tuple(secrets)
    # a plan of thousands of models has each of its keys thousands of times
    keys: dict[Any, Any] = {}
    texts: dict[str, str] = {}

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            if value not in texts:
                texts[value] = redact(value, known)
            return texts[value]
        if isinstance(value, Mapping):
            for key in value:
                if key not in keys:
                    keys[key] = redact(key) if isinstance(key, str) else key
            return {keys[key]: clean(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [clean(item) for item in value]
        return value

    return clean(value)
