"""Reader of Google's discovery documents: the schemas of an API's messages and the parameters of its methods."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

from scripts.cloud_schemas.field import Field, Fields, Kind
from scripts.cloud_schemas.wheels import wheel

PACKAGE = "google_api_python_client"
_KINDS: Mapping[str, Kind] = {
    "string": "text", "integer": "integer", "number": "number", "boolean": "boolean", "array": "list",
    "object": "object", "any": "any",
}  # fmt: skip
_FORMATS = {
    "google-duration": r"-?\d+(\.\d{1,9})?s",
    "date-time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
}
_FORMATS["google-datetime"] = _FORMATS["date-time"]
_SPANS = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}


@cache
def document(name: str) -> Mapping[str, Any]:
    """Return a discovery document, by name and version (``container.v1``)."""
    read: Mapping[str, Any] = json.loads(wheel(PACKAGE).read(f"googleapiclient/discovery_cache/documents/{name}.json"))
    return read


def request_fields(name: str, method: str, schema: str) -> Fields:
    """Return what a method takes: the properties of ``schema``, and the parameters of its address."""
    node: Any = document(name)
    *folders, last = method.split(".")
    for folder in folders:
        node = node["resources"][folder]
    method_spec = node["methods"][last]
    body = _members(name, document(name)["schemas"][schema], method_spec["id"])
    address = {
        key: replace(_field(name, f"{{{key}}}", each, ""), required=False)  # the provider fills it
        for key, each in method_spec["parameters"].items()
        if key not in body or body[key].read_only
    }
    return {**body, **address}


def _members(name: str, schema: Mapping[str, Any], method: str) -> Fields:
    return {key: _field(name, key, spec, method) for key, spec in schema.get("properties", {}).items()}


def _field(name: str, at: str, spec: Mapping[str, Any], method: str) -> Field:
    text = spec.get("description", "")
    described = document(name)["schemas"][spec["$ref"]] if "$ref" in spec else spec
    kind = _KINDS[described.get("type", "object")]
    item, members = None, None
    if kind == "list":
        item = _field(name, "", described["items"], method)
    elif "additionalProperties" in described:
        kind, item = "map", _field(name, "", described["additionalProperties"], method)
    elif kind == "object":
        members = partial(_members, name, described, method)
    form = described.get("format", "")
    if form in _SPANS:
        kind = "integer"
    pattern = described.get("pattern") or _FORMATS.get(form, "")
    return Field(
        at,
        kind,
        words=frozenset(described.get("enum", ())),
        pattern=f"^(?:{pattern})$" if pattern else "",
        span=_SPANS.get(form, (None, None)),
        required=spec.get("required") is True
        or method in spec.get("annotations", {}).get("required", ())
        or text.startswith("Required."),
        read_only=spec.get("readOnly", False)
        or text.lower().startswith(("output only", "[output only]", "[output-only]")),
        deprecated=spec.get("deprecated", False),
        item=item,
        members=members,
    )
