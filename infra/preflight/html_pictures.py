"""The measures of the page's pictures: shares in per cent and what each part is called. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.preflight.report_document import Document
from infra.preflight.report_words import gib, span, usd

_LEAST_PERCENT = 0.6  # a part that is there stays visible


@dataclass(frozen=True)
class Part:
    """One part of a bar, from its left, in per cent of the whole. ``kind`` names its colour."""

    name: str
    kind: str
    left: float
    width: float
    told: str


def bar(memory: Document | None) -> list[Part]:
    """One GPU: weights, what the engine needs, the KV cache, what is left alone. Where it is too small the parts are
    drawn against what they need together."""
    if memory is None:
        return []
    engine = memory["activations"] + memory["overhead"] + memory["lora"]
    cache = max(0, memory["kv_free"])
    margin = memory["gpu_bytes"] - memory["usable"]
    sizes = (
        ("weights", "weights", memory["weights"]),
        ("engine", "engine", engine),
        ("KV cache", "kv", cache),
        ("margin", "margin", margin),
    )
    whole = max(memory["gpu_bytes"], sum(size for _, _, size in sizes))
    return _side_by_side([(name, kind, size, gib(size)) for name, kind, size in sizes], whole)


def timeline(path: Document, longest: float) -> list[Part]:
    """The phases of a wake, on one scale for all models."""
    parts = [
        (phase["name"], f"p{index}", phase["seconds"] or 0, span(phase["seconds"]))
        for index, phase in enumerate(path["phases"])
    ]
    return _side_by_side(parts, longest)


def _side_by_side(parts: list[tuple[str, str, float, str]], whole: float) -> list[Part]:
    found: list[Part] = []
    left = 0.0
    for name, kind, size, told in parts:
        if size <= 0 or whole <= 0:
            continue
        width = max(_LEAST_PERCENT, 100 * size / whole)
        found.append(Part(name, kind, round(left, 3), round(min(width, 100 - left), 3), told))
        left = min(100.0, left + width)
    return found


def money(document: Document) -> list[dict[str, Any]]:
    """Each pool's floor and ceiling against the highest of all, and the cap."""
    cost = document["cost"]
    if cost is None:
        return []
    top = max(cost["ceiling_usd_per_hour"], cost["cap_usd_per_hour"] or 0)
    rows = [
        {
            "name": pool["name"],
            "told": f"{usd(pool['cost']['floor_usd_per_hour'])} to {usd(pool['cost']['ceiling_usd_per_hour'])}",
            "floor": _percent(pool["cost"]["floor_usd_per_hour"], top),
            "ceiling": _percent(pool["cost"]["ceiling_usd_per_hour"], top),
            "cap": None,
        }
        for pool in document["pools"]
    ]
    whole = {
        "name": "all pools",
        "told": f"{usd(cost['floor_usd_per_hour'])} to {usd(cost['ceiling_usd_per_hour'])}",
        "floor": _percent(cost["floor_usd_per_hour"], top),
        "ceiling": _percent(cost["ceiling_usd_per_hour"], top),
        "cap": _percent(cost["cap_usd_per_hour"], top),
    }
    return [*rows, whole]


def _percent(amount: float | None, top: float) -> float | None:
    if amount is None:
        return None
    return round(100 * amount / top, 3) if top else 0.0


def tree(document: Document) -> dict[str, Any] | None:
    """From the cloud to the pods: the place, the cluster, its pools with their nodes, the models on them."""
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
