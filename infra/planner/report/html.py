"""A plan as one self-contained page: its pictures need no script, font or image from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from infra.planner.report import tables as report_tables
from infra.planner.report.document import Document
from infra.planner.report.tables import engine_bytes, gib, heading, span, tables, usd, verdict

_TEMPLATES = Path(__file__).with_name("templates")


@cache
def environment(*folders: Path) -> Environment:
    """Return the template environment for this page and others in its style; ``folders`` are searched first."""
    templates = Environment(
        loader=FileSystemLoader([*folders, _TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("gib", "usd", "span", "count", "parameters"):
        templates.filters[name] = getattr(report_tables, name)
    return templates


def page(document: Document) -> str:
    """Return the whole HTML page."""
    longest = max((_longest(path) for path in document["cold_path"]), default=0.0)
    context: dict[str, Any] = {
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
    return environment().get_template("plan.html.j2").render(context)


def _longest(path: Document) -> float:
    return float(max(path["cold_seconds"], path["cold_start_seconds"]))


# Geometry of the page's pictures: shares in per cent and the name of each part. Pure.

_LEAST_PERCENT = 0.6  # a part that exists stays visible


@dataclass(frozen=True, kw_only=True)
class Part:
    """Part of a bar, from its left, in per cent of the whole. ``kind`` names its colour."""

    name: str
    kind: str
    left: float
    width: float
    label: str


def bar(memory: Document | None) -> list[Part]:
    """Return the parts of one GPU: weights, what the engine needs, the KV cache, the unused margin. Where the GPU is
    too small, the parts are drawn against their sum."""
    if memory is None:
        return []
    cache = max(0, memory["kv_free"])
    margin = memory["gpu_bytes"] - memory["usable"]
    sizes = (
        ("weights", "weights", memory["weights"]),
        ("engine", "engine", engine_bytes(memory)),
        ("KV cache", "kv", cache),
        ("margin", "margin", margin),
    )
    whole = max(memory["gpu_bytes"], sum(size for _, _, size in sizes))
    return _side_by_side([(name, kind, size, gib(size)) for name, kind, size in sizes], whole)


def timeline(path: Document, longest: float) -> list[Part]:
    """Return the phases of a wake, on one scale for all models."""
    parts = [
        (phase["name"], f"p{index}", phase["seconds"] or 0, span(phase["seconds"]))
        for index, phase in enumerate(path["phases"])
    ]
    return _side_by_side(parts, longest)


def _side_by_side(parts: list[tuple[str, str, float, str]], whole: float) -> list[Part]:
    bars: list[Part] = []
    left = 0.0
    for name, kind, size, label in parts:
        if size <= 0 or whole <= 0:
            continue
        width = max(_LEAST_PERCENT, 100 * size / whole)
        bars.append(
            Part(name=name, kind=kind, left=round(left, 3), width=round(min(width, 100 - left), 3), label=label)
        )
        left = min(100.0, left + width)
    return bars


def money(document: Document) -> list[dict[str, Any]]:
    """Return floor and ceiling of each pool, the GPU nodes, the cluster without them and the whole, in per cent of the
    highest figure; the cap is drawn at the GPU nodes, which it limits."""
    cost = document["cost"]
    if cost is None:
        return []
    cap = cost["cap_usd_per_hour"]
    top = max(cost["ceiling_usd_per_hour"], cap or 0)
    rows = [_bar(pool["name"], pool["cost"], top) for pool in document["pools"]]
    rows.append(_bar("GPU nodes", cost["gpu_nodes"], top, cap))
    if cost["cluster"]["parts"]:
        rows += [_bar("the cluster without them", cost["cluster"], top), _bar("all", cost, top)]
    return rows


def _bar(name: str, sums: Document, top: float, cap: float | None = None) -> dict[str, Any]:
    floor, ceiling = sums["floor_usd_per_hour"], sums["ceiling_usd_per_hour"]
    return {
        "name": name,
        "figures": f"{usd(floor)} to {usd(ceiling)}",
        "floor": _percent(floor, top),
        "ceiling": _percent(ceiling, top),
        "cap": _percent(cap, top),
    }


def _percent(amount: float | None, top: float) -> float | None:
    if amount is None:
        return None
    return round(100 * amount / top, 3) if top else 0.0


def tree(document: Document) -> dict[str, Any] | None:
    """Return the tree from the cloud to the pods: the place, the cluster's pools with nodes, the models on them."""
    if document["place"] is None:
        return None
    by_pool: dict[str, list[Document]] = {}
    for model in document["models"]:
        by_pool.setdefault(model["pool"], []).append({**model, "falls_back": False})
        for name in model["fallback_pools"]:
            by_pool.setdefault(name, []).append({**model, "falls_back": True})
    return {
        "place": document["place"]["kind"],
        "region": document["place"]["region"],
        "pools": [{**pool, "on_it": by_pool.get(pool["name"], [])} for pool in document["pools"]],
    }
