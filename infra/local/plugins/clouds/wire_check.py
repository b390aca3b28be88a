"""Whether values have the types the SDK declares: unknown keys, missing ones, wrong kinds, values not in an enum."""

from __future__ import annotations

import collections.abc
import enum
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import pulumi

from infra.local.plugins.clouds import sdk
from infra.local.plugins.properties import UNKNOWN

Finding = tuple[str, str]
"""A path as the engine writes it, and what is wrong there."""

_KINDS: dict[Any, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def check(values: Mapping[str, Any], hints: Mapping[str, Any], required: frozenset[str]) -> Iterator[Finding]:
    """Everything wrong with a resource's plain inputs; what is not known yet is taken as right."""
    yield from _object("", values, hints, required)


def _object(
    at: str, values: Mapping[str, Any], hints: Mapping[str, Any], required: frozenset[str]
) -> Iterator[Finding]:
    given = {key: value for key, value in values.items() if value is not None and not key.startswith("__")}
    for key in sorted(required - given.keys()):
        yield _below(at, key), "is missing and must be given"
    for key, value in given.items():
        if key in hints:
            yield from _value(_below(at, key), value, hints[key])
        else:
            yield _below(at, key), f"is not an input; there are: {', '.join(sorted(hints))}"


def _value(at: str, value: Any, hint: Any) -> Iterator[Finding]:
    if value is UNKNOWN:
        return
    choices = alternatives(hint)
    if any(_is_enum(choice) for choice in choices):
        # the SDKs let any text pass for an enum; a value that the API does not know is what should be found here
        choices = [choice for choice in choices if choice is not str]
    found = [list(_one(at, value, choice)) for choice in choices]
    if found and all(found):
        # of several possible forms, the one that fits best tells most
        yield from min(found, key=lambda each: (sum("is not" in why and "but" in why for _, why in each), len(each)))


def alternatives(hint: Any) -> list[Any]:
    """The forms a value may take: a hint without what only says that it may come late or not at all."""
    if isinstance(hint, typing.TypeVar):
        return []
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [form for part in typing.get_args(hint) for form in alternatives(part)]
    if hint is type(None) or typing.get_origin(hint) in (pulumi.Output, collections.abc.Awaitable):
        return []
    return [hint]


def _one(at: str, value: Any, hint: Any) -> Iterator[Finding]:
    origin = typing.get_origin(hint)
    if hint is Any or hint is object:
        return
    if sdk.is_arguments(hint):
        if isinstance(value, Mapping):
            yield from _object(at, value, sdk.hints_of(hint), sdk.required_of(hint))
        else:
            yield at, f"is not a map, but {_shown(value)}"
    elif origin in (collections.abc.Mapping, dict):
        yield from _map(at, value, typing.get_args(hint)[1])
    elif origin in (collections.abc.Sequence, list):
        yield from _list(at, value, typing.get_args(hint)[0])
    elif _is_enum(hint):
        allowed = [member.value for member in hint]
        if value not in allowed:
            yield at, f"is not one of {', '.join(map(str, allowed))}, but {_shown(value)}"
    elif hint in _KINDS and not _is(value, hint):
        yield at, f"is not {_KINDS[hint]}, but {_shown(value)}"


def _map(at: str, value: Any, item: Any) -> Iterator[Finding]:
    if not isinstance(value, Mapping):
        yield at, f"is not a map, but {_shown(value)}"
        return
    for key, each in value.items():
        yield from _value(_below(at, str(key)), each, item)


def _list(at: str, value: Any, item: Any) -> Iterator[Finding]:
    if not isinstance(value, list):
        yield at, f"is not a list, but {_shown(value)}"
        return
    for index, each in enumerate(value):
        yield from _value(f"{at}[{index}]", each, item)


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, enum.Enum)


def _is(value: Any, kind: Any) -> bool:
    if kind is bool or isinstance(value, bool):
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(value, kind)


def _below(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _shown(value: Any) -> str:
    # never the value itself: it may be a secret
    names = {"str": "a text", "int": "a whole number", "float": "a number", "bool": "true or false", "dict": "a map"}
    return names.get(type(value).__name__, f"a {type(value).__name__}")
