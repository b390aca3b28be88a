"""What may be shown: no secret, and no text that a terminal or a comment would obey."""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

from infra.config.cleartext import REDACTED, Secrets
from infra.config.findings import printable

LONGEST = 2000
_SHORTEST = 8
_NAMED = re.compile(r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|PRIVATE|KEY$|_PAT$|AUTH", re.IGNORECASE)
_GLUED = re.compile(r"(hf_|gh[opsur]_|github_pat_|glpat-)[\w-]{20,}|AKIA[0-9A-Z]{16}")
_HARMLESS = frozenset({"true", "false", "disabled", "enabled"})


def worth_hiding(environ: Mapping[str, str]) -> set[str]:
    """Values of this process's environment that nobody else should read, in the spellings a text could carry them."""
    found: set[str] = set()
    for name, value in environ.items():
        if _NAMED.search(name) and len(value) >= _SHORTEST and value.lower() not in _HARMLESS and value[:1] != "/":
            raw = value.encode(errors="surrogateescape")
            coded = base64.b64encode(raw).decode().rstrip("=")
            found |= {value, value[::-1], coded, raw.hex(), urllib.parse.quote(value, safe="")}
    return found


def without(text: str, hidden: Iterable[str]) -> str:
    """``text`` without any of ``hidden``, and without anything else that looks like a secret."""
    for secret in sorted({text for text in hidden if len(text) >= _SHORTEST}, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    # a token glued to the word before it has no edge that the loader's pattern could find
    return _GLUED.sub(REDACTED, Secrets().redact(text))


def clean(value: Any, hidden: Iterable[str]) -> Any:
    """A document with every text in it made fit to be shown; keys are ours."""
    known = list(hidden)
    if isinstance(value, str):
        # hidden before it is cut, or the beginning of a long secret would get through
        whole = without(value, known)
        cut = whole if len(whole) <= LONGEST else whole[:LONGEST] + "…"
        return "\n".join(printable(line) for line in cut.splitlines())
    if isinstance(value, Mapping):
        return {key: clean(item, known) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item, known) for item in value]
    return value
