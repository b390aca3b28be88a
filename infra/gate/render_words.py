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


def counts(told: Mapping[str, Any]) -> str:
    """How many of each kind of change; of a side without a graph nobody can say "0 deleted"."""
    if told["problem"] or told["baseProblem"]:
        return "not known without both graphs"
    return ", ".join(f"{number} {action}" for action, number in told["counts"].items())


def cost_lines(cost: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Name, before, after, difference."""
    rows = (("floor a month", "floorMonth"), ("ceiling a month", "ceilingMonth"), ("ceiling an hour", "ceilingHour"))
    base, head = cost["base"], cost["head"]
    return [(name, money(base[key]), money(head[key]), difference(base[key], head[key])) for name, key in rows]


def faults(rule: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Where a rule is broken or cannot be read, how, and which key to change."""
    broken = [(place(v["at"], v["path"]), v["message"], v["key"]) for v in rule["violations"]]
    return broken + [(place(n["at"], n["path"]), n["why"], "") for n in rule["notEvaluated"] if n["blocks"]]


def headline(told: Mapping[str, Any]) -> str:
    if told["verdict"] == "pass":
        return f"{told['stack']}: may pass"
    return f"{told['stack']}: blocked by {'; '.join(told['blockedBy'])}"


def gathered(told: Mapping[str, Any], *, later: bool) -> list[tuple[str, str, str]]:
    """What was not evaluated and does not block: the rules that met the same gap, where, and why. ``later``: what `up`
    will judge, or what nobody will unless a reviewer does."""
    found: dict[tuple[str, str], list[str]] = {}
    for rule in told["rules"]:
        for gap in (gap for gap in rule["notEvaluated"] if gap["later"] == later and not gap["blocks"]):
            found.setdefault((place(gap["at"], gap["path"]), gap["why"]), []).append(rule["id"])
    return [(", ".join(dict.fromkeys(rules)), where, why) for (where, why), rules in found.items()]
