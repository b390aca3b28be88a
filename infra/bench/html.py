"""The result as one self-contained page, in the dress of the plan's."""

from __future__ import annotations

from pathlib import Path

from infra.bench import report_text
from infra.bench.document import Document
from infra.bench.pictures import charts
from infra.bench.yardstick import TABLE
from infra.preflight.html import environment
from infra.preflight.html_pictures import Part, timeline

_TEMPLATES = Path(__file__).with_name("templates")


def page(found: Document) -> str:
    """The whole HTML."""
    made = environment(_TEMPLATES)
    shown = {
        "bench": found,
        "heading": report_text.heading(found),
        "load": report_text.load(found),
        "where": report_text.where(found),
        "charts": charts(found),
        "wakes": _wakes(found),
        "guide": TABLE,
        "level_name": report_text.level_name,
        "share": report_text.share,
    }
    return made.get_template("bench.html.j2").render(shown)


def _wakes(found: Document) -> list[tuple[float, list[Part]]]:
    """Each wake as a bar of its phases, all on one scale."""
    rounds = (found["cold"] or {}).get("rounds", [])
    longest = max((each["first_token"] for each in rounds), default=0.0)
    return [
        (
            each["first_token"],
            timeline({"phases": [{"name": name, "seconds": took} for name, took in _phases(each).items()]}, longest),
        )
        for each in rounds
    ]


def _phases(one: Document) -> dict[str, float]:
    return one["phases"] or {"first token": one["first_token"]}
