"""A plan as one self-contained page: pictures without a script, a font or an image from elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from infra.preflight import report_words
from infra.preflight.html_pictures import bar, money, timeline, tree
from infra.preflight.report_document import Document
from infra.preflight.report_tables import heading, tables, verdict

_TEMPLATES = Path(__file__).with_name("templates")


@cache
def environment(*folders: Path) -> Environment:
    """For this page and others in its dress; theirs are looked for in ``folders`` first."""
    made = Environment(
        loader=FileSystemLoader([*folders, _TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("gib", "usd", "span", "count", "parameters"):
        made.filters[name] = getattr(report_words, name)
    return made


def page(document: Document) -> str:
    """The whole HTML."""
    longest = max((_longest(path) for path in document["cold_path"]), default=0.0)
    shown: dict[str, Any] = {
        "plan": document,
        "heading": heading(document),
        "verdict": verdict(document),
        "tables": list(tables(document)),
        "tree": tree(document),
        "bars": [(model, bar(model["memory"])) for model in document["models"]],
        "timelines": [
            (path, timeline(path, longest), round(100 * path["cold_start_seconds"] / longest, 3))
            for path in document["cold_path"]
        ],
        "money": money(document),
    }
    return environment().get_template("plan.html.j2").render(shown)


def _longest(path: Document) -> float:
    return float(max(path["cold_seconds"], path["cold_start_seconds"]))
