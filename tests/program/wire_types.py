"""Recorded inputs against the SDKs' own types: a recorder accepts what a provider would refuse.

``wrong_inputs(type, inputs)`` gives a sentence for each thing that is wrong: an unknown key (with the nearest and all
that are allowed), a value of another type, a word that is not one of an enumeration's, a required key that is missing.
Late values (``${URN#property}``) and secrets fit everywhere. What no SDK here declares (custom resources of a cluster,
the project's own components) gives none.
"""

from __future__ import annotations

import collections.abc
import difflib
import enum
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pulumi

from infra.recorder import pulumi_internals
from infra.recorder.unknown_outputs import joined

_LATE = re.compile(r"\$\{[^}]+#[^}]+\}")
_MAPPINGS = (collections.abc.Mapping, dict)


def wrong_inputs(token: str, inputs: Mapping[str, Any]) -> list[str]:
    """What is wrong with the ``inputs`` (as a graph has them) of a resource of type ``token``."""
    resource = pulumi_internals.resource_class(token)
    kind = pulumi_internals.inputs_class(resource) if resource is not None else None
    if kind is None:
        return []
    given_inputs = _provider_inputs(inputs, kind) if token.startswith("pulumi:providers:") else inputs
    return list(_members(given_inputs, kind, ""))


def wrong_in(resources: list[dict[str, Any]]) -> list[str]:
    """The same over a whole graph, each sentence beginning with the resource."""
    return [
        f"{entry['type']} {entry['name']}: {sentence}"
        for entry in resources
        if entry["custom"] and not entry.get("external")
        for sentence in wrong_inputs(entry["type"], entry["inputs"])
    ]


def wrong_value(value: Any, hint: Any, at: str) -> list[str]:
    """What is wrong with one value, as an SDK's type ``hint`` declares it."""
    return list(_value(value, hint, at))


def checkable(token: str) -> bool:
    """Whether an SDK declares this type, so that no sentence means no fault."""
    resource = pulumi_internals.resource_class(token)
    return resource is not None and pulumi_internals.inputs_class(resource) is not None


def _provider_inputs(inputs: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """To a provider everything that is not text goes as JSON in a text."""
    return {
        key: value if str in alternatives(pulumi_internals.hint(kind, key)) else _parsed(value)
        for key, value in inputs.items()
    }


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value)
    except (ValueError, TypeError):
        return value


def _members(value: Mapping[str, Any], kind: type, at: str) -> Iterator[str]:
    types = pulumi_internals.declared(kind).properties or {}
    for key, item in value.items():
        path = joined(at, key)
        if key not in types:
            near = difflib.get_close_matches(key, types, 1, 0.5)
            meant = f", perhaps {near[0]}" if near else ""
            yield f"{path}: {_name(kind)} has no key {key}{meant}; allowed: {', '.join(sorted(types))}"
        else:
            yield from _value(item, pulumi_internals.hint(kind, key), path)
    for key in sorted(required(kind) - set(value)):
        yield f"{joined(at, key)}: is missing, and {_name(kind)} requires it"


def _value(value: Any, hint: Any, at: str) -> Iterator[str]:
    if value is None or _fits_everywhere(value):
        return
    options = alternatives(hint)
    if not options:
        return
    tried = [list(_one(value, option, at)) for option in options]
    if all(tried):
        # the one that came closest is the one that was meant
        best = max(range(len(options)), key=lambda n: (_suits(value, options[n]), -len(tried[n])))
        yield from tried[best] if _suits(value, options[best]) else [_expected(value, options, at)]


def _one(value: Any, kind: Any, at: str) -> Iterator[str]:
    if not _suits(value, kind):
        yield _expected(value, [kind], at)
    elif pulumi_internals.is_input_type(kind):
        yield from _members(value, kind, at)
    elif inspect.isclass(kind) and issubclass(kind, enum.Enum):
        allowed = [member.value for member in kind]
        if value not in allowed:
            yield f"{at}: is {value!r}; allowed: {', '.join(map(str, allowed))}"
    elif typing.get_origin(kind) is typing.Literal:
        if value not in typing.get_args(kind):
            yield f"{at}: is {value!r}; allowed: {', '.join(map(str, typing.get_args(kind)))}"
    else:
        yield from _contents(value, kind, at)


def _contents(value: Any, kind: Any, at: str) -> Iterator[str]:
    arguments = typing.get_args(kind)
    if isinstance(value, list) and arguments:
        for index, item in enumerate(value):
            yield from _value(item, arguments[0], f"{at}[{index}]")
    elif isinstance(value, dict) and len(arguments) == 2:
        for key, item in value.items():
            yield from _value(item, arguments[1], joined(at, key))


def _suits(value: Any, kind: Any) -> bool:
    """Whether the value is of the right sort, whatever is in it."""
    origin = typing.get_origin(kind) or kind
    if origin in (Any, object):
        return True
    if pulumi_internals.is_input_type(kind) or origin in (dict, collections.abc.Mapping):
        return isinstance(value, dict)
    if origin in (list, collections.abc.Sequence):
        return isinstance(value, list)
    if origin is typing.Literal:
        return isinstance(value, tuple({type(choice) for choice in typing.get_args(kind)}))
    if inspect.isclass(kind) and issubclass(kind, enum.Enum):
        return isinstance(value, str if issubclass(kind, str) else (int, float))
    if kind is bool:
        return isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is str:
        return isinstance(value, str)
    return True  # a file or an archive


def alternatives(hint: Any) -> list[Any]:
    """The types an input may have, without the forms that are late. Empty: any. Where an enumeration stands beside
    text (an API that may learn further words), the words known today count."""
    if pulumi_internals.is_input_type(hint):
        return [hint]
    origin = typing.get_origin(hint)
    if origin is pulumi.Output or origin is collections.abc.Awaitable or hint is type(None):
        return []
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return [] if hint is Any else [hint]
    members = typing.get_args(hint)
    options = [option for member in members for option in alternatives(member)]
    if any(member is Any for member in members):
        return []
    if any(map(pulumi_internals.is_input_type, options)):  # the mapping beside it is the same in another form
        options = [option for option in options if typing.get_origin(option) not in _MAPPINGS]
    if any(inspect.isclass(option) and issubclass(option, enum.Enum) for option in options):
        options = [option for option in options if option is not str]
    return list(dict.fromkeys(options))


@cache
def required(kind: type) -> frozenset[str]:
    """The keys, on the wire, without which an ``…Args`` class cannot be made."""
    names = pulumi_internals.declared(kind).names
    parameters = inspect.signature(kind).parameters.values()
    return frozenset(names[p.name] for p in parameters if p.default is inspect.Parameter.empty and p.name in names)


def _fits_everywhere(value: Any) -> bool:
    return isinstance(value, str) and (value == "[secret]" or _LATE.search(value) is not None)


def _expected(value: Any, kinds: list[Any], at: str) -> str:
    sort = {dict: "a mapping", list: "a list", str: "text"}.get(type(value), type(value).__name__)
    return f"{at}: is {sort}; allowed: {' or '.join(map(_name, kinds))}"


def _name(kind: Any) -> str:
    if kind is str:
        return "text"
    return getattr(kind, "__name__", None) or str(kind).replace("typing.", "")
