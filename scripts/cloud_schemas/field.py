"""What an API takes at one place of a request: the form in which both readers (``arm``, ``discovery``) give it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "integer", "number", "boolean", "list", "map", "object", "any"]


@dataclass(frozen=True)
class Field:
    """One property of a request's body, or one part of its address (``at`` in braces). ``at`` is its path from the
    object that it stands in; ``item`` is what a list's items or a map's values are."""

    at: str
    kind: Kind = "any"
    words: frozenset[str] = frozenset()
    pattern: str = ""
    lengths: tuple[int | None, int | None] = (None, None)
    span: tuple[float | None, float | None] = (None, None)
    required: bool = False
    read_only: bool = False
    deprecated: bool = False
    item: Field | None = None
    members: Callable[[], Mapping[str, Field]] | None = None


Fields = Mapping[str, Field]
