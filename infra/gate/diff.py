"""Diff of two recorded graphs: what an engine would create, change in place, replace and delete. It has no values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from infra.gate.hidden_values import COMPARED, WHOLE, compared
from infra.gate.replacement import property_path
from infra.gate.replacement.differences import Change, compare
from infra.gate.replacement.tables import Known, forcing
from infra.policies.inputs import HIDDEN
from infra.policies.providers import repointed
from infra.stackfile.nested import walk

ORDER = ("deleted", "replaced", "updated", "created")
_URN = "${"


@dataclass(frozen=True, kw_only=True)
class Changed:
    """One changed resource. ``paths`` changed; ``forced`` are those that cannot change in place. ``was`` is its URN
    before, if the program has renamed it. ``known`` is False for an update of a type whose replacing properties nobody
    has looked up."""

    action: str
    urn: str
    type: str
    name: str
    protected: bool = False
    paths: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()
    was: str = ""
    why: str = ""
    known: bool = True


def diff(base: Sequence[Mapping[str, Any]], head: Sequence[Mapping[str, Any]]) -> list[Changed]:
    """Return all changes: protected resources first, then deleted, replaced, updated, created ones. Components are left
    out, as they only name groups, and so are resources that are only read."""
    olds = {str(entry["urn"]): entry for entry in base if _is_real(entry)}
    news = {str(entry["urn"]): entry for entry in head if _is_real(entry)}
    renamed = pairs(olds, news)
    changes: dict[str, Changed] = {}
    for urn, new in news.items():
        pair = renamed.get(urn)
        old = olds.get(urn) or (olds[pair.was] if pair else None)
        change = _compared(old, new, pair.was if pair else "", pair.aliased if pair else True)
        if change is not None:
            changes[urn] = change
    renamed_from = {pair.was for pair in renamed.values()}
    for urn, old in olds.items():
        if urn not in news and urn not in renamed_from:
            changes[urn] = _changed(old, "deleted", "it is not in the program any more")
    for provider in repointed(base, head):
        for urn in set(provider.takes) & set(news):
            changes[urn] = replace(
                _changed(news[urn], "replaced", provider.why), protected=bool(olds[urn].get("protect"))
            )
    _cascade(changes, news)
    return sorted(changes.values(), key=lambda c: (not c.protected, ORDER.index(c.action), c.type, c.name))


def all_differences(expected: Sequence[Mapping[str, Any]], head: Sequence[Mapping[str, Any]]) -> list[Changed]:
    """Return every entry that is not the same in both graphs, whatever an engine would make of it: components, options
    and properties that an autoscaler owns too."""
    olds, news = ({str(entry["urn"]): entry for entry in graph} for graph in (expected, head))
    changes = [_changed(news[urn], "created", "") for urn in news if urn not in olds]
    changes += [_changed(olds[urn], "deleted", "") for urn in olds if urn not in news]
    for urn in news:
        if urn in olds and (paths := tuple(_different(olds[urn], news[urn]))):
            changes.append(replace(_changed(news[urn], "updated", ""), paths=paths))
    return changes


def _different(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys([*old, *new]):
        if key == COMPARED:
            continue
        before, after = (compared(side) if key == "inputs" else side.get(key) for side in (old, new))
        # as text: true and 1 are equal in Python, and not to a cluster
        if json.dumps(before, sort_keys=True) != json.dumps(after, sort_keys=True):
            paths = tuple(_shown(compare(before, after), old, new)) if key == "inputs" else ()
            yield from paths or (key,)


def _shown(changes: Sequence[Change], old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths of changes as people read them; a hidden value is told by its path alone."""
    paths = [change.path for change in changes]
    for path in paths:
        at = path[:-1] if path[-1:] == (WHOLE,) else path
        if at != path and any(other != path and other[: len(at)] == at for other in paths):
            continue  # what has changed in the text is told
        hidden = any(
            _at(side.get("inputs"), path[:length]) == HIDDEN for side in (old, new) for length in range(len(path) + 1)
        )
        yield f"{property_path.show(at)} (changed, hidden)" if hidden else property_path.show(at)


def _compared(old: Mapping[str, Any] | None, new: Mapping[str, Any], was: str, aliased: bool) -> Changed | None:
    if old is None:
        return _changed(new, "created", "")
    ignored = [property_path.parse(str(path)) for path in new.get("ignoreChanges") or ()]
    known, immutable = forcing(new)
    changes = compare(compared(old), compared(new), immutable, ignored)
    changes = tuple(change for change in changes if not _only_renamed(change.path, old, new))
    forced = tuple(_shown([change for change in changes if change.replaces], old, new))
    paths = tuple(_shown(changes, old, new))
    protected = bool(old.get("protect"))
    if was and not aliased:
        why = "it has another name in the program, which the engine takes for another resource"
        return replace(_changed(new, "replaced", why), paths=paths, forced=forced, was=was, protected=protected)
    if forced:
        why = f"{', '.join(forced)} cannot change in place"
        return replace(_changed(new, "replaced", why), paths=paths, forced=forced, was=was, protected=protected)
    if _provider(old) != _provider(new):
        return replace(_changed(new, "replaced", "it is made by another provider"), paths=paths, protected=protected)
    if old.get("protect") and not new.get("protect"):
        change = _changed(new, "updated", "it is not protected any more")
        return replace(change, paths=("protect", *paths), was=was, protected=True, known=known is Known.YES)
    if not paths:
        return None
    why = "" if known is Known.YES else "whether that can be done in place is not known for this type"
    return replace(_changed(new, "updated", why), paths=paths, was=was, protected=protected, known=known is Known.YES)


