"""Who owns which field of a live object, and what ``ignoreChanges`` then means for an apply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.local.plugins.properties import Path
from infra.local.plugins.property_path import MISSING, get, put, remove


def fields_of(live: Mapping[str, Any], manager: str) -> dict[str, Any]:
    """The field set that ``manager`` owns by applying, as the API server writes it (``f:``, ``k:``, ``v:`` keys)."""
    for entry in (live.get("metadata") or {}).get("managedFields") or []:
        if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource"):
            fields: dict[str, Any] = entry.get("fieldsV1") or {}
            return fields
    return {}


def made_by(live: Mapping[str, Any], manager: str) -> bool:
    """Whether ``manager`` made the object: it owns fields of it, or nobody does.

    An object that was applied with nothing but a name has no owner; everybody else's tools own what they create.
    """
    managers = {
        entry.get("manager")
        for entry in (live.get("metadata") or {}).get("managedFields") or []
        if not entry.get("subresource")
    }
    return manager in managers or not managers


def owners(live: Mapping[str, Any], path: Path) -> set[str]:
    """Every manager that owns ``path`` or something below it."""
    found = set()
    for entry in (live.get("metadata") or {}).get("managedFields") or []:
        node: Any = entry.get("fieldsV1") or {}
        for part in path:
            node = node.get(f"f:{part}") if isinstance(node, dict) else None
        if node is not None:
            found.add(str(entry.get("manager")))
    return found


def leave_ignored(thing: dict[str, Any], live: Mapping[str, Any] | None, ignored: list[Path], manager: str) -> None:
    """Take what is ignored out of an apply, in place, so that it stays as it is on the cluster.

    A field that only others own is left out: sending any value would make ``manager`` a second owner, or conflict. A
    field that ``manager`` owns, alone or with others, is sent with its present value: leaving it out would unset it.
    """
    if live is None:
        return
    for path in ignored:
        for concrete in _expanded(thing, path):
            managers = owners(live, concrete)
            if managers and manager not in managers:
                remove(thing, concrete)
                continue
            present = get(live, concrete)
            if present is not MISSING:
                put(thing, concrete, present)


def _expanded(thing: Any, path: Path) -> list[Path]:
    if "*" not in path:
        return [path]
    at = path.index("*")
    items = get(thing, path[:at])
    keys: list[Any] = list(range(len(items))) if isinstance(items, list) else []
    if isinstance(items, dict):
        keys = list(items)
    return [found for key in keys for found in _expanded(thing, (*path[:at], key, *path[at + 1 :]))]
