"""Changes between two sets of plain inputs, and those of them that cannot be made in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from infra.gate.replacement import property_path
from infra.gate.replacement.property_path import Path


class _Unknown:
    """A value that only exists once something else has been created; one instance, compared by identity."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()
Kind = Literal["ADD", "DELETE", "UPDATE"]


@dataclass(frozen=True)
class Change:
    """One property that differs."""

    path: Path
    kind: Kind
    replaces: bool = False


@dataclass(frozen=True)
class Difference:
    """All changes of one resource; ``delete_first`` if the replacement must take the old one's name."""

    changes: tuple[Change, ...] = ()
    delete_first: bool = False

    @property
    def replaces(self) -> bool:
        """Return True if any change needs a new resource."""
        return any(change.replaces for change in self.changes)


def compare(old: Any, new: Any, immutable: Iterable[Path] = (), ignored: Iterable[Path] = ()) -> tuple[Change, ...]:
    """Return the changes from ``old`` to ``new``. Null and absent are the same; unknown values count as changed.

    A path in ``immutable`` forces replacement for itself and everything below it; one in ``ignored`` never differs.
    """
    immutable, ignored = tuple(immutable), tuple(ignored)
    return tuple(
        Change(path, kind, replaces=any(property_path.contains(fixed, path) for fixed in immutable))
        for path, kind in _walk((), old, new)
        if not any(property_path.contains(pattern, path) for pattern in ignored)
    )


def _walk(path: Path, old: Any, new: Any) -> Iterator[tuple[Path, Kind]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _walk((*path, key), old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            yield from _walk(
                (*path, index),
                old[index] if index < len(old) else None,
                new[index] if index < len(new) else None,
            )
    elif new is UNKNOWN:
        yield path, "UPDATE" if old is not None else "ADD"
    elif old is None and new is not None:
        yield path, "ADD"
    elif new is None and old is not None:
        yield path, "DELETE"
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        yield path, "UPDATE"
