"""What product code may import: the stand-ins that the local stack and the tests run on are no part of the product."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from infra.workspace import PROJECT

STAND_INS = ("lab.plugins", "lab.rehearsal")
# the local stack starts the stand-ins; all else is product code
LOCAL = PROJECT / "infra" / "local"


def imported(file: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = file.relative_to(PROJECT).parts[: -node.level] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{each.name}" for each in node.names)


def test_product_code_imports_no_stand_in() -> None:
    files = [
        file
        for folder in ("infra", "components", "images", "recipes")
        for file in sorted((PROJECT / folder).rglob("*.py"))
        if not file.is_relative_to(LOCAL)
    ]
    assert {"infra/gate/diff.py", "infra/cli.py"} <= {str(file.relative_to(PROJECT)) for file in files}
    wrong = [
        f"{file.relative_to(PROJECT)} imports {module}"
        for file in files
        for module in imported(file)
        if f"{module}.".startswith(tuple(f"{each}." for each in STAND_INS))
    ]
    assert wrong == []
