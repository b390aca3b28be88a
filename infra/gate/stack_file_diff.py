"""Difference of two stack files, value by value: all that a change of data asks for, under the file's own keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.typed.refusal import Path
from infra.redaction import REDACTED
from infra.stackfile.cleartext_secrets import is_encrypted
from infra.stackfile.findings.formatting import show, show_path
from infra.stackfile.reading import Reading

# who may do what comes first
_FIRST = ("gateway", "guard", "platform", "pools", "models")
ABSENT = "not there"
_ENCRYPTED = "encrypted"


@dataclass(frozen=True)
class ChangedValue:
    """A value of the stack file before and after, in words; ``ABSENT`` where a side lacks it."""

    path: str
    before: str
    after: str


def diff_values(before: Reading | None, after: Reading | None) -> tuple[ChangedValue, ...]:
    """Return the values that differ, keys and groups first. None: there is no such file."""
    olds, news = (dict(_leaves(_values(side), ())) if side is not None else {} for side in (before, after))
    changed = [path for path in dict.fromkeys([*olds, *news]) if olds.get(path, _Nothing) != news.get(path, _Nothing)]
    changed.sort(key=lambda path: (_FIRST.index(path[0]) if path[0] in _FIRST else len(_FIRST), list(map(str, path))))
    return tuple(_changed(path, olds, news, before, after) for path in changed)


def _values(side: Reading) -> Mapping[str, Any]:
    return {**side.values, **({"outside": side.outside} if side.outside else {})}


class _Nothing:
    """Marks a value that a side lacks; no value of a stack file is equal to it."""


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping) and value and not is_encrypted(value):
        for key, item in value.items():
            yield from _leaves(item, (*path, str(key)))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    elif path:
        yield path, value


def _changed(
    path: Path, olds: Mapping[Path, Any], news: Mapping[Path, Any], before: Reading | None, after: Reading | None
) -> ChangedValue:
    old, new = _shown(path, olds, before), _shown(path, news, after)
    return ChangedValue(show_path(path), old, f"another {new} value" if old == new == _ENCRYPTED else new)


def _shown(path: Path, values: Mapping[Path, Any], side: Reading | None) -> str:
    if path not in values:
        return ABSENT
    value = values[path]
    if side is not None and side.secrets.hold(path):
        return REDACTED
    if is_encrypted(value):
        return _ENCRYPTED
    if isinstance(value, list):
        return f"[{', '.join(map(show, value))}]"
    return "{}" if value == {} else show(value)
