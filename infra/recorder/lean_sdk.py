"""The parts of a cloud's SDK that a program uses, and no others.

A package of an SDK imports all of its modules, of which a program uses one in twenty: most of a plan's time is theirs.
Here a package imports the module of a name when it is asked for it, and all of them where that is not the name's own.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_SDK = re.compile(r"pulumi_\w+\..+")
_EXPORTED = re.compile(r"^from \.(\w+) import \*$", re.MULTILINE)
# What else a package's file may have; with anything more it is run as it stands.
_KNOWN = re.compile(r"#.*|import \w+( as \w+)?|from \.+ import \w+|from \.\w+ import \*|")
_FEWEST = 5


class _Package(ModuleType):
    """A package whose modules are imported one by one."""

    def __setattr__(self, name: str, value: Any) -> None:
        # the import system puts a module here under its name, which may be that of the class in it
        own = vars(value).get(name) if isinstance(value, ModuleType) else None
        super().__setattr__(name, value if own is None else own)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("outputs", "_inputs", "_enums"):
            return importlib.import_module(f"{self.__name__}.{name}")
        for module in _likely(name, self.__dict__["_exporting"]):
            found = vars(importlib.import_module(f"{self.__name__}.{module}"))
            if name in found:
                setattr(self, name, found[name])
                return found[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def _likely(name: str, modules: Sequence[str]) -> Iterator[str]:
    """Yield the modules in the order in which they are likely to have ``name``."""
    bare = re.sub(r"(ArgsDict|Args|Result|_output)$", "", name).replace("_", "").lower()
    first = [module for module in modules if module.replace("_", "").lower() == bare]
    first += ["_inputs"] if "_inputs" in modules else []
    yield from first
    yield from (module for module in modules if module not in first)


class _Lean(Loader):
    def __init__(self, whole: Loader, exporting: tuple[str, ...]) -> None:
        self.whole, self.exporting = whole, exporting

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["_exporting"] = self.exporting
        module.__class__ = _Package


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not _SDK.fullmatch(name):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None or not spec.submodule_search_locations or spec.origin is None:
            return spec
        text = Path(spec.origin).read_text(encoding="utf-8")
        exporting = tuple(_EXPORTED.findall(text))
        if len(exporting) >= _FEWEST and all(_KNOWN.fullmatch(line) for line in text.splitlines()):
            spec.loader = _Lean(spec.loader, exporting)
        return spec


@contextmanager
def lean() -> Iterator[None]:
    """Import the packages of SDKs in parts, within the block; those that are there already stay whole."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
