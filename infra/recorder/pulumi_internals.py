"""Every use of Pulumi's SDK beyond its public interface, in one file: check it against each new version of the SDK."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import typing
from collections import abc
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast
from unittest import mock

import pulumi
from pulumi import _types
from pulumi.runtime import config as runtime_config
from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime import resource as runtime_resource
from pulumi.runtime import stack as runtime_stack
from pulumi.runtime.proto import resource_pb2, source_pb2

# a function of the same name hides the module
runtime_invoke = importlib.import_module("pulumi.runtime.invoke")

STACK_TYPE = "pulumi:pulumi:Stack"
SUCCESS = resource_pb2.Result.SUCCESS
SIGNATURE = rpc._special_sig_key
SECRET, RESOURCE = rpc._special_secret_sig, rpc._special_resource_sig
ASSET, ARCHIVE = rpc._special_asset_sig, rpc._special_archive_sig

# What a registration or a read says besides the graph's own fields, and what the SDK always says. All else is deny by
# default: a field that a later SDK adds shows up as an option until somebody has looked at it.
_ORDINARY = frozenset((
    "type", "name", "parent", "custom", "id", "object", "properties", "protect", "provider", "providers",
    "dependencies", "propertyDependencies", "deleteBeforeReplace", "deleteBeforeReplaceDefined",
    "ignoreChanges", "version", "acceptSecrets", "acceptResources", "additionalSecretOutputs", "customTimeouts",
    "aliases", "aliasURNs", "supportsPartialValues", "supportsResultReporting", "sourcePosition", "stackTrace",
    "replaceOnChanges", "retainOnDelete",
))  # fmt: skip

Monitor = mocks.MockMonitor
serialize = rpc.serialize_properties
InvokeResult = runtime_invoke.InvokeResult
run_function = runtime_stack.run_pulumi_func

Resolve = Callable[[Any, bool, bool, Any, Exception | None], None]


@dataclass(frozen=True)
class DeclaredType:
    """The SDK's declaration of a type: named ``properties`` (by the wire's names) of an input, output or resource
    class, else None; ``element`` is the type of a list's or mapping's values, None if it may be anything."""

    properties: Mapping[str, Any] | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    element: Any = None

    def wire_name(self, name: str) -> str | None:
        """Return the wire's name of a property given in either spelling; None if there is none."""
        known = self.properties or {}
        wire = self.names.get(name, name)
        return wire if wire in known else None


@cache
def declared(kind: Any) -> DeclaredType:
    """Return the shape of an SDK type; an empty one for a primitive, ``Any`` and None."""
    plain = _types.unwrap_type(kind) if kind is not None else None
    if inspect.isclass(plain):
        named = _named(plain)
        if named is not None:
            return named
    arguments = typing.get_args(plain)
    origin = typing.get_origin(plain)
    if origin in (list, abc.Sequence) and arguments:
        return DeclaredType(element=arguments[0])
    if origin in (dict, abc.Mapping) and len(arguments) == 2:
        return DeclaredType(element=arguments[1])
    return DeclaredType()


def declared_by(resource: pulumi.Resource) -> DeclaredType:
    """Return the shape of a resource's class."""
    return declared(cast(Any, type(resource)))


def _named(plain: type) -> DeclaredType | None:
    if issubclass(plain, pulumi.Resource):
        return DeclaredType(_types.resource_types(plain), _types.resource_py_to_pulumi_names(plain))
    if _types.is_output_type(plain):
        names = {python: wire for python, wire, _ in _types._py_properties(cast(Any, plain))}
        return DeclaredType(_types.output_type_types(plain), names)
    if _types.is_input_type(plain):
        return DeclaredType(_types.input_type_types(plain), _types.input_type_py_to_pulumi_names(plain))
    return None


def is_input_type(kind: Any) -> bool:
    """Return True if ``kind`` is one of the SDKs' ``…Args`` classes."""
    return inspect.isclass(kind) and _types.is_input_type(kind)


@cache
def hint(kind: type, wire: str) -> Any:
    """Return the declared type of one key of an ``…Args`` class, ``Output`` forms included; else ``Any``."""
    for _, name, prop in _types._py_properties(cast(Any, kind)):
        if name == wire and prop.fget is not None:
            known = {"Output": pulumi.Output, "T": type(None)}
            return typing.get_type_hints(prop.fget, _types._globals_for_cls(kind), known).get("return", Any)
    return Any


def instance_of(kind: type, values: Mapping[str, Any]) -> Any:
    """Build a provider function's result of type ``kind`` from ``values`` by the wire's names."""
    return _types.output_type_from_dict(kind, dict(values))


