"""Where the rules of the product are used, read out of the sources themselves."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from components.typed.refusal import Rule
from infra.stackfile.findings.registry import modules

PROJECT = Path(__file__).parents[2]
ROOMS = ("infra", "components")
SEVERITIES = ("error", "mandatory", "warning")
# what makes a finding of a rule, or takes the rule of those it makes
MAKERS = ("at", "refusal", "text", "pattern", "integer", "add", "_text_schema")


@cache
def names() -> dict[tuple[str, str], Rule]:
    """Every rule by the module that defines it and its name there."""
    return {
        (module.__name__, name): value
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, Rule)
    }


@dataclass(frozen=True)
class Use:
    """One finding that the sources make: ``scope`` is the outermost function or class it stands in."""

    rule: Rule
    file: str
    call: ast.Call
    scope: str
    severities: frozenset[str]


@cache
def sources() -> tuple[tuple[str, ast.Module], ...]:
    """Every file of the product, parsed."""
    files = [file for room in ROOMS for file in sorted((PROJECT / room).rglob("*.py"))]
    return tuple((str(file.relative_to(PROJECT)), ast.parse(file.read_text())) for file in files)


@cache
def uses() -> tuple[Use, ...]:
    """Every call that makes a finding of a named rule."""
    return tuple(use for file, tree in sources() for use in _uses_in(file, tree))


def _uses_in(file: str, tree: ast.Module) -> Iterator[Use]:
    known = names()
    imported = {
        alias.asname or alias.name: known[(node.module or "", alias.name)]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if (node.module or "", alias.name) in known
    }
    if not imported:
        return
    for top in tree.body:
        scope = getattr(top, "name", "")
        functions = [node for node in ast.walk(top) if isinstance(node, ast.FunctionDef)]
        for inner in [top, *functions]:
            for node in _own(inner):
                rule = _rule(node, imported)
                if rule is not None and isinstance(node, ast.Call):
                    yield Use(rule, file, node, scope, frozenset(_severities(node, inner) or {rule.severity}))


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from _own(child)


def _rule(node: ast.AST, imported: dict[str, Rule]) -> Rule | None:
    if not isinstance(node, ast.Call) or called(node) not in MAKERS:
        return None
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    arguments = [owner, *node.args[:3]]
    return next((imported[each.id] for each in arguments if isinstance(each, ast.Name) and each.id in imported), None)


def called(call: ast.Call) -> str:
    return str(getattr(call.func, "id", getattr(call.func, "attr", "")))


def severities() -> dict[str, set[str]]:
    """The severities that the sources give the findings of each code."""
    by_code: dict[str, set[str]] = defaultdict(set)
    for use in uses():
        by_code[use.rule.code] |= use.severities
    return dict(by_code)


def mentions() -> Counter[str]:
    """How often the sources use each name, its definition and imports apart; what is looked up by name counts."""
    names: Counter[str] = Counter()
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                names[node.id] += 1
            elif isinstance(node, ast.Attribute):
                names[node.attr] += 1
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                names[node.value] += 1
    return names


def _severities(call: ast.Call, scope: ast.AST) -> set[str]:
    values = [keyword.value for keyword in call.keywords if keyword.arg == "severity"]
    return {text for value in values for text in texts(value, scope) if text in SEVERITIES}


def texts(value: ast.expr, scope: ast.AST) -> set[str]:
    """The constant texts an argument can be, also through a variable of ``scope``; ``{}`` where a value is put in."""
    if isinstance(value, ast.Name):
        return {
            text
            for node in ast.walk(scope)
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            for name, assigned in _pairs(target, node.value)
            if name == value.id
            for text in texts(assigned, scope)
        }
    if isinstance(value, ast.JoinedStr):
        return {"".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in value.values)}
    if isinstance(value, ast.Constant):
        return {value.value} if isinstance(value.value, str) else set()
    if isinstance(value, ast.IfExp):
        return texts(value.body, scope) | texts(value.orelse, scope)
    return {text for node in ast.iter_child_nodes(value) if isinstance(node, ast.expr) for text in texts(node, scope)}


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """The names of an assignment, each with what it gets."""
    if isinstance(target, ast.Tuple):
        parts = value.elts if isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts) else None
        for index, one in enumerate(target.elts):
            yield from _pairs(one, parts[index] if parts else value)
    elif isinstance(target, ast.Name):
        yield target.id, value
