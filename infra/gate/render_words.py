"""Words that the formats share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ACTIONS = {"created": "+", "updated": "~", "replaced": "±", "deleted": "-"}


def place(at: str, path: str = "") -> str:
    """Where: a resource by its name, or a path of the stack file."""
    name = at.removeprefix("stack:") if at.startswith("stack:") else at.rpartition("::")[2]
    return ": ".join(part for part in (name, path) if part) or "the stack"


def money(dollars: float) -> str:
    return f"{dollars:,.2f} $"


def difference(before: float, after: float) -> str:
    """With its sign; nothing where it is none."""
    change = after - before
    return "±0" if abs(change) < 0.005 else f"{'+' if change > 0 else '−'}{money(abs(change))}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "none"
    return f"{seconds / 60:g} min" if seconds >= 120 else f"{seconds:g} s"


def cost_lines(cost: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Name, before, after, difference."""
    rows = (("floor a month", "floorMonth"), ("ceiling a month", "ceilingMonth"), ("ceiling an hour", "ceilingHour"))
    base, head = cost["base"], cost["head"]
    return [(name, money(base[key]), money(head[key]), difference(base[key], head[key])) for name, key in rows]


def headline(told: Mapping[str, Any]) -> str:
    if told["verdict"] == "pass":
        return f"{told['stack']}: may pass"
    return f"{told['stack']}: blocked by {'; '.join(told['blockedBy'])}"


def gathered(told: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What was not evaluated: the rules that met the same gap, where, and why."""
    found: dict[tuple[str, str], list[str]] = {}
    for rule in told["rules"]:
        for gap in rule["notEvaluated"]:
            found.setdefault((place(gap["at"], gap["path"]), gap["why"]), []).append(rule["id"])
    return [(", ".join(dict.fromkeys(rules)), where, why) for (where, why), rules in found.items()]
