"""The table of resources: which request each becomes, and what its fields are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from components.typed.tables import read_table
from scripts.cloud_schemas import arm, discovery
from scripts.cloud_schemas.check import Names
from scripts.cloud_schemas.field import Fields

FILE = Path(__file__).with_name("resources.yaml")


@dataclass(frozen=True)
class Request:
    """What a resource becomes: the fields of its request, the names that differ, the API and its version, the version
    that the SDK sends, and the package that was read."""

    fields: Fields
    names: Names
    message: str
    version: str
    sends: str
    package: str


@cache
def table() -> dict[str, Any]:
    """Return the contents of ``resources.yaml``."""
    read: dict[str, Any] = read_table(FILE)
    return read


@cache
def request(kind: str) -> Request:
    """Return the request of a type of resource. Raises ``KeyError`` for one that is not in the table, ``NoSchemas``."""
    entry = table()["resources"][kind]
    names = Names(
        renamed=entry.get("renamed", {}),
        apart=entry.get("apart", {}),
        filled=frozenset(entry.get("filled", ())),
        deprecated=frozenset(entry.get("deprecated", ())),
    )
    if "discovery" in entry:
        document, _, message = entry["discovery"]
        fields = discovery.request_fields(*entry["discovery"])
        return Request(fields, names, message, document, document, discovery.PACKAGE)
    package, *_, message = entry["arm"]
    version = arm.api_version(*entry["arm"][:4])
    return Request(arm.request_fields(*entry["arm"]), names, message, version, entry.get("sends", version), package)


def is_ours(kind: str) -> bool:
    """Return whether a type belongs to a provider that the table is about."""
    return kind.partition(":")[0] in {each.partition(":")[0] for each in table()["resources"]}
