"""Models that take what is too long for another, under the name of that one. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def chain(longer: Mapping[str, str | None], name: str) -> list[str]:
    """Return ``name`` and the models its long prompts may go to, as far as there are such; in a circle each once."""
    found = [name]
    while (following := longer.get(found[-1])) is not None and following not in found:
        found.append(following)
    return found


def public_names(longer: Mapping[str, str | None]) -> dict[str, str]:
    """Return, by each model that takes another's long prompts, the one that clients ask for. ``longer``: by each model
    the one behind it."""
    taken = set(longer.values())
    return {each: first for first in longer if first not in taken for each in chain(longer, first)[1:]}
