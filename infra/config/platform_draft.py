"""A place's settings of which some may be wrong: the rest of them, so that rules between fields still run.

What cannot be read is left out, and its default stands in for it. Rules must therefore not judge a section of which
something was left out: what they miss there is in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from components.typed.refusal import Path
from infra.config.platform import PlatformConfig

_PLATFORM: TypeAdapter[PlatformConfig] = TypeAdapter(PlatformConfig)
_UNKNOWN_KEY, _MISSING = "extra_forbidden", "missing"


@dataclass(frozen=True)
class PlatformDraft:
    """``unread`` are the keys of the platform under which a known setting was left out; keys that do not exist do not
    count, because nobody misses them."""

    value: PlatformConfig
    unread: frozenset[str] = frozenset()

    def judged(self, path: Path) -> bool:
        """Whether a problem that the place's rules find at ``path`` is one: nothing it may come from was left out."""
        if not self.unread:
            return True
        return len(path) > 1 and path[0] == "platform" and path[1] not in self.unread


def platform_draft(raw: Any) -> PlatformDraft | None:
    """None where what a place cannot be without, its kind for one, could not be read."""
    unread: set[str] = set()
    while True:
        try:
            return PlatformDraft(_PLATFORM.validate_python(raw), frozenset(unread))
        except ValidationError as error:
            rest = raw
            for detail in error.errors(include_url=False):
                # the first step is the kind, which told pydantic whose settings these are
                path = tuple(detail["loc"][1:])
                if detail["type"] != _UNKNOWN_KEY and path:
                    unread.add(str(path[0]))
                rest = _without(rest, path[:-1] if detail["type"] == _MISSING else path)
            if rest == raw:
                return None
            raw = rest


def _without(raw: Any, path: Path) -> Any:
    """``raw`` without the value at ``path``, or without the whole list that it stands in: a list with an element less
    says something else. Unchanged where nothing stands there."""
    if not path or not isinstance(raw, Mapping) or path[0] not in raw:
        return raw
    key, rest = path[0], path[1:]
    if rest and isinstance(raw[key], Mapping):
        return {**raw, key: _without(raw[key], rest)}
    return {name: value for name, value in raw.items() if name != key}
