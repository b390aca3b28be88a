"""Whatever two parts of the product must agree on stands in one place: no second parser, list of flags or price."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(file for folder in ("infra", "components", "lab") for file in (ROOT / folder).rglob("*.py"))

Find = Callable[[ast.Module], Iterator[str]]

TIME, SIZE = ({"s", "m"}, {"m", "h"}), ({"Ki", "Mi"}, {"Mi", "Gi"})


def unit_tables(units: tuple[set[str], ...]) -> Find:
    """Dictionaries from units to numbers, and regular expressions with a choice of units: the marks of a parser."""

    def find(tree: ast.Module) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                keys = {key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
                numbers = [v for v in node.values if isinstance(v, (ast.Constant, ast.BinOp))]
                if len(numbers) == len(node.values) and any(some <= keys for some in units):
                    yield f"{node.lineno}: a table of units {sorted(keys)}"
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                choices = [
                    set(m[1].split("|")) for m in re.finditer(r"\(\??:?([A-Za-z|]+)\)", node.value) if "|" in m[1]
                ]
                letters = [set(m[1]) for m in re.finditer(r"\[([a-zA-Z]{2,4})\]", node.value)]
                if any(some <= chosen for chosen in [*choices, *letters] for some in units):
                    yield f"{node.lineno}: a pattern of units {node.value!r}"

    return find


def parsers_named(*words: str) -> Find:
    """Functions that by their name turn text into a duration or a size."""

    def find(tree: ast.Module) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and re.fullmatch(rf"_?(parse|read)?_?({'|'.join(words)})", node.name):
                called = {ast.unparse(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
                if called & {"re.match", "re.fullmatch"} or "isdigit" in ast.unparse(node):
                    yield f"{node.lineno}: {node.name} takes a text apart"

    return find


def flag_lists(tree: ast.Module) -> Iterator[str]:
    """Collections of at least five flags of the engine's command line that settings decide."""
    from components.model_service.managed_flags import MANAGED_FLAGS, MANAGED_VARIABLES

    for node in ast.walk(tree):
        if isinstance(node, (ast.Dict, ast.Set, ast.List, ast.Tuple)):
            parts = node.keys if isinstance(node, ast.Dict) else node.elts
            texts = {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
            for known in (MANAGED_FLAGS, MANAGED_VARIABLES):
                if len(texts & known.keys()) >= 5:
                    yield f"{node.lineno}: {sorted(texts & known.keys())[:5]} …"


def price_of_a_region(tree: ast.Module) -> Iterator[str]:
    """Functions that look up what a machine costs in one region."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and re.search(r"\.prices(\.get\(|\[)", ast.unparse(node)):
            yield f"{node.lineno}: {node.name}"


def elsewhere(find: Find, allowed: set[str]) -> list[str]:
    return [
        f"{file.relative_to(ROOT)}:{hit}"
        for file in FILES
        if str(file.relative_to(ROOT)) not in allowed
        for hit in find(ast.parse(file.read_text(encoding="utf-8")))
    ]


UNITS = "components/typed/units.py"
# The environment that the component sets, by the names of the list.
SETS_THEM = {"components/model_service/managed_flags.py", "components/model_service/arguments.py"}


@pytest.mark.parametrize(
    ("what", "find", "home"),
    [
        ("durations", unit_tables(TIME), {UNITS}),
        ("sizes", unit_tables(SIZE), {UNITS}),
        ("managed flags", flag_lists, SETS_THEM),
    ],
)
def test_a_parser_or_a_list_stands_once(what: str, find: Find, home: set[str]) -> None:
    assert elsewhere(find, home) == [], f"a second place for {what}; the first is {', '.join(sorted(home))}"
    assert any(list(find(ast.parse((ROOT / file).read_text()))) for file in home), "what is looked for is not there"


@pytest.mark.parametrize(
    "find", [parsers_named("seconds", "duration"), parsers_named("size", "bytes"), parsers_named("version", "numbers")]
)
def test_no_other_function_is_named_like_a_parser_and_takes_a_text_apart(find: Find) -> None:
    assert elsewhere(find, {UNITS, "components/catalog/versions.py"}) == []


def test_one_function_looks_up_the_price_of_a_node() -> None:
    # `fit` asks for the price of a machine that no pool names; what stands without nodes has lists of its own
    assert len(elsewhere(price_of_a_region, {"infra/planner/sizing/fit.py", "components/platforms/standing.py"})) == 1


@pytest.mark.parametrize(
    ("source", "find"),
    [
        ('_U = {"s": 1, "m": 60, "h": 3600, "d": 86400}', unit_tables(TIME)),
        ('P = re.compile("([0-9]+)([smh])")', unit_tables(TIME)),
        ('P = re.compile(r"(\\\\d+)\\\\s*(Ki|Mi|Gi|k|M)?B?")', unit_tables(SIZE)),
        ('S = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}', unit_tables(SIZE)),
        ("def seconds(v):\n    return float(v) if v.isdigit() else None", parsers_named("seconds")),
        ('F = ("--model", "--revision", "--host", "--port", "--uds")', flag_lists),
        ("def price(m, r):\n    return m.prices.get(r).on_demand", price_of_a_region),
    ],
)
def test_a_second_one_would_be_found(source: str, find: Find) -> None:
    assert list(find(ast.parse(source)))
