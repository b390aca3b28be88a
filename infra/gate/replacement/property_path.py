"""Property paths as `ignoreChanges` writes them: ``spec.replicas``, ``metadata.annotations["a.b/c"]``, ``xs[*].y``."""

from __future__ import annotations

import re

Path = tuple[str | int, ...]
_PART = re.compile(r'\.?([^.\[\]"]+)|\[(\d+|\*)\]|\["((?:[^"\\]|\\.)*)"\]')
_PLAIN_KEY = re.compile(r"[A-Za-z_$][\w$-]*\Z")


def parse(text: str) -> Path:
    """Parse a path into its parts. Raises `ValueError` with the text if it is not one."""
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
    """Return a path as the engine spells it in a detailed diff."""
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
    """Return True if ``path`` is ``pattern`` or lies below it; ``*`` stands for any one part."""
    return len(pattern) <= len(path) and all(
        expected in ("*", part) for expected, part in zip(pattern, path, strict=False)
    )
