"""The report on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.gate.render_words import ACTIONS, cost_lines, counts, duration, faults, gathered, headline, place


def terminal(told: Mapping[str, Any]) -> str:
    return "\n".join(_lines(told)) + "\n"


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    yield headline(told)
    yield f"environment {told['environment']}, {told['base'][:12]} → {told['head'][:12]}"
    for key, name in (("problem", "this change"), ("baseProblem", "the base")):
        if told[key]:
            yield f"{name} gives no graph: {told[key]}"
    yield f"\nResources: {counts(told)}"
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
        if rule["state"] == "violated" or rule["blocks"]:
            yield f"  {rule['id']} ({rule['level']}): {rule['title']}, because {rule['reason']}"
            for where, message, key in faults(rule):
                yield f"      {where} {message}" + (f"; change {key}" if key else "")
            yield f"      fix: {rule['fix']}"
        for one in rule["waived"]:
            yield f"  {rule['id']} (waived by {one['owner']}): {place(one['at'], one['path'])} {one['message']}"
    if any(rule["blocks"] for rule in told["rules"]):
        yield "  or waive it: an entry in waivers.yaml that is merged before this change"
    passed = sum(rule["state"] == "passed" for rule in told["rules"])
    yield f"  {passed} rules passed"
    for rules, where, why in gathered(told, later=False):
        yield f"  not evaluated, and `up` will not judge it either: {rules}: {where} {why}"
    for rules, where, why in gathered(told, later=True):
        yield f"  not evaluated: {rules}: {where} {why}"
    for waiver in told["waivers"]:
        state = "expires soon" if waiver["soon"] else "in force" if waiver["inForce"] else "expired"
        what = f"{waiver['rule']} for {waiver['resource']}, {waiver['owner']}: {waiver['reason']}"
        yield f"  waiver ({state}, until {waiver['expiry']}): {what}"
    for finding in told["findings"]:
        yield f"  {finding['severity']}: {finding['text']}"
    for note in (*told["waiverFindings"], *told["notes"]):
        yield f"  note: {note}"
