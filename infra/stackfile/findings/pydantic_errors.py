"""Conversion of pydantic's errors to problems that name the key as the user wrote it, what is allowed, and the fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from components.typed.refusal import Path, Problem
from components.typed.rules.file import CHOICE_UNKNOWN, KEY_MISSING, TYPE_WRONG
from components.typed.rules.stack import HOST_WITHOUT_TLS, KEY_UNKNOWN, MAX_MISSING

# The error of a default made from another field that is wrong itself, which is reported already.
FOLLOWS_ANOTHER = "default_factory_not_called"

_WRONG_TYPE = {
    "string_type": ("is not text", "text", "put it in quotes"),
    "bool_type": ("is not true or false", "true or false", "write true or false, without quotes"),
    "tuple_type": ("is not a list", "a list", "write it as [a, b] or as lines that begin with -"),
    "dict_type": ("is not a mapping", "keys with values", "write it as lines of key: value"),
    "mapping_type": ("is not a mapping", "keys with values", "write it as lines of key: value"),
    "model_type": ("is not a mapping", "keys with values", "write it as lines of key: value"),
    "model_attributes_type": ("is not a mapping", "keys with values", "write it as lines of key: value"),
}


def problems_of(error: ValidationError, root: Any, at: Path = ()) -> Iterator[Problem]:
    """Yield the problems of a validation of ``root`` (a model class or annotation), whose value is at path ``at``."""
    for detail in error.errors(include_url=False):
        if detail["type"] != FOLLOWS_ANOTHER:
            yield _problem(detail, root, at)


def _problem(detail: ErrorDetails, root: Any, at: Path) -> Problem:
    kind, context = detail["type"], detail.get("ctx", {})
    below, owner, annotation = _resolve(root, detail["loc"])
    path, value = at + below, detail["input"]
    if "rule" in context:
        return Problem(path=path, value=value, **context)
    if kind == "missing":
        return _missing(path, owner)
    if kind == "extra_forbidden":
        return unknown_key(path, _keys(owner))
    if kind in _WRONG_TYPE:
        message, allowed, fix = _WRONG_TYPE[kind]
        return TYPE_WRONG.at(path, message, allowed=allowed, fix=fix, value=value)
    if kind == "literal_error":
        return choice(path, value, re.findall(r"'([^']*)'", str(context["expected"])))
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        kinds = [tag for member in _members(annotation) for tag in _tags(member)]
        written_kind = value.get("kind") if isinstance(value, Mapping) else None
        if written_kind is None:
            names = ", ".join(kinds)
            return KEY_MISSING.at((*path, "kind"), "is missing", allowed=names, fix=f"add kind: {kinds[0]}")
        return choice((*path, "kind"), written_kind, kinds)
    return TYPE_WRONG.at(path, "is not valid", allowed=detail["msg"], fix="see docs/first-stack.md", value=value)


def _missing(path: Path, owner: type[BaseModel] | None) -> Problem:
    key = str(path[-1])
    if key == "max":
        return MAX_MISSING.at(
            path,
            "is missing: without a ceiling nothing bounds the cost",
            allowed="a whole number from 0",
            fix="add max: 1 or the most that may run at once",
        )
    info = next((field for field in owner.model_fields.values() if field.alias == key), None) if owner else None
    allowed = (info and info.description) or "a value"
    example = str(info.examples[0]) if info and info.examples else "a value"
    if key == "certificate":
        message = "is missing: keys and prompts would cross the network in clear"
        return HOST_WITHOUT_TLS.at(path, message, allowed=allowed, fix=f"add {key}: {example}")
    return KEY_MISSING.at(path, "is missing", allowed=allowed, fix=f"add {key}: {example}")


def unknown_key(path: Path, known: Iterable[str], intended: str | None = None) -> Problem:
    """Return the problem of an unknown key, with the nearest known one (nearest to ``intended``, if that is given).

    The key's value is not shown: it may be anything.
    """
    keys, written = sorted(known), intended or str(path[-1])
    near = difflib.get_close_matches(written, keys, n=1, cutoff=0.6)
    folded = {key.lower(): key for key in keys}
    bare = re.sub(r"[-_]", "", written).lower()
    best = folded.get(bare) or (near[0] if near else None)
    fix = f"did you mean {best}?" if best else "remove it"
    return KEY_UNKNOWN.at(path, "is not a known key", allowed=", ".join(keys), fix=fix)


def choice(path: Path, value: Any, allowed: list[str]) -> Problem:
    """Return the problem of a value that is none of ``allowed``."""
    near = nearest(str(value), allowed)
    fix = f"did you mean {near}?" if near else "choose one of them"
    return CHOICE_UNKNOWN.at(path, "is not one of the choices", allowed=", ".join(allowed), fix=fix, value=value)


def nearest(value: str, allowed: Iterable[str]) -> str | None:
    """Return the one of ``allowed`` that a value most likely means: one that it begins, else one spelled alike."""
    names = list(allowed)
    begun = [name for name in names if value and name.startswith(value)]
    return next(iter(begun or difflib.get_close_matches(value[:100], names, n=1, cutoff=0.6)), None)


def _resolve(annotation: Any, loc: tuple[str | int, ...]) -> tuple[Path, type[BaseModel] | None, Any]:
    """Return the user's path for pydantic's ``loc`` (which also names union members), and the class and annotation
    of its end."""
    path: list[str | int] = []
    owner: type[BaseModel] | None = None
    steps = list(loc)
    while steps:
        step = steps.pop(0)
        members = list(_members(annotation))
        tagged = next((member for member in members if step in _tags(member)), None)
        if tagged is not None and len(members) > 1:
            annotation = tagged
            continue
        if step == "[key]" and path and owner is None:
            continue  # pydantic's mark after the key of a free mapping; a user's own key may also have this name
        path.append(step)
        annotation, owner = _inside(members, step)
    return tuple(path), owner, annotation


def _inside(members: list[Any], step: str | int) -> tuple[Any, type[BaseModel] | None]:
    for member in members:
        if isinstance(member, type) and issubclass(member, BaseModel):
            for name, field in member.model_fields.items():
                if step in (name, field.alias):
                    return field.annotation, member
            return None, member
        if get_origin(member) is not None and get_args(member):
            arguments = [argument for argument in get_args(member) if argument is not Ellipsis]
            return arguments[-1], None
    return None, None


def _members(annotation: Any) -> Iterator[Any]:
    """Yield the alternatives of an annotation: the members of a union, else itself; looks inside Annotated."""
    if hasattr(annotation, "__metadata__"):
        yield from _members(annotation.__origin__)
    elif get_origin(annotation) is None or not _is_union(annotation):
        yield annotation
    else:
        for member in get_args(annotation):
            yield from _members(member)


def _is_union(annotation: Any) -> bool:
    return str(getattr(get_origin(annotation), "__name__", "")) in ("Union", "UnionType")


def _tags(member: Any) -> tuple[str, ...]:
    fields = getattr(member, "model_fields", {})
    return tuple(get_args(fields["kind"].annotation)) if "kind" in fields else ()


def _keys(owner: type[BaseModel] | None) -> list[str]:
    keys = [field.alias or name for name, field in owner.model_fields.items()] if owner else []
    return [key for key in keys if not key.startswith("<")]
