"""Values in nested mappings and lists, each with its path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from components.typed.refusal import Path


def walk(value: Any, at: Path = (), skip: Callable[[Any], bool] = lambda value: False) -> Iterator[tuple[Path, Any]]:
    """Yield ``value`` and all that is in it, outer values first; nothing of what ``skip`` is true for."""
    if skip(value):
        return
    yield at, value
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from walk(item, (*at, str(key)), skip)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk(item, (*at, index), skip)
