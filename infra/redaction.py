"""What looks like a secret, and every text without it: the one place that decides what no output shows."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
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


# A word that may say something else once it is decoded: it has an escape of JSON, YAML, a shell, HTML or an address, or
# enough letters of base64 or hexadecimal digits for the shortest token.
_ESCAPE = re.compile(
    r"(?:\\x|%)([0-9A-Fa-f]{2})|\\u([0-9A-Fa-f]{4})|\\u\{([0-9A-Fa-f]{1,6})\}|\\U([0-9A-Fa-f]{8})|&#x([0-9A-Fa-f]{1,6});"
    r"|&#(?P<decimal>[0-9]{1,7});|\\(?P<octal>[0-7]{3})"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}")
_HEXADECIMAL = re.compile(r"(?:[0-9A-Fa-f]{2}){20,}")
_WORD = re.compile(r"[^\s\"'`<>()\[\],]{15,}")
_DEEPEST = 2


@dataclass(frozen=True)
class Look:
    """Something that looks like a secret: its kind, the secret, how it is ``written``, and where that begins."""

    kind: str
    secret: str = field(repr=False)
    written: str = field(repr=False)
    start: int


def looks(text: str) -> Iterator[Look]:
    """Yield everything in ``text`` that looks like a secret, then every word that does once it is decoded."""
    for match in _LOOKS.finditer(text):
        yield Look(_kind(match), match[0], match[0], match.start())
    for word in _WORD.finditer(text):
        if (hidden := _hidden(word)) is not None:
            yield Look(_kind(hidden), hidden[0], word[0], word.start())


def first_look(text: str) -> str | None:
    """Return the first text within ``text`` that looks like a secret; all of it where line breaks cut one up."""
    look = next(looks(text), None)
    return look.written if look is not None else text if is_broken(text) else None


def is_broken(text: str) -> bool:
    """Return True if ``text`` is a token but for the white space in it, as YAML folds a long text."""
    whole = "".join(text.split())
    return whole != text and any(_kind(match) in _TOKENS for match in _LOOKS.finditer(whole))


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return ``text`` without the known ``secrets``, and without anything else that looks like one."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    text = _GLUED.sub(REDACTED, _LOOKS.sub(REDACTED, text))
    return _WORD.sub(lambda word: REDACTED if _hidden(word) else word[0], text)


def _kind(match: re.Match[str]) -> str:
    return _KINDS[int(str(match.lastgroup)[1:])]


def _hidden(word: re.Match[str]) -> re.Match[str] | None:
    """Return the first secret that a word is once it is decoded."""
    return next((match for plain in _decoded(word[0], _DEEPEST) for match in _LOOKS.finditer(plain)), None)


def _decoded(word: str, depth: int) -> Iterator[str]:
    """Yield what a word says once its escapes, and each run of base64 or hexadecimal digits, are decoded; then the same
    of that."""
    plain = _ESCAPE.sub(_character, word)
    inner = [plain] if plain != word else []
    for run in _BASE64.findall(plain):
        # a path may stand before it
        shifted = (run[at:].replace("-", "+").replace("_", "/") for at in range(4))
        inner += (b64decode(each + "A" * (-len(each) % 4)).decode("latin-1").replace("\0", "") for each in shifted)
    inner += (bytes.fromhex(run).decode("latin-1").replace("\0", "") for run in _HEXADECIMAL.findall(plain))
    for each in inner:
        yield each
        if depth > 1:
            yield from (more for again in _WORD.findall(each) for more in _decoded(again, depth - 1))


def _character(escape: re.Match[str]) -> str:
    digits = str(escape[escape.lastindex or 0])
    number = int(digits, {"decimal": 10, "octal": 8}.get(escape.lastgroup or "", 16))
    return chr(number) if 0 < number < 0x110000 else ""


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