@cache
def resource_class(token: str) -> type | None:
    """Return the SDK class of a resource's type (``kubernetes:apps/v1:Deployment``); None if no SDK here has it."""
    package, _, rest = token.partition(":")
    if token.startswith("pulumi:providers:"):
        name = token.rpartition(":")[2]
        return cast(type, importlib.import_module(_module(name)).Provider) if _has(name) else None
    if not _has(package):
        return None
    importlib.import_module(_module(package))
    for registered in rpc._RESOURCE_MODULES.get(f"{package}:{rest.rpartition(':')[0]}", []):
        info = registered.mod_info  # type: ignore[attr-defined]
        name = info["classes"].get(token)
        if name is not None:
            return cast(type, getattr(importlib.import_module(info["fqn"]), name))
    return None


def _module(package: str) -> str:
    return "pulumi_" + package.replace("-", "_")


@cache
def _has(package: str) -> bool:
    return importlib.util.find_spec(_module(package)) is not None


@cache
def inputs_class(resource: type) -> type | None:
    """Return the ``…Args`` class of a resource class; None if there is none."""
    module = inspect.getmodule(resource)
    for name in (f"{resource.__name__}InitArgs", f"{resource.__name__}Args"):
        candidate = getattr(module, name, None)
        if is_input_type(candidate):
            return cast(type, candidate)
    return None


def project_context(stack: str, project: str, monitor: mocks.MockMonitor) -> None:
    """Connect the SDK to ``monitor`` in place of an engine, as in an update (every value is known)."""
    settings.SETTINGS.rpc_manager.clear()
    settings.SETTINGS.outputs.clear()
    settings.set_root_resource(cast(Any, None))
    mocks.set_mocks(monitor.mocks, project=project, stack=stack, preview=False, monitor=monitor)
    settings.SETTINGS.rpc_manager.clear()
    settings.SETTINGS.outputs.clear()


def set_beside(request: Any) -> list[str]:
    """Return the fields of a registration that are set, beyond those that every one has. The SDK also sends a message
    that is empty."""
    beside = {field.name: value for field, value in request.ListFields() if field.name not in _ORDINARY}
    return sorted(name for name, value in beside.items() if not hasattr(value, "ByteSize") or value.ByteSize())


@contextmanager
def configured(values: Mapping[str, str], secret: list[str]) -> Iterator[None]:
    """Set the stack's configuration for as long as the block runs."""
    before = dict(runtime_config.CONFIG.get())
    runtime_config.set_all_config(dict(values), secret)
    try:
        yield
    finally:
        runtime_config.set_all_config(before, [])


@contextmanager
def exporting(export: Callable[[str, Any], None]) -> Iterator[None]:
    """Replace ``pulumi.export`` by ``export`` within the block."""
    with mock.patch.object(pulumi, "export", export):
        yield


@contextmanager
def default_parent(resource: pulumi.Resource) -> Iterator[None]:
    """Make ``resource`` the parent of resources that name none within the block, as the stack is in a program."""
    before = settings.ROOT.set(resource)
    try:
        yield
    finally:
        settings.ROOT.reset(before)


AnswerResource = Callable[[pulumi.Resource, Any, Mapping[str, Resolve]], None]
AnswerFunction = Callable[[str, Any, type | None], typing.Awaitable[Any]]
Guard = Callable[[Callable[[Any], Any]], Callable[[Any], Any]]


@contextmanager
def answering(resource: AnswerResource, function: AnswerFunction, guard: Guard) -> Iterator[None]:
    """Replace the engine's answers within the block: ``resource`` resolves the outputs of a registered resource,
    ``function`` the result of a provider's function, and each ``apply`` runs through ``guard``."""
    apply = pulumi.Output.apply

    def resolve(res: Any, sent: Any, answer: Any, deps: Any, resolvers: Any, *rest: Any, **more: Any) -> None:
        resource(res, answer, resolvers)

    def called(
        tok: str, props: Any, opts: Any, typ: Any, package_ref: Any = None, check_dependencies: Any = None
    ) -> Any:
        return function(tok, props, typ)

    def guarded(self: Any, func: Any, run_with_unknowns: bool = False) -> Any:
        return apply(self, guard(func), run_with_unknowns)

    with ExitStack() as replaced:
        for owner, name, value in (
            (rpc, "resolve_outputs", resolve),
            (runtime_invoke, "_invoke", called),
            (pulumi.Output, "apply", guarded),
            # nothing is unknown here, and the search takes a tenth of the time
            (rpc, "contains_unknowns", lambda value: False),
            # only an engine's error messages need a trace of every constructor
            (runtime_resource, "_get_stack_trace", source_pb2.StackTrace),
        ):
            replaced.enter_context(mock.patch.object(owner, name, value))
        yield
