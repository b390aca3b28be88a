"""Reader of Azure Resource Manager's schema of one API version, from the Python package that is generated out of it.

A model's class has two tables: ``_attribute_map`` (each property's place in the body and its type) and ``_validation``
(required, read-only, pattern, lengths, range). Words that a property takes are an enumeration that the annotation of
its argument names. The function that builds a request has the API version, and the constraints on each part of the
address. The packages are not imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from scripts.cloud_schemas.field import Field, Fields, Kind
from scripts.cloud_schemas.wheels import wheel

_KINDS: Mapping[str, Kind] = {
    "str": "text", "int": "integer", "long": "integer", "float": "number", "bool": "boolean", "object": "any",
    "iso-8601": "text", "duration": "text", "date": "text", "time": "text", "bytearray": "text", "base64": "text",
}  # fmt: skip
_PATTERNS = {
    "iso-8601": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$",
    "duration": r"^P(?=.)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?$",
}
_NOT_OF_THE_STACK = {"subscriptionId"}  # the provider's own setting


def request_fields(package: str, folder: str, operations: str, request: str, body: str) -> Fields:
    """Return what a request takes: the properties of its body, and the parts of its address."""
    address = _address(_function(package, f"{folder}/operations/{operations}", request))
    return {**_members(package, folder, body), **address}


def api_version(package: str, folder: str, operations: str, request: str) -> str:
    """Return the API version that a request goes to."""
    match = re.search(r'"api-version", "([^"]+)"', _function(package, f"{folder}/operations/{operations}", request))
    return match[1] if match else ""


@cache
def _function(package: str, file: str, name: str) -> str:
    text = wheel(package).read(file).decode()
    start = text.index(f"\ndef {name}(")
    return text[start : start + 1 + re.search(r"\n(def|class) |\Z", text[start + 1 :]).start()]  # type: ignore[union-attr]


def _address(function: str) -> Fields:
    fields = {}
    for node in ast.walk(ast.parse(function)):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Dict)
            and ast.unparse(node.targets[0]) == "path_format_arguments"
        ):
            for key, call in zip(node.value.keys, node.value.values, strict=True):
                name = ast.unparse(key).strip("'") if key else ""
                if isinstance(call, ast.Call) and name not in _NOT_OF_THE_STACK:
                    arguments = {each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg}
                    fields[name] = _field(f"{{{name}}}", "text", {"required": True, **arguments})
    return fields


@cache
def _classes(package: str, folder: str) -> Mapping[str, str]:
    """Return the source of every class of the models, by name."""
    archive = wheel(package)
    sources = {}
    for file in archive.namelist():
        if re.fullmatch(rf"{folder}/models/_\w+\.py", file):
            for part in archive.read(file).decode().split("\nclass ")[1:]:
                sources[re.match(r"\w+", part)[0]] = f"class {part}"  # type: ignore[index]
    return sources


@cache
def _members(package: str, folder: str, model: str) -> Fields:
    (class_node,) = (
        node for node in ast.parse(_classes(package, folder)[model]).body if isinstance(node, ast.ClassDef)
    )
    tables = {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value)
        for node in class_node.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("_attribute_map", "_validation")
    }
    start = next(n for n in class_node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    named = {each.arg: ast.unparse(each.annotation) for each in start.args.kwonlyargs if each.annotation}
    fields: dict[str, Field] = {}
    for attribute, entry in tables["_attribute_map"].items():
        at = entry["key"].replace("\\\\.", "\0")
        rules = tables.get("_validation", {}).get(attribute, {})
        field = _typed(package, folder, at.replace("\0", "."), entry["type"], named.get(attribute, ""), rules)
        last, camel = at.rpartition(".")[2].replace("\0", "."), _camel(attribute)
        # the schema may give a property another name for clients, which SDKs then use; case alone makes no other name
        for name in (last,) if camel.lower() == last.lower() else (last, camel):
            if name not in fields or fields[name].read_only:
                fields[name] = field
    return fields


def _typed(package: str, folder: str, at: str, kind: str, annotation: str, rules: Mapping[str, Any]) -> Field:
    if kind[0] in "[{":
        item = _typed(package, folder, "", kind[1:-1], annotation, {})
        return _field(at, "list" if kind[0] == "[" else "map", rules, item=item)
    if kind in _KINDS:
        words = frozenset(
            word for name in re.findall(r"_models\.(\w+)", annotation) for word in _words(package, folder, name)
        )
        return _field(at, _KINDS[kind], {"pattern": _PATTERNS.get(kind, ""), **rules}, words=words)
    return _field(at, "object", rules, members=lambda: _members(package, folder, kind))


def _words(package: str, folder: str, name: str) -> list[str]:
    return re.findall(r'^    [A-Z0-9_]+ = "(.*)"$', _classes(package, folder)[name], re.M)


def _field(at: str, kind: Kind, rules: Mapping[str, Any], **more: Any) -> Field:
    return Field(
        at,
        kind,
        pattern=rules.get("pattern", ""),
        lengths=(rules.get("min_length"), rules.get("max_length")),
        span=(rules.get("minimum"), rules.get("maximum")),
        required=rules.get("required", False),
        read_only=rules.get("readonly", False),
        **more,
    )


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))
