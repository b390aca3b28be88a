"""The command ``ebbtide usage``: what was asked of a stack, by group, key, model and day."""

from __future__ import annotations

import csv
import io
import json

from infra.commands.keys import moment, table
from infra.commands.options import UsageOptions
from infra.console import console, say
from infra.errors import LocalProblem
from infra.served import access, accounts

_BY = ("group", "key", "model", "day")
_SUMS = ("requests", "answered", "tokens_in", "tokens_out", "tokens_cached", "uncounted", "wakes")


def run(options: UsageOptions) -> int:
    """Print the sums. Returns the exit status. Raises ``LocalProblem``."""
    by = tuple(options.by.split(",")) if options.by else ()
    if unknown := [name for name in by if name not in _BY]:
        raise LocalProblem(f"--by {unknown[0][:40]!r} is not known", f"some of {', '.join(_BY)}, with commas")
    at = access.find(options.stack, options.url, options.key, options.key_env)
    rows = accounts.usage(at, by, moment(options.since, ago=True), moment(options.until, ago=True))
    columns = (*by, *_SUMS)
    if options.format == "json":
        console.print(json.dumps({"usage": rows}, indent=1), markup=False, soft_wrap=True, highlight=False)
    elif options.format == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        console.print(text.getvalue(), end="", markup=False, soft_wrap=True, highlight=False)
    else:
        for line in table([columns, *([row.get(name) for name in columns] for row in rows)]):
            say(line)
    return 0
