"""Which room may import which: those below it only, so that none needs what it serves. Stand-ins are no part of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from infra.workspace import PROJECT

# from the ground up; docs/architecture.md says what each is for
ROOMS = (
    "components",
    "infra.workspace",
    "infra.redaction",
    "infra.errors",
    "infra.atomic_write",
    "infra.console",
    "infra.kube_client",
    "infra.served",
    "infra.stackfile",
    "infra.planner",
    "infra.policies",
    "infra.program",
    "infra.__main__",
    "infra.recorder",
    "infra.package",
    "infra.gate",
    "infra.catalog_refresh",
    "infra.lock",
    "infra.commands",
    "lab",
    "infra.bench",
    "infra.cli",
)
STAND_INS = ("lab.plugins", "lab.rehearsal")


def imported(file: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = file.relative_to(PROJECT).parts[: -node.level] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{each.name}" for each in node.names)


def imports(*folders: str) -> Iterator[tuple[str, str]]:
    """Each import as the importing file, from the project's root, and the imported name."""
    for folder in folders:
        for file in sorted((PROJECT / folder).rglob("*.py")):
            yield from ((file.relative_to(PROJECT).as_posix(), module) for module in imported(file))


def room(dotted: str) -> str | None:
    """The room that a module or a name in it belongs to; None for what is not this project's."""
    return next((each for each in ROOMS if f"{dotted}.".startswith(f"{each}.")), None)


def test_every_module_is_in_a_room() -> None:
    modules = {file.removesuffix(".py").replace("/", ".") for file, _ in imports("infra", "components", "lab")}
    assert {module for module in modules if room(module) is None} == set()
    assert {room(module) for module in modules} == set(ROOMS)


def test_a_room_imports_only_what_lies_below_it() -> None:
    wrong = [
        f"{file} imports {module}"
        for file, module in imports("infra", "components", "lab")
        if (other_room := room(module)) is not None
        and ROOMS.index(other_room) > ROOMS.index(room(file.removesuffix(".py").replace("/", ".")) or "")
    ]
    assert wrong == []


def test_product_code_imports_no_stand_in() -> None:
    imported = [*imports("infra", "components", "images", "recipes", "scripts")]
    assert {"infra/gate/diff.py", "infra/cli.py"} <= {file for file, _ in imported}
    wrong = [
        f"{file} imports {module}"
        for file, module in imported
        if f"{module}.".startswith(tuple(f"{each}." for each in STAND_INS))
    ]
    assert wrong == []
