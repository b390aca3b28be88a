"""Recorder of the flags that an engine's own parser takes, from its source, without importing the engine.

``python -m scripts.record_engine_flags FOLDER VERSION`` reads the package's folder and rewrites the list that the rules
for ``extraArgs`` read (``FILE``). A flag's kind says what follows it: ``switch`` nothing, and it has a ``--no-`` form;
``alone`` nothing; ``value``, ``number``, ``json`` one; ``values`` one or more; ``perhaps`` one or none.
"""

from __future__ import annotations

import ast
import datetime
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from infra.workspace import PROJECT

FILE = PROJECT / "components" / "catalog" / "engine_flags.json"
ENGINE, FRONTEND, CONFIGS = "engine/arg_utils.py", "entrypoints/launchers/cli_args.py", "config"
Fields = Mapping[str, Mapping[str, str]]
# What the engine's own parser makes of a field, where its source gives it by hand or by a name for a type;
# ``tests/lab/test_engine_flags.py`` holds the whole record against that parser.
BY_HAND = {
    **dict.fromkeys(
        ("--allowed-origins", "--allowed-methods", "--allowed-headers", "--custom-histogram-buckets"), "json"
    ),
    **dict.fromkeys(("--hf-overrides", "--limit-mm-per-prompt", "--logging-config"), "json"),
    "--middleware": "value",
    "--max-lora-rank": "number",
}


def fields(folder: Path) -> Fields:
    """Return the annotation of every field of every class of the engine's settings."""
    files = [*sorted((folder / CONFIGS).rglob("*.py")), folder / FRONTEND]
    by_class: dict[str, dict[str, str]] = {}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                own = {
                    each.target.id: ast.unparse(each.annotation)
                    for each in node.body
                    if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
                }
                by_class.setdefault(node.name, {}).update(own)
    return by_class


def kind(annotation: str) -> str:
    """Return the kind of a field of this type, as the engine's ``get_kwargs`` decides."""
    names = set(re.findall(r"[A-Za-z_]+", annotation))
    if names & {"bool"}:
        return "perhaps" if names == {"bool", "str", "None"} else "switch"
    if re.search(r"\b(list|tuple|set)\[", annotation) and "Literal" not in names - {"Literal"}:
        return "values"
    if names & {"int", "float"} and not names & {"str", "dict", "Literal"}:
        return "number"
    return "json" if "dict" in names or any(name.endswith("Config") for name in names) else "value"


def recorded(folder: Path, version: str, today: str) -> dict[str, object]:
    """Return the record of the package in ``folder``."""
    flags: dict[str, str] = {}
    short: dict[str, str] = {}
    known = fields(folder)
    for names, flag_kind in (*_written(folder / ENGINE, known), *_written(folder / FRONTEND, known), *_frontend(known)):
        (long,) = [name for name in names if name.startswith("--")][:1] or [""]
        if long:
            flags[long] = BY_HAND.get(long, flag_kind)
            short |= {name: long for name in names if name != long}
    return {
        "engine": "vllm",
        "version": version,
        "recordedOn": today,
        "source": f"vllm {version}, {ENGINE} and {FRONTEND}",
        "flags": dict(sorted(flags.items())),
        "other": dict(sorted(short.items())),
    }


def _written(file: Path, known: Fields) -> Iterator[tuple[list[str], str]]:
    """Yield the names and the kind of each flag that is added by a call of its own."""
    tree = ast.parse(file.read_text())
    classes = {
        node.targets[0].id: node.value.args[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) == "get_kwargs"
        and isinstance(node.value.args[0], ast.Name)
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        names = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        if node.func.attr == "add_argument" and names and names[0].startswith("-"):
            yield names, _kind_of_call(node, classes, known)


def _kind_of_call(call: ast.Call, classes: Mapping[str, str], known: Fields) -> str:
    arguments = {each.arg: ast.unparse(each.value) for each in call.keywords if each.arg}
    action = arguments.get("action", "")
    if "store_true" in action:
        return "alone"
    if "BooleanOptionalAction" in action:
        return "switch"
    if arguments.get("type") in ("int", "float"):
        return "number"
    # **config_kwargs["field"], or a copy of that with other defaults
    for node in (node for each in call.keywords if each.arg is None for node in ast.walk(each.value)):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in classes:
            owner, field = classes[node.value.id], ast.literal_eval(node.slice)
            if annotation := known.get(owner, {}).get(field):
                return kind(annotation)
    return "value"


def _frontend(known: Fields) -> Iterator[tuple[list[str], str]]:
    for name in ("BaseFrontendArgs", "FrontendArgs"):
        for field, annotation in known[name].items():
            yield [f"--{field.replace('_', '-')}"], kind(annotation)


def main(folder: str, version: str) -> None:
    """Rewrite the list."""
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    FILE.write_text(json.dumps(recorded(Path(folder), version, today), indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
