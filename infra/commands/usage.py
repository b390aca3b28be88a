"""The commands ``ebbtide usage`` and ``ebbtide cost``: what was asked of a stack and what that cost, by whom."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from infra.commands.keys import moment, table
from infra.commands.options import CostOptions, UsageOptions
from infra.console import console, say
from infra.errors import LocalProblem
from infra.served import access, accounts
from infra.served.access import Access

_BY = ("group", "key", "model", "day")
_USED = ("requests", "answered", "tokens_in", "tokens_out", "tokens_cached", "uncounted", "wakes")
_KINDS = ("serving", "wake", "idle", "keep_warm", "node")
_CHARGED = ("dollars", *_KINDS, "gpu_hours", "unpriced_gpu_hours")


def run(options: UsageOptions) -> int:
    """Print what was used. Returns the exit status. Raises ``LocalProblem``."""
    at, by = _asked(options)
    rows = accounts.usage(at, by, moment(options.since, ago=True), moment(options.until, ago=True))
    _print(options.format, "usage", (*by, *_USED), rows)
    return 0


def cost(options: CostOptions) -> int:
    """Print what nodes cost, by who caused it, with the sum. Returns the exit status. Raises ``LocalProblem``."""
    at, by = _asked(options)
    answer = accounts.cost(at, by, moment(options.since, ago=True), moment(options.until, ago=True))
    rows = [_with_stack(row, by) for row in answer["cost"]]
    columns = (*by, *_CHARGED)
    if options.format == "json":
        _print_text(json.dumps(answer, indent=1) + "\n")
        return 0
    if options.format == "text" and by:
        total = {name: round(sum(row[name] for row in rows), 6) for name in _CHARGED}
        rows = [*rows, {by[0]: "in all", **total}]
    _print(options.format, "cost", columns, rows)
    if options.format == "text":
        say(f"from {answer['since']} to {answer['until']}, in US dollars at the prices of the stack file")
    return 0


def _with_stack(row: Mapping[str, Any], by: Sequence[str]) -> dict[str, Any]:
    """Name what nobody caused: it is the stack's own."""
    return dict(row) | {name: "(stack)" for name in by if row.get(name) is None}


def _asked(options: UsageOptions) -> tuple[Access, tuple[str, ...]]:
    by = tuple(options.by.split(",")) if options.by else ()
    if unknown := [name for name in by if name not in _BY]:
        raise LocalProblem(f"--by {unknown[0][:40]!r} is not known", f"some of {', '.join(_BY)}, with commas")
    return access.find(options.stack, options.url, options.key, options.key_env), by


def _print(form: str, name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    if form == "json":
        _print_text(json.dumps({name: rows}, indent=1) + "\n")
    elif form == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        _print_text(text.getvalue())
    else:
        for line in table([columns, *([row.get(column) for column in columns] for row in rows)]):
            say(line)


def _print_text(text: str) -> None:
    console.print(text, end="", markup=False, soft_wrap=True, highlight=False)
