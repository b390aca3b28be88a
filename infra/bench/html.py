"""The result as one self-contained page, in the style of the plan's."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from infra.bench import report_text
from infra.bench.document import Document
from infra.bench.report_text import level_name
from infra.bench.yardstick import TABLE
from infra.errors import LocalProblem
from infra.planner.report.html import Part, environment, timeline

_TEMPLATES = Path(__file__).with_name("templates")


def page(document: Document) -> str:
    """Return the whole HTML page."""
    templates = environment(_TEMPLATES)
    context = {
        "bench": document,
        "heading": report_text.heading(document),
        "load": report_text.load(document),
        "where": report_text.where(document),
        "charts": charts(document),
        "wakes": _wakes(document),
        "guide": TABLE,
        "level_name": report_text.level_name,
        "share": report_text.share,
    }
    return templates.get_template("bench.html.j2").render(context)


def _wakes(document: Document) -> list[tuple[float, list[Part]]]:
    """Return each wake as a bar of its phases, all on one scale."""
    rounds = (document["cold"] or {}).get("rounds", [])
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


# The geometry of the page's charts: lines over the levels, in per cent of the picture. Pure.


@dataclass(frozen=True)
class Point:
    """Point of a line, from the left and from the top, in per cent, with the text it shows when pointed at."""

    x: float
    y: float
    description: str


@dataclass(frozen=True)
class Line:
    """Line of a chart. ``kind`` names its colour; a dashed one is the other endpoint's."""

    name: str
    kind: str
    dashed: bool
    points: tuple[Point, ...]

    @property
    def path(self) -> str:
        return " ".join(f"{point.x:g},{point.y:g}" for point in self.points)


@dataclass(frozen=True, kw_only=True)
class Chart:
    title: str
    unit: str
    lines: tuple[Line, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]


@dataclass(frozen=True, kw_only=True)
class _Kind:
    name: str
    kind: str
    side: str
    keys: tuple[str, ...]
    scale: float


def charts(document: Document) -> list[Chart]:
    """Return the charts that have figures."""
    sides = ["measured"] + (["against"] if "against" in document["endpoints"] else [])

    def over(names: tuple[tuple[str, str], ...], of: str, scale: float) -> list[_Kind]:
        return [
            _Kind(
                name=f"{name}, {side}" if len(sides) > 1 else name, kind=kind, side=side, keys=(of, name), scale=scale
            )
            for side in sides
            for name, kind in names
        ]

    three = (("p50", "kv"), ("p90", "weights"), ("p99", "engine"))
    tokens = [_Kind(name=side, kind="kv", side=side, keys=("tokens_per_second",), scale=1) for side in sides]
    contents = [
        ("First token", "ms", over(three, "ttft", 1000)),
        ("A token after the first", "ms", over(three, "tpot", 1000)),
        ("Whole request", "s", over(three, "latency", 1)),
        ("Throughput", "tokens a second", tokens),
    ]
    drawn = (_chart(title, unit, kinds, document["levels"]) for title, unit, kinds in contents)
    return [chart for chart in drawn if chart.lines]


def _chart(title: str, unit: str, kinds: list[_Kind], levels: list[Document]) -> Chart:
    drawn = sorted(levels, key=lambda level: (level["rate"] is not None, level["rate"] or level["concurrency"]))
    values = [(kind, [_value(level, kind) for level in drawn]) for kind in kinds]
    top = max((value for _, row in values for value in row if value is not None), default=0.0)
    marks = ticks(top)
    across = tuple((_x(index, len(drawn)), _short(level)) for index, level in enumerate(drawn))
    lines = []
    for kind, row in values:
        points = tuple(
            Point(
                _x(index, len(drawn)),
                _y(value, marks[-1]),
                f"{kind.name}, {level_name(drawn[index])}: {value:,.3g} {unit}",
            )
            for index, value in enumerate(row)
            if value is not None
        )
        if points:
            lines.append(Line(kind.name, kind.kind, kind.side == "against", points))
    return Chart(
        title=title,
        unit=unit,
        lines=tuple(lines),
        across=across,
        up=tuple((_y(mark, marks[-1]), f"{mark:g}") for mark in marks),
    )


def _short(level: Document) -> str:
    """Return a level's short name: many levels share the width of a phone."""
    return str(level["concurrency"]) if level["rate"] is None else f"{level['rate']:g}/s"


def _value(level: Document, kind: _Kind) -> float | None:
    at = level[kind.side]
    for key in kind.keys:
        if at is None:
            return None
        at = at[key]
    return None if at is None else kind.scale * float(at)


def _x(index: int, count: int) -> float:
    """Return a level's place, at equal distances whatever lies between: 1, 8 and 32 are three separate questions."""
    return round(100 * (index + 0.5) / count, 2)


def _y(value: float, top: float) -> float:
    return round(100 - 100 * value / top, 2)


def ticks(top: float) -> list[float]:
    """Return four to seven round numbers from zero to the first not below ``top``; 0 and 1 where ``top`` is 0."""
    if top <= 0:
        return [0.0, 1.0]
    rough = top / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999999)
    return [round(step * index, 12) for index in range(math.ceil(top / step - 1e-9) + 1)]


# A page as a PNG, drawn by a browser of this machine: none is installed for it.

_WIDTH, _SECONDS = 1280, 120


def program() -> str:
    """Return the Chromium on this machine; ``EBBTIDE_CHROMIUM`` names another. Raises ``LocalProblem``."""
    named = os.environ.get("EBBTIDE_CHROMIUM")
    path = named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        raise LocalProblem(
            "a .png needs Chromium, and there is none on this machine",
            "install it (Debian: apt install chromium), name one in EBBTIDE_CHROMIUM, or ask for a .html",
        )
    return path


def picture(html: str, height: int, file: Path) -> None:
    """Write ``html`` to ``file`` as a window ``height`` pixels high shows it. Raises ``LocalProblem``."""
    chromium = program()
    # helpers of the browser may outlive it by a moment, and write into the folder while it is removed
    with tempfile.TemporaryDirectory(prefix="ebbtide-picture-", ignore_cleanup_errors=True) as folder:
        page = Path(folder) / "page.html"
        page.write_text(html)
        argv = [
            chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
            f"--user-data-dir={folder}/profile", f"--window-size={_WIDTH},{height}",
            f"--screenshot={file.absolute()}", page.as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise _none(chromium, f"not within {_SECONDS} s") from None
        except OSError as problem:
            raise _none(chromium, str(problem)) from None
    if done.returncode != 0 or not file.exists():
        raise _none(chromium, done.stderr.strip()[-300:])


def _none(chromium: str, why: str) -> LocalProblem:
    return LocalProblem(f"{chromium} made no picture: {why}", "ask for a .html, and open it in a browser")
