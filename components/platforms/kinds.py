"""The kinds of place, each with its folder. Readers of a stack file iterate over them and name none.

A folder holds ``settings.py`` (its part of the stack file, without any provider's SDK), ``judge.py`` (checks between
those settings and the pools, where there are any), ``rules.py`` (its own findings), ``standing.py`` (what it bills
while every model sleeps, if it bills anything), ``doctor.py`` (what it is asked before a first deploy) and
``platform.py`` (the component, and ``build``). Each is imported only when it is needed: the SDK of one place costs
seconds, and no other place needs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, get_args

from components.typed.fields import StackModel
from components.typed.refusal import Problem

if TYPE_CHECKING:
    from components.platforms.checkup import Checks
    from components.platforms.contract import About, Platform, PoolRequest
    from components.platforms.standing import Standing, StandingFacts

    Judge = Callable[["PlaceSettings", Mapping[str, PoolRequest], str], Iterator[Problem]]
    Build = Callable[["PlaceSettings", Mapping[str, PoolRequest], About], Platform]
    Stands = Callable[["PlaceSettings", StandingFacts], Standing]


class PlaceSettings(Protocol):
    """The settings that all places have in common; the class of one place is a ``Shape`` with these and more."""

    @property
    def kind(self) -> str:
        """Return the word behind ``kind:`` in the stack file."""
        ...

    @property
    def region(self) -> str | None:
        """Return the region where its machines are bought; None where the place buys none."""
        ...

    @property
    def ignores_order(self) -> str | None:
        """Return why new nodes may not come in a model's order of pools; None where they do."""
        ...


STORE_VARIABLES = ("AWS_REGION", "AZURE_STORAGE_ACCOUNT_NAME")
"""Environment variables for reaching the places' model stores; each place sets its own for the engine."""


@dataclass(frozen=True)
class Kind:
    """One kind of place. ``makes_nodes``: its pools are made from machines of the catalogue; else their nodes exist
    already, identified by name or label. ``gpu_layer`` is the source of its GPU software unless the stack file names
    another."""

    name: str
    makes_nodes: bool
    gpu_layer: str = "helm"

    @property
    def package(self) -> str:
        return f"{__package__}.{self.name}"

    def has(self, module: str) -> bool:
        """Return True if its folder holds this module."""
        return (Path(__file__).parent / self.name / f"{module}.py").is_file()

    def settings(self) -> type[StackModel]:
        """Return the class in its ``settings.py`` whose ``kind`` is this one's name."""
        module = importlib.import_module(f"{self.package}.settings")
        for value in vars(module).values():
            field = value.model_fields.get("kind") if _is_stack_model(value) else None
            if field is not None and get_args(field.annotation) == (self.name,):
                return cast("type[StackModel]", value)
        raise TypeError(f"{self.package}.settings has no StackModel with kind: Literal[{self.name!r}]")

    def judge(self) -> Judge | None:
        """Return the rules of its ``judge.py``; None where it has none."""
        if not self.has("judge"):
            return None
        return cast("Judge", importlib.import_module(f"{self.package}.judge").judge)

    def inspect_machine(self, settings: PlaceSettings) -> Iterator[Problem]:
        """Yield what ``inspect_machine`` of its ``judge.py`` finds before anything is made: a kubeconfig's context, a
        missing program."""
        if self.judge() is not None:
            module = importlib.import_module(f"{self.package}.judge")
            yield from getattr(module, "inspect_machine", _nothing)(settings)

    def standing(self) -> Stands | None:
        """Return the function of its ``standing.py`` that counts what is billed while every model sleeps; None where
        nothing is."""
        if not self.has("standing"):
            return None
        return cast("Stands", importlib.import_module(f"{self.package}.standing").standing)

    def doctor(self) -> Checks | None:
        """Return the function of its ``doctor.py`` that yields what to ask the place; None where nothing is."""
        if not self.has("doctor"):
            return None
        return cast("Checks", importlib.import_module(f"{self.package}.doctor").checks)

    def build(self) -> Build:
        """Return the function that makes the place; this imports its provider's SDK."""
        return cast("Build", importlib.import_module(f"{self.package}.platform").build)


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("local", makes_nodes=False, gpu_layer="existing"),
        Kind("existing", makes_nodes=False, gpu_layer="existing"),
        Kind("aws", makes_nodes=True),
        Kind("azure", makes_nodes=True),
        Kind("gcp", makes_nodes=True),
    )
}


def _is_stack_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, StackModel)


def _nothing(settings: PlaceSettings) -> tuple[Problem, ...]:
    return ()


def kind_of(settings: Any) -> Kind:
    """Return the kind of a place's settings."""
    return KINDS[settings.kind]


def settings_classes() -> tuple[type[StackModel], ...]:
    """Return the settings classes of all places, in the order of ``KINDS``."""
    return tuple(kind.settings() for kind in KINDS.values())
