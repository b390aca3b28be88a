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
    told = table()["resources"][kind]
    names = Names(
        renamed=told.get("renamed", {}),
        apart=told.get("apart", {}),
        filled=frozenset(told.get("filled", ())),
        deprecated=frozenset(told.get("deprecated", ())),
    )
    if "discovery" in told:
        document, _, message = told["discovery"]
        fields = discovery.request_fields(*told["discovery"])
        return Request(fields, names, message, document, document, discovery.PACKAGE)
    package, *_, message = told["arm"]
    version = arm.api_version(*told["arm"][:4])
    return Request(arm.request_fields(*told["arm"]), names, message, version, told.get("sends", version), package)


def is_ours(kind: str) -> bool:
    """Return whether a type belongs to a provider that the table is about."""
    return kind.partition(":")[0] in {each.partition(":")[0] for each in table()["resources"]}
