"""What a live object says about the fields a program set: the inputs that a refresh puts into state."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from infra.local.plugins.late_imports import ONE_AT_A_TIME
from infra.local.plugins.properties import Path

_QUANTITIES = {
    "limits",
    "requests",
    "hard",
    "capacity",
    "sizeLimit",
    "storage",
    "defaultRequest",
    "max",
    "min",
}
_SERVER_OWNED = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid", "selfLink")


def owned(live: Mapping[str, Any], inputs: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """``inputs`` with every value as it is on the cluster, and nothing that the program never set.

    ``fields`` is the resource's own managed field set: it tells lists whose items have owners of their own from lists
    that are one value. A value that the server only spells differently (``1000m`` and ``1``) keeps its spelling.
    """
    live = {**live, "stringData": _decoded(live)} if "stringData" in inputs else live
    found: dict[str, Any] = _same_shape((), dict(live), dict(inputs), fields)
    return found


def imported(live: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs for an object that no program has set yet (import, get): everything but what the server fills in."""
    metadata = {k: v for k, v in (live.get("metadata") or {}).items() if k not in _SERVER_OWNED}
    return {**{k: v for k, v in live.items() if k != "status"}, "metadata": metadata}


def _same_shape(path: Path, live: Any, old: Any, fields: Any) -> Any:
    if isinstance(old, dict) and isinstance(live, dict):
        found = {}
        for key, wanted in old.items():
            if live.get(key) is not None:
                found[key] = _same_shape((*path, key), live[key], wanted, _below(fields, key))
            elif _hollow(wanted) or key == "status":
                found[key] = wanted
        return found
    if isinstance(old, list) and isinstance(live, list):
        return _same_list(path, live, old, fields)
    return old if _equivalent(path, live, old) else live


def _same_list(path: Path, live: list[Any], old: list[Any], fields: Any) -> list[Any]:
    keyed = [key for key in fields if key.startswith("k:")] if isinstance(fields, dict) else []
    if keyed:
        names = list(json.loads(keyed[0][2:]))
        found: list[Any] = []
        for wanted in old:
            match = next((item for item in live if _same_item(item, wanted, names)), None)
            if match is not None:
                own: Any = next((fields[key] for key in keyed if _same_item(match, json.loads(key[2:]), names)), {})
                found.append(_same_shape((*path, len(found)), match, wanted, own))
        return found
    if isinstance(fields, dict) and any(key.startswith("v:") for key in fields):
        return [item for item in old if item in live]
    if len(live) != len(old):
        return live
    return [_same_shape((*path, n), item, old[n], None) for n, item in enumerate(live)]


def _same_item(item: Any, wanted: Any, names: list[str]) -> bool:
    return (
        isinstance(item, dict)
        and isinstance(wanted, dict)
        and all(wanted.get(name) in (None, item.get(name)) for name in names)
    )


def _below(fields: Any, key: str) -> Any:
    return fields.get(f"f:{key}") if isinstance(fields, dict) else None


def _hollow(value: Any) -> bool:
    """Whether the server drops a value because it says nothing: empty, zero, or made of such."""
    if isinstance(value, dict):
        return all(_hollow(item) for item in value.values())
    if isinstance(value, list):
        return all(_hollow(item) for item in value)
    return not value


def _equivalent(path: Path, live: Any, old: Any) -> bool:
    if live == old:
        return True
    if not _QUANTITIES.intersection(map(str, path)):
        return False
    with ONE_AT_A_TIME:
        from kubernetes.utils.quantity import parse_quantity  # costs half a second that only a refresh needs

    try:
        amount: Any = parse_quantity
        return bool(amount(_number(live)) == amount(_number(old)))
    except ValueError:
        return False


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError(f"not a quantity: {type(value).__name__}")
    return str(value)


def _decoded(live: Mapping[str, Any]) -> dict[str, str]:
    texts = {}
    for key, value in (live.get("data") or {}).items():
        try:
            texts[key] = base64.b64decode(value).decode()
        except (binascii.Error, UnicodeDecodeError):
            texts[key] = "(not text any more)"
    return texts
