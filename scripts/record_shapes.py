"""Recorder of the shapes that this product makes: every type, and every field of it with the words that stand in it.

``python -m scripts.record_shapes`` rewrites ``infra/policies/shapes.yaml`` from the graphs of the shipped stacks and of
the variants in ``shape_variants.yaml``. It needs every cloud's SDK (``make setup-all``).
"""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from infra.policies.inputs import HIDDEN
from infra.policies.model import graph_of
from infra.policies.shapes import FILE, leaves, word
from scripts.shape_graphs import Entry, files, recorded

_HEAD = """\
# What this product asks for: every type of resource, and of each its fields with the words that stand in them. A policy
# (known-shape) takes everything else for foreign. Written by `python -m scripts.record_shapes`, never edited: what a
# team allows besides stands in settings.yaml.
# `${{}}`: it comes from another resource of the stack; `[secret]`: it may be hidden. No words: any value will do.
date: {date}
source: graphs of the shipped stacks and of the variants in scripts/shape_variants.yaml
"""
_WIDTH = 120
Fields = Mapping[str, Sequence[str]]


def shapes_of(graphs: Iterable[Sequence[Entry]]) -> tuple[list[str], dict[str, Fields]]:
    """Return the components' types, and each resource's type with its fields and their words."""
    components: set[str] = set()
    types: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for entries in graphs:
        for entry, resource in zip(entries, graph_of(entries, None).resources, strict=True):
            if not entry["custom"]:
                components.add(resource.type)
                continue
            fields = types[resource.type]
            for leaf in leaves(resource.type, resource.inputs.raw):
                fields[leaf.shape] |= {word(leaf.value)} if leaf.is_word or leaf.value == HIDDEN else set()
    return sorted(components), {
        kind: {path: sorted(words) for path, words in sorted(fields.items())} for kind, fields in sorted(types.items())
    }


def text(components: Sequence[str], types: Mapping[str, Fields], date: str) -> str:
    """Return the file."""
    return "\n".join([*_lines(components, types, date), ""])


def _lines(components: Sequence[str], types: Mapping[str, Fields], date: str) -> Iterator[str]:
    yield _HEAD.format(date=date).rstrip()
    yield from _wrapped("components", components, "")
    yield "types:"
    for kind, fields in types.items():
        yield f"  {_quoted(kind)}:"
        for path, words in fields.items():
            yield from _wrapped(_quoted(path), words, "    ")


def _wrapped(key: str, words: Sequence[str], indent: str) -> Iterator[str]:
    if not words:
        yield f"{indent}{key}:"
        return
    line = f"{indent}{key}: ["
    for index, each in enumerate(words):
        part = _quoted(each) + ("]" if index == len(words) - 1 else ",")
        if len(line) + len(part) > _WIDTH - 1:
            yield line.rstrip()
            line = f"{indent}  "
        line += f"{part} "
    yield line.rstrip()


def _quoted(value: str) -> str:
    plain = value.replace("_", "").replace("-", "").replace(".", "").replace("/", "").isalnum() and value[0].isalpha()
    return value if plain and value.lower() not in ("true", "false", "null", "none", "yes", "no") else json.dumps(value)


def main() -> None:
    """Record all graphs and write the file."""
    graphs: list[Any] = [recorded(stack, config) for stack, config in files()]
    components, types = shapes_of(graphs)
    FILE.write_text(text(components, types, datetime.date.today().isoformat()), encoding="utf-8")
    print(f"{FILE}: {len(types)} types, {sum(map(len, types.values()))} fields, from {len(graphs)} graphs")


if __name__ == "__main__":
    main()
