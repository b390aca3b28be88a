"""Property paths as `ignoreChanges` writes them: ``spec.replicas``, ``metadata.annotations["a.b/c"]``, ``xs[*].y``."""

from __future__ import annotations

import re
from typing import Any

from infra.local.plugins.properties import Path

_PART = re.compile(r'\.?([^.\[\]"]+)|\[(\d+|\*)\]|\["((?:[^"\\]|\\.)*)"\]')
_PLAIN_KEY = re.compile(r"[A-Za-z_$][\w$-]*\Z")
MISSING: Any = object()


def parse(text: str) -> Path:
    """The parts of a path; raises `ValueError` with the text when it is not one."""
    parts: list[str | int] = []
    at = 0
    while at < len(text):
        match = _PART.match(text, at)
        if match is None:
            raise ValueError(f'{text!r} is not a property path (like spec.replicas or metadata.labels["a.b/c"])')
        key, index, quoted = match.groups()
        if index is not None:
            parts.append(int(index) if index != "*" else "*")
        else:
            parts.append(key if key is not None else quoted.replace('\\"', '"'))
        at = match.end()
    return tuple(parts)


def show(path: Path) -> str:
    """A path as the engine spells it in a detailed diff."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.match(part):
            text += f".{part}" if text else part
        else:
            escaped = part.replace('"', '\\"')
            text += f'["{escaped}"]'
    return text


def contains(pattern: Path, path: Path) -> bool:
    """Whether ``path`` is ``pattern`` or lies below it; ``*`` stands for any one part."""
    return len(pattern) <= len(path) and all(wanted in ("*", part) for wanted, part in zip(pattern, path, strict=False))


def get(value: Any, path: Path) -> Any:
    """What is at ``path``, or `MISSING`."""
    for part in path:
        in_list = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if not in_list and not (isinstance(value, dict) and part in value):
            return MISSING
        value = value[part]
    return value


def put(value: Any, path: Path, new: Any) -> bool:
    """Set what is at ``path`` in place, making missing maps on the way; False when a list item is missing."""
    for at, part in enumerate(path):
        last = at == len(path) - 1
        if isinstance(value, list):
            if not isinstance(part, int) or part >= len(value):
                return False
        elif not isinstance(value, dict):
            return False
        elif not last and part not in value:
            value[part] = {}
        if last:
            value[part] = new
            return True
        value = value[part]
    return False


def remove(value: Any, path: Path) -> None:
    """Take ``path`` out of ``value`` in place; nothing happens when it is not there."""
    holder = get(value, path[:-1])
    if isinstance(holder, dict):
        holder.pop(path[-1], None)
