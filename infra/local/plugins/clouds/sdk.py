"""What the installed SDKs say of their types: inputs, outputs, and which inputs must be given.

The wheels carry no schema, but every input and output is a Python property with a type hint. The one private module of
the SDK that resolves those hints, ``pulumi._types``, is used here and nowhere else.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi import _types

from infra.local.plugins.late_imports import ONE_AT_A_TIME

_REGISTERED = re.compile(r'resource_modules="""(.*?)"""', re.DOTALL)


@dataclass(frozen=True)
class Shape:
    """One resource type: wire names to type hints, and the wire names that must be given."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    required: frozenset[str]


@functools.cache
def classes(package: str) -> dict[str, tuple[str, str]]:
    """Module and class of every type token of a package (``aws``, ``azure-native``, ``gcp``)."""
    spec = importlib.util.find_spec(module_of(package))
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module_of(package)} is not installed: install the project's extra for this cloud")
    found = _REGISTERED.search(Path(spec.origin).read_text())
    modules = json.loads(found.group(1)) if found else []
    return {token: (module["fqn"], name) for module in modules for token, name in module["classes"].items()}


def module_of(package: str) -> str:
    """The Python package of a Pulumi package."""
    return "pulumi_" + package.replace("-", "_")


def shape(token: str) -> Shape | None:
    """The shape of a type; None for a token that the SDK does not have."""
    with ONE_AT_A_TIME:
        return _shape(token)


@functools.cache
def _shape(token: str) -> Shape | None:
    place = classes(token.split(":", 1)[0]).get(token)
    if place is None:
        return None
    resource = getattr(importlib.import_module(place[0]), place[1])
    module = importlib.import_module(resource.__module__)
    # the SDKs say InitArgs where a nested input class has taken the plain name
    arguments = getattr(module, f"{place[1]}InitArgs", None) or getattr(module, f"{place[1]}Args")
    return Shape(hints_of(arguments), _types.resource_types(resource), required_of(arguments))


def provider_inputs(package: str) -> Mapping[str, Any]:
    """What a provider of the package can be configured with."""
    with ONE_AT_A_TIME:
        module = importlib.import_module(f"{module_of(package)}.provider")
        return hints_of(module.ProviderArgs)


def is_arguments(hint: Any) -> bool:
    """Whether a hint is a nested input class."""
    return isinstance(hint, type) and _types.is_input_type(hint)


def is_result(hint: Any) -> bool:
    """Whether a hint is a nested output class."""
    return isinstance(hint, type) and _types.is_output_type(hint)


@functools.cache
def hints_of(nested: type) -> Mapping[str, Any]:
    """Wire names and hints of a nested class, input or output."""
    if _types.is_input_type(nested):
        return _types.input_type_types(nested)
    return _types.output_type_types(nested)


@functools.cache
def required_of(arguments: type) -> frozenset[str]:
    """Wire names of the arguments of an input class that have no default."""
    names = _types.input_type_py_to_pulumi_names(arguments)
    given = inspect.signature(arguments.__init__).parameters.values()  # type: ignore[misc]
    return frozenset(names[p.name] for p in given if p.name in names and p.default is inspect.Parameter.empty)
