"""The recorded graph as JSON: one object a resource, in the order of creation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from infra.gate.recorder import Record


def resource(record: Record) -> dict[str, Any]:
    """One entry. ``parent`` is the stack's own URN where the program names none; the stack itself is not listed.
    ``external`` is there, and true, only where the stack reads a resource that is not its own."""
    entry: dict[str, Any] = {
        "urn": record.urn,
        "type": record.type,
        "name": record.name,
        "parent": record.parent,
        "custom": record.custom,
        "inputs": record.inputs,
        "protect": record.protect,
        "ignoreChanges": list(record.ignore_changes),
        "dependsOn": list(record.depends_on),
        "provider": record.provider,
    }
    return {**entry, "external": True} if record.external else entry


def graph(records: Iterable[Record]) -> list[dict[str, Any]]:
    """The whole array."""
    return [resource(record) for record in records]


def text(resources: list[dict[str, Any]]) -> str:
    """As it is written: one resource a line, so that a line-wise diff is a diff of resources."""
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in resources)
    return f"[\n{lines}\n]\n" if lines else "[]\n"
