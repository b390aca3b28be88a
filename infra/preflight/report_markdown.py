"""A plan as Markdown, for a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from infra.preflight.report_document import Document
from infra.preflight.report_tables import Table, heading, tables, verdict

_FOLDED = frozenset({"Resources", "Time-outs from the client to the engine, in seconds"})


def markdown(document: Document) -> str:
    """The whole text."""
    return "\n".join(_parts(document)).rstrip() + "\n"


def _parts(document: Document) -> Iterator[str]:
    yield f"## Plan of {_cell(heading(document))}\n"
    yield f"**{verdict(document)}**\n"
    if document["findings"]:
        yield "| | where | what | allowed | fix |\n|---|---|---|---|---|"
        for each in document["findings"]:
            what = f"{each['value']} {each['message']}" if each["value"] is not None else each["message"]
            code = f"{each['code']} {each['severity']}"
            cells = (code, f"`{each['path'] or each['file']}`", what, each["allowed"], each["fix"])
            yield "| " + " | ".join(map(_cell, cells)) + " |"
        yield ""
    for table in tables(document):
        yield from _table(table)
    for note in document["notes"]:
        yield f"> {_cell(note)}\n"


def _table(table: Table) -> Iterator[str]:
    folded = table.title in _FOLDED
    yield f"<details><summary>{table.title}</summary>\n" if folded else f"### {_cell(table.title)}\n"
    if table.rows:
        yield "| " + " | ".join(map(_cell, table.columns)) + " |"
        yield "|" + "|".join("---:" if index in table.right else "---" for index in range(len(table.columns))) + "|"
        for row in table.rows:
            yield "| " + " | ".join(map(_cell, row)) + " |"
        yield ""
    if table.below:
        yield f"{'<br>'.join(map(_cell, table.below.splitlines()))}\n"
    if folded:
        yield "</details>\n"


def _cell(text: str) -> str:
    """Nothing of a value may become a table's edge or a tag."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
