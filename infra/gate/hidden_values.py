"""Secrets of two graphs, compared and not kept: a keyed hash takes the place of each as soon as a graph is read."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any

from infra.gate.record_process import IN_CLEAR
from infra.policies.inputs import HIDDEN

COMPARED = "compared"
"""Key of an entry's inputs with hashes where they hide something; only entries that do have it."""
WHOLE = ""
"""Place of a text as a whole, beside the values in it."""
# of this process alone: no program that is judged can know it, and no two runs have the same
_KEY = secrets.token_bytes(32)
# more than an entry of a graph has; only a text can have more inside, and its own hash covers them
_LEVELS = 64


def without_secrets(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry as the recorder sends it with keyed hashes of its secrets in place of the secrets."""
    cleaned = {key: value for key, value in entry.items() if key not in (IN_CLEAR, COMPARED)}
    if IN_CLEAR in entry:
        cleaned[COMPARED] = _hashed(entry.get("inputs"), entry[IN_CLEAR])
    return cleaned


def compared(entry: Mapping[str, Any]) -> Any:
    """Return an entry's inputs as they are compared."""
    return entry.get(COMPARED) or entry.get("inputs") or {}


def _hashed(shown: Any, in_clear: Any) -> Any:
    if shown == HIDDEN:
        return _digests(in_clear)
    if isinstance(shown, dict) and isinstance(in_clear, dict):
        return {key: _hashed(value, in_clear.get(key)) for key, value in shown.items()}
    if isinstance(shown, list) and isinstance(in_clear, list) and len(shown) == len(in_clear):
        return [_hashed(*pair) for pair in zip(shown, in_clear, strict=True)]
    return shown


def _digests(value: Any, levels: int = _LEVELS) -> Any:
    """Return the value with a hash of everything in it but names. What is in a text of JSON is hashed too, beside the
    text as a whole, so that a change of it can be told by name."""
    if levels == 0:
        return ""
    if isinstance(value, dict):
        return {key: _digests(item, levels - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_digests(item, levels - 1) for item in value]
    digest = hmac.new(_KEY, json.dumps(value).encode(), hashlib.sha256).hexdigest()
    inside = _json_in(value)
    return digest if inside is None else {**_digests(inside, levels - 1), WHOLE: digest}


def _json_in(value: Any) -> dict[str, Any] | None:
    try:
        inside = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None
    return inside if isinstance(inside, dict) else None
