"""Models that take what is too long for another, under the name of that one. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def chain(longer: Mapping[str, str | None], name: str) -> list[str]:
    """Return ``name`` and the models its long prompts may go to, as far as there are such; in a circle each once."""
    names = [name]
    while (following := longer.get(names[-1])) is not None and following not in names:
        names.append(following)
    return names


def public_names(longer: Mapping[str, str | None]) -> dict[str, str]:
    """Return, by each model that takes another's long prompts, the one that clients ask for. ``longer``: by each model
    the one behind it."""
    receivers = set(longer.values())
    return {each: first for first in longer if first not in receivers for each in chain(longer, first)[1:]}
