"""Types of the installed SDKs: inputs, outputs, and which inputs must be given.

The wheels carry no schema, but every input and output is a Python property with a type hint. The one private module of
the SDK that resolves those hints, ``pulumi._types``, is used here and nowhere else.
"""

from __future__ import annotations

import collections.abc
import enum
import functools
import importlib
import importlib.util
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
from pulumi import _types

from infra.gate.replacement.differences import UNKNOWN
from lab.plugins.plugin import ONE_AT_A_TIME

_REGISTERED = re.compile(r'resource_modules="""(.*?)"""', re.DOTALL)


@dataclass(frozen=True)
class ResourceType:
    """One resource type: type hints by wire name, and the wire names that must be given."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    required: frozenset[str]


@functools.cache
def classes(package: str) -> dict[str, tuple[str, str]]:
    """Return module and class of every type token of a package (``aws``, ``azure-native``, ``gcp``).

    Raises ``ModuleNotFoundError`` when its SDK is not installed.
    """
    spec = importlib.util.find_spec(module_of(package))
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module_of(package)} is not installed: install the project's extra for this cloud")
    match = _REGISTERED.search(Path(spec.origin).read_text())
    modules = json.loads(match.group(1)) if match else []
    return {token: (module["fqn"], name) for module in modules for token, name in module["classes"].items()}


def module_of(package: str) -> str:
    """Return the Python package of a Pulumi package."""
    return "pulumi_" + package.replace("-", "_")


def shape(token: str) -> ResourceType | None:
    """Return the shape of a type; None for a token that the SDK does not have."""
    with ONE_AT_A_TIME:
        return _shape(token)


@functools.cache
def _shape(token: str) -> ResourceType | None:
    place = classes(token.split(":", 1)[0]).get(token)
    if place is None:
        return None
    resource = getattr(importlib.import_module(place[0]), place[1])
    module = importlib.import_module(resource.__module__)
    # the SDKs say InitArgs where a nested input class has taken the plain name
    arguments = getattr(module, f"{place[1]}InitArgs", None) or getattr(module, f"{place[1]}Args")
    return ResourceType(hints_of(arguments), _types.resource_types(resource), required_of(arguments))


def provider_inputs(package: str) -> Mapping[str, Any]:
    """Return the inputs with which a provider of the package can be configured."""
    with ONE_AT_A_TIME:
        module = importlib.import_module(f"{module_of(package)}.provider")
        return hints_of(module.ProviderArgs)


def is_arguments(hint: Any) -> bool:
    """Return True if a hint is a nested input class."""
    return isinstance(hint, type) and _types.is_input_type(hint)


def is_result(hint: Any) -> bool:
    """Return True if a hint is a nested output class."""
    return isinstance(hint, type) and _types.is_output_type(hint)


@functools.cache
def hints_of(nested: type) -> Mapping[str, Any]:
    """Return wire names and hints of a nested class, input or output."""
    if _types.is_input_type(nested):
        return _types.input_type_types(nested)
    return _types.output_type_types(nested)


@functools.cache
def required_of(arguments: type) -> frozenset[str]:
    """Return the wire names of an input class's arguments that have no default."""
    names = _types.input_type_py_to_pulumi_names(arguments)
    parameters = inspect.signature(arguments.__init__).parameters.values()  # type: ignore[misc]
    return frozenset(names[p.name] for p in parameters if p.name in names and p.default is inspect.Parameter.empty)


# A check of values against the SDK's types: unknown keys, missing ones, wrong kinds, values not in an enum.

Finding = tuple[str, str]
"""A path as the engine writes it, and what is wrong there."""

_KINDS: dict[Any, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def check(values: Mapping[str, Any], hints: Mapping[str, Any], required: frozenset[str]) -> Iterator[Finding]:
    """Yield everything wrong with a resource's plain inputs; values that are not known yet count as right."""
    yield from _object("", values, hints, required)


def _object(
    at: str, values: Mapping[str, Any], hints: Mapping[str, Any], required: frozenset[str]
) -> Iterator[Finding]:
    present = {key: value for key, value in values.items() if value is not None and not key.startswith("__")}
    for key in sorted(required - present.keys()):
        yield _below(at, key), "is missing and must be given"
    for key, value in present.items():
        if key in hints:
            yield from _value(_below(at, key), value, hints[key])
        else:
            yield _below(at, key), f"is not an input; there are: {', '.join(sorted(hints))}"


def _value(at: str, value: Any, hint: Any) -> Iterator[Finding]:
    if value is UNKNOWN:
        return
    choices = alternatives(hint)
    if any(_is_enum(choice) for choice in choices):
        # the SDKs accept any text for an enum; this must find a value that the API does not know
        choices = [choice for choice in choices if choice is not str]
    by_choice = [list(_one(at, value, choice)) for choice in choices]
    if by_choice and all(by_choice):
        # where several forms are possible, report the one that fits best
        yield from min(
            by_choice, key=lambda each: (sum("is not" in why and "but" in why for _, why in each), len(each))
        )


def alternatives(hint: Any) -> list[Any]:
    """Return the forms a value may take: a hint without the parts that only say it may come late or not at all."""
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
    if is_arguments(hint):
        if isinstance(value, Mapping):
            yield from _object(at, value, hints_of(hint), required_of(hint))
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
