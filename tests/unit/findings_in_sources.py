"""Every number a finding of the product can have, with its severities, read out of the sources themselves."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]
ROOMS = ("infra/config", "infra/preflight", "infra/gate", "components")
SEVERITIES = ("error", "mandatory", "warning")
# where a number stands among the arguments of what makes a finding
MAKERS = {"Problem": 0, "refuse": 0, "text": 0, "whole": 0, "found": 0, "_text_schema": 2}
# These hand on a number that their caller gave, or that was read off a finding already made.
FORWARDERS = {
    ("components/typed/fields.py", "number"),
    ("components/typed/units.py", "number"),
    ("infra/config/cleartext.py", "number"),
    ("infra/config/load.py", "problem.number"),
    ("infra/config/translate.py", "int(kind[3:])"),
}


def numbers() -> tuple[dict[int, set[str]], list[str]]:
    """Severities by number; and the calls whose number this reading does not understand."""
    found: dict[int, set[str]] = defaultdict(set)
    strange: list[str] = []
    for room in ROOMS:
        for file in sorted((PROJECT / room).rglob("*.py")):
            tree, name = ast.parse(file.read_text()), str(file.relative_to(PROJECT))
            for scope, call in _makers(tree):
                argument = call.args[MAKERS[_called(call)]]
                number = _number(argument, tree)
                if number is not None:
                    found[number] |= _severities(call, scope)
                elif (name, ast.unparse(argument)) not in FORWARDERS and not _is_other(name, call):
                    strange.append(f"{name}:{call.lineno}: {ast.unparse(argument)}")
    if 48 in found:
        found[48] = {"mandatory"}  # decided inside `found` of infra/config/cleartext.py
    return dict(found), strange


def _called(call: ast.Call) -> str:
    return str(getattr(call.func, "id", getattr(call.func, "attr", "")))


def _makers(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.Call]]:
    """Each call that makes a finding, and the function it stands in."""
    for scope in [tree, *(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))]:
        for node in _own(scope):
            if isinstance(node, ast.Call) and _called(node) in MAKERS and len(node.args) > MAKERS[_called(node)]:
                yield scope, node


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from _own(child)


def _number(argument: ast.expr, tree: ast.Module) -> int | None:
    constants = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    given = constants.get(argument.id, argument) if isinstance(argument, ast.Name) else argument
    value = given.value if isinstance(given, ast.Constant) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_other(file: str, call: ast.Call) -> bool:
    """Functions of other rooms have these names as well: what they get first is no number."""
    return _called(call) in ("text", "found") or (file.startswith("infra/gate") and _called(call) != "Problem")


def _severities(call: ast.Call, scope: ast.AST) -> set[str]:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "severity"]
    given += [argument for argument in call.args[6:] if isinstance(argument, ast.Constant)]
    said = {text for value in given for text in _texts(value, scope)}
    return said or {"error"}


def _texts(value: ast.expr, scope: ast.AST) -> set[str]:
    if isinstance(value, ast.Name):
        return {
            text
            for node in ast.walk(scope)
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if ast.unparse(target) == value.id
            for text in _texts(node.value, scope)
        }
    return {
        node.value
        for node in ast.walk(value)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in SEVERITIES
    }
