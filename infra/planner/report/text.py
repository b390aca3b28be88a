"""A plan for a terminal: as wide as the terminal, in colour unless ``NO_COLOR`` is set or the output is no terminal."""

from __future__ import annotations

import io
from collections import Counter

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table as Drawn
from rich.text import Text

from infra.planner.report.document import Document
from infra.planner.report.tables import Table, heading, tables, verdict

WIDTH_OF_A_FILE = 140
_COLOURS = {"error": "bold red", "mandatory": "bold magenta", "warning": "yellow"}
_VERDICTS = {"clean": "bold green", "warnings": "bold yellow", "errors": "bold red"}


def written(document: Document) -> str:
    """Return the plan without colour, for a file."""
    into = io.StringIO()
    show(document, Console(file=into, width=WIDTH_OF_A_FILE, no_color=True, color_system=None, highlight=False))
    return "\n".join(line.rstrip() for line in into.getvalue().splitlines()) + "\n"


def show(document: Document, console: Console) -> None:
    """Print the plan on ``console``."""
    console.print(Text(f"Plan of {heading(document)}", style="bold"))
    console.print(Text(verdict(document), style=_VERDICTS[document["verdict"]]))
    for table in tables(document):
        if table.title == "Resources":
            continue  # dozens of lines; below as one line
        console.print()
        console.print(Text(table.title, style="bold"))
        drawn = _drawn(table) if _least_width(table) <= console.width else None
        wide = console.options.update(width=10_000)
        if table.rows and drawn is not None and Measurement.get(console, wide, drawn).maximum <= console.width:
            console.print(drawn)
        elif table.rows:
            _stacked(table, console)
        if table.below:
            console.print(Text(table.below, style="dim"))
    _resources(document, console)
    _findings(document, console)
    for note in document["notes"]:
        console.print(Text(f"note: {note}", style="dim"))


def _drawn(table: Table) -> Drawn:
    drawn = Drawn(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for index, column in enumerate(table.columns):
        right = index in table.right
        drawn.add_column(Text(column), justify="right" if right else "left", overflow="fold", no_wrap=True)
    for row in table.rows:
        style = "bold red" if row[-1] == "NO" else None
        drawn.add_row(*(Text(cell) for cell in row), style=style)
    return drawn


def _stacked(table: Table, console: Console) -> None:
    """Print each row under its first cell, for a terminal narrower than the table."""
    parts: list[Text | Padding] = []
    for row in table.rows:
        line = "  ".join(f"{name} {cell}" for name, cell in zip(table.columns[1:], row[1:], strict=True) if cell)
        parts += [Text(row[0] or table.columns[0], style="bold cyan"), Padding(Text(line), (0, 0, 0, 2))]
    console.print(Group(*parts))


def _least_width(table: Table) -> int:
    """Return the sum of the columns' widest cells: a table that this is too much for is never drawn, nor measured."""
    return sum(max(map(cell_len, column)) for column in zip(table.columns, *table.rows, strict=True))


def _resources(document: Document, console: Console) -> None:
    graph = document["graph"]
    if graph is None:
        return
    rooms: Counter[str] = Counter()
    for kind, number in graph["by_type"].items():
        rooms[kind.partition(":")[0]] += number
    parts = ", ".join(f"{room} {number}" for room, number in rooms.most_common())
    console.print()
    console.print(Text.assemble(("Resources", "bold"), f"  {graph['resources']}: {parts}"))


def _findings(document: Document, console: Console) -> None:
    if not document["findings"]:
        return
    console.print()
    console.print(Text("Findings", style="bold"))
    for each in document["findings"]:
        head = Text.assemble(
            (f"{each['code']} {each['severity']}", _COLOURS[each["severity"]]),
            (f"  {each['path'] or each['file']}", "bold"),
        )
        console.print(head)
        what = f"{each['value']} {each['message']}" if each["value"] is not None else each["message"]
        console.print(Text(f"  {what}"))
        console.print(Text(f"  allowed: {each['allowed']}"))
        console.print(Text(f"  fix: {each['fix']}"))