def _cascade(changes: dict[str, Changed], news: Mapping[str, Mapping[str, Any]]) -> None:
    """Mark as replaced each resource that names a replaced one in a property that cannot change in place."""
    while True:
        gone = {urn: news[urn] for urn, change in changes.items() if change.action == "replaced"}
        fresh = {urn: entry for urn, entry in news.items() if urn not in gone}
        hit = [(urn, *pair) for urn, entry in fresh.items() for pair in _hangs_on(entry, gone)]
        hit = [item for item in hit if item[0] not in changes or changes[item[0]].action == "updated"]
        if not hit:
            return
        for urn, path, on in hit:
            protected = bool(news[urn].get("protect")) or (urn in changes and changes[urn].protected)
            why = f"{path} comes from {on.rpartition('::')[2]}, which is replaced"
            changes[urn] = replace(_changed(news[urn], "replaced", why), forced=(path,), protected=protected)


def _hangs_on(entry: Mapping[str, Any], gone: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    _, immutable = forcing(entry)
    for path, text in walk(entry.get("inputs") or {}):
        if isinstance(text, str) and _URN in text and any(property_path.contains(fixed, path) for fixed in immutable):
            for urn, other in gone.items():
                output = text.partition(f"${{{urn}#")[2].partition("}")[0]
                # values from the program, like a name, stay the same; all others come from the cloud, and change
                if output and output.partition(".")[0].partition("[")[0] not in (other.get("inputs") or {}):
                    yield property_path.show(path), urn


def _only_renamed(path: tuple[str | int, ...], old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return True for a reference to the same output of a resource that was only moved under another parent."""
    before, after = _at(old.get("inputs"), path), _at(new.get("inputs"), path)
    if not (isinstance(before, str) and isinstance(after, str) and before.startswith(_URN)):
        return False
    return (
        before.rpartition("$")[2] == after.rpartition("$")[2]
        and before.rpartition("::")[2] == after.rpartition("::")[2]
    )


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _changed(entry: Mapping[str, Any], action: str, why: str) -> Changed:
    protected = bool(entry.get("protect"))
    return Changed(
        action=action,
        urn=str(entry["urn"]),
        type=str(entry["type"]),
        name=str(entry["name"]),
        protected=protected,
        why=why,
    )


def _provider(entry: Mapping[str, Any]) -> str:
    return str(entry.get("provider") or "").rpartition("::")[2]


def _is_real(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("custom")) and not entry.get("external")


# Renamed resources: the engine deletes the old one and makes another, unless an alias says that they are the same.

# Properties that are a thing's own name in its cloud: two resources with the same name are the same thing.
_NAMES = (
    "bucket", "name", "nodeGroupName", "nodeGroupNamePrefix", "clusterName", "agentPoolName", "accountName",
    "registryName", "containerName", "vaultName", "keyName", "repositoryId", "resourceGroupName",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """The old URN of a renamed resource. ``aliased``: an alias says that it is the same, so the engine keeps it."""

    was: str
    aliased: bool


def pairs(olds: Mapping[str, Mapping[str, Any]], news: Mapping[str, Mapping[str, Any]]) -> dict[str, Pair]:
    """Map new URNs to the old resource that each one is. An alias is believed, and what it hides is judged by the
    properties; without one, the same type with the same physical name is the same thing under another name."""
    gone = {urn: entry for urn, entry in olds.items() if urn not in news}
    matches: dict[str, Pair] = {}
    for urn, entry in news.items():
        if urn in olds:
            continue
        for alias in entry.get("aliases") or ():
            if alias in gone:
                matches[urn] = Pair(str(alias), True)
                del gone[str(alias)]
                break
    by_name = {(str(entry["type"]), _physical(entry)): urn for urn, entry in gone.items() if _physical(entry)}
    for urn, entry in news.items():
        if urn in olds or urn in matches:
            continue
        was = by_name.pop((str(entry["type"]), _physical(entry)), None)
        if was is not None:
            matches[urn] = Pair(was, False)
    return matches


def _physical(entry: Mapping[str, Any]) -> tuple[str, ...]:
    inputs = entry.get("inputs") or {}
    if str(entry["type"]).startswith("kubernetes:"):
        metadata = inputs.get("metadata") or {}
        name = metadata.get("name") or inputs.get("name")
        return (str(metadata.get("namespace") or inputs.get("namespace") or ""), str(name)) if name else ()
    return tuple(
        f"{key}={inputs[key]}" for key in _NAMES if isinstance(inputs.get(key), str) and "${" not in inputs[key]
    )
