"""Explicit providers between two graphs: one that works on another place takes along all that it made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.policies.clouds import clouds

Entry = Mapping[str, Any]
_PREFIX = "pulumi:providers:"


@dataclass(frozen=True)
class Repointed:
    """A provider that works on another place. ``paths`` are the inputs that say so; ``takes`` the URNs of the resources
    of the base that it has made, which an engine makes anew there."""

    urn: str
    paths: tuple[str, ...]
    takes: tuple[str, ...]

    @property
    def why(self) -> str:
        """Return the reason to give with each of its resources."""
        return f"its provider {self.urn.rpartition('::')[2]} works on another place: {', '.join(self.paths)}"


def repointed(base: Sequence[Entry], head: Sequence[Entry]) -> Iterator[Repointed]:
    """Yield each explicit provider of ``base`` that is another place's in ``head``, or that nobody can tell from one: a
    place that is hidden on both sides is the same place, one that is hidden on one side is not."""
    news = {str(entry["urn"]): entry for entry in head}
    for old in base:
        urn, kind = str(old["urn"]), str(old["type"])
        new = news.get(urn)
        if not kind.startswith(_PREFIX) or new is None:
            continue
        paths = _changed(kind.removeprefix(_PREFIX), old.get("inputs") or {}, new.get("inputs") or {})
        if paths:
            takes = (
                str(e["urn"]) for e in base if e.get("provider") == urn and e.get("custom") and not e.get("external")
            )
            yield Repointed(urn, paths, tuple(takes))


def _changed(package: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the inputs that name another place. Of a package that nobody has looked up, every input may."""
    groups = clouds()["providers"].get(package, [sorted({*old, *new})])
    for group in groups:
        if group is groups[-1] or group[0] in old or group[0] in new:
            return tuple(name for name in group if old.get(name) != new.get(name))
    return ()
