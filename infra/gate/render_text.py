"""The report on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.gate.render_words import ACTIONS, cost_lines, duration, gathered, headline, place


def terminal(told: Mapping[str, Any]) -> str:
    return "\n".join(_lines(told)) + "\n"


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    yield headline(told)
    yield f"environment {told['environment']}, {told['base'][:12]} → {told['head'][:12]}"
    for key, name in (("problem", "this change"), ("baseProblem", "the base")):
        if told[key]:
            yield f"{name} gives no graph: {told[key]}"
    counts = ", ".join(f"{number} {action}" for action, number in told["counts"].items())
    yield f"\nResources: {counts}"
    for change in told["changes"]:
        lock = " [protected]" if change["protected"] else ""
        why = f" ({change['why']})" if change["why"] else ""
        yield f"  {ACTIONS[change['action']]} {change['action']}{lock} {change['type']} {change['name']}{why}"
        if change["paths"] and change["action"] == "updated":
            yield f"      {', '.join(change['paths'][:6])}"
    yield f"\nCost ({told['cost']['head']['scope']})"
    for name, before, after, change in cost_lines(told["cost"]):
        yield f"  {name}: {before} → {after} ({change})"
    for row in told["coldPath"]:
        if row["base"] != row["head"]:
            yield f"  cold start of {row['model']}: {duration(row['base'])} → {duration(row['head'])}"
    yield "\nRules"
    for rule in told["rules"]:
        if rule["state"] == "violated":
            yield f"  {rule['id']} ({rule['level']}): {rule['title']}, because {rule['reason']}"
            for found in rule["violations"]:
                yield f"      {place(found['at'], found['path'])} {found['message']}; change {found['key']}"
            yield f"      fix: {rule['fix']}"
    passed = sum(rule["state"] == "passed" for rule in told["rules"])
    yield f"  {passed} rules passed"
    for rules, where, why in gathered(told):
        yield f"  not evaluated: {rules}: {where} {why}"
    for waiver in told["waivers"]:
        state = "expires soon" if waiver["soon"] else "in force" if waiver["inForce"] else "expired"
        what = f"{waiver['rule']} for {waiver['resource']}, {waiver['owner']}"
        yield f"  waiver ({state}, until {waiver['expiry']}): {what}"
    for finding in told["findings"]:
        yield f"  {finding['severity']}: {finding['text']}"
    for note in (*told["waiverFindings"], *told["notes"]):
        yield f"  note: {note}"
