"""What can be planned of a stack file that is refused: the parts that are sound, so that all findings come at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infra.config.load import NAMESPACE
from infra.config.stack import StackConfig
from infra.config.yaml_source import Unreadable, read

_MOST_TRIES = 5
_OWN = ("pools", "models")


def sound_part(file: Path) -> StackConfig | None:
    """The stack without the pools, models and sections that cannot be read; None where its place or environment are
    not sound, and nothing can be said."""
    try:
        document = read(file).value
    except Unreadable:
        return None
    config = document.get("config") if isinstance(document, Mapping) else None
    if not isinstance(config, Mapping):
        return None
    sections = {
        key.partition(":")[2]: value
        for key, value in config.items()
        if isinstance(key, str) and key.startswith(f"{NAMESPACE}:") and value is not None
    }
    platform = sections.get("platform")
    kind = platform.get("kind") if isinstance(platform, Mapping) else None
    for section, more in (("pools", {"<place>": kind if isinstance(kind, str) else ""}), ("models", {})):
        given = sections.get(section, {})
        sections[section] = {
            str(name): {**item, "<name>": str(name), **more}
            for name, item in (given.items() if isinstance(given, Mapping) else ())
            if isinstance(item, Mapping)
        }
    return _valid(sections)


def _valid(sections: dict[str, Any]) -> StackConfig | None:
    for _ in range(_MOST_TRIES):
        try:
            stack = StackConfig.model_validate(sections)
        except ValidationError as error:
            if not _without(sections, [detail["loc"] for detail in error.errors(include_url=False)]):
                return None
            continue
        if all(model.pool in stack.pools for model in stack.models.values()):
            return stack
        kept = {name: value for name, value in sections["models"].items() if stack.models[name].pool in stack.pools}
        sections["models"] = kept
    return None


def _without(sections: dict[str, Any], places: list[tuple[int | str, ...]]) -> bool:
    """Take the broken parts out; whether that is worth another try."""
    for place in places:
        first = str(place[0]) if place else ""
        if first in ("platform", "environment", ""):
            return False
        if first in _OWN and len(place) > 1:
            sections[first].pop(str(place[1]), None)
        else:
            sections.pop(first, None)
    return True
