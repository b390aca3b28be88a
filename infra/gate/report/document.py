"""The report as one plain document, cleaned of secrets before any format sees it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from infra.gate.diff import ORDER, Changed
from infra.gate.report.markdown import markdown
from infra.gate.report.wording import (
    ACTIONS,
    NOT_COMPARED,
    clean,
    cost_lines,
    cost_notes,
    counts,
    duration,
    faults,
    gathered,
    headline,
)
from infra.gate.verdict import Judged, Report
from infra.planner.cost import Cost
from infra.planner.report.document import bounds
from infra.policies.model import place

FORMATS = ("text", "md", "json", "sarif")


def render(report: Report, form: str, hidden: Iterable[str] = ()) -> str:
    """Render the report in one of ``FORMATS``; ``hidden`` are secrets found in the stack files."""
    content = clean(document(report), hidden)
    if form == "json":
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    if form == "sarif":
        return json.dumps(sarif(content), indent=2, ensure_ascii=False) + "\n"
    return markdown(content) if form == "md" else terminal(content)


def document(report: Report) -> dict[str, Any]:
    """Return everything a reader needs, in plain values; money in US dollars, times in seconds."""
    blocked = report.blocked_by
    return {
        "stack": report.stack,
        "environment": report.environment,
        "base": report.base.commit,
        "head": report.head.commit,
        "verdict": report.verdict,
        "blockedBy": blocked,
        "ownerFor": list(report.owner_for),
        "stackFile": [{"path": v.path, "before": v.before, "after": v.after} for v in report.values],
        "beyondProblem": report.beyond_problem,
        "beyondStackFile": None if report.beyond is None else [_change(change) for change in report.beyond],
        "problem": report.head.recorded.problem,
        "baseProblem": report.base.recorded.problem,
        "counts": {action: sum(c.action == action for c in report.changes) for action in reversed(ORDER)},
        "changes": [_change(change) for change in report.changes],
        "cost": {"base": _cost(report.costs[0]), "head": _cost(report.costs[1]), "budgetMonth": report.budget},
        "coldPath": [{"model": name, "base": before, "head": after} for name, before, after in report.cold],
        "rules": [_rule(judged) for judged in report.judged],
        "waivers": [
            {
                "rule": waiver.rule,
                "resource": waiver.resource,
                "owner": waiver.owner,
                "reason": waiver.reason,
                "expiry": waiver.expiry.isoformat(),
                "inForce": waiver.in_force(report.today),
                "soon": waiver.expires_soon(report.today),
                "used": report.used(waiver),
            }
            for waiver in report.waivers.waivers
        ],  # fmt: skip
        "waiverFindings": [str(finding) for finding in report.waivers.findings],
        "findings": [{"severity": finding.severity, "text": str(finding)} for finding in report.findings],
        "notes": list(report.notes),
    }


def _change(change: Changed) -> dict[str, Any]:
    return {
        "action": change.action, "protected": change.protected, "type": change.type, "name": change.name,
        "urn": change.urn, "was": change.was, "why": change.why, "paths": list(change.paths),
        "forced": list(change.forced), "replacementKnown": change.known,
    }  # fmt: skip


def _cost(cost: Cost | None) -> dict[str, Any] | None:
    """Return the cost under the plan's own keys; None if it is unknown."""
    if cost is None:
        return None
    return {
        "total": bounds(cost.total), "gpuNodes": bounds(cost.gpu_nodes), "cluster": bounds(cost.cluster),
        "unknown": list(cost.unknown), "notCounted": list(cost.not_counted),
    }  # fmt: skip


def _rule(judged: Judged) -> dict[str, Any]:
    verdict, rule = judged.verdict, judged.verdict.rule
    state = verdict.state
    if state == "violated" and not judged.standing:
        state = "waived"
    return {
        "id": rule.id, "title": rule.title, "level": verdict.level, "state": state, "blocks": judged.blocks,
        "reason": rule.reason, "fix": rule.fix,
        "violations": [
            {"at": v.at, "path": v.path, "message": v.message, "key": v.key or rule.key} for v in judged.standing
        ],
        "waived": [{"at": v.at, "path": v.path, "message": v.message, "owner": w.owner} for v, w in judged.waived],
        "notEvaluated": [
            {"at": n.at, "path": n.path, "why": n.why, "blocks": n.broken, "later": n.later}
            for n in verdict.not_evaluated
        ],
    }  # fmt: skip


# The report on a terminal.


def terminal(content: Mapping[str, Any]) -> str:
    return "\n".join(_lines(content)) + "\n"


def _lines(content: Mapping[str, Any]) -> Iterator[str]:
    yield headline(content)
    yield f"environment {content['environment']}, {content['base'][:12]} → {content['head'][:12]}"
    for key, name in (("problem", "this change"), ("baseProblem", "the base")):
        if content[key]:
            yield f"{name} gives no graph: {content[key]}"
    for reason in content["ownerFor"]:
        yield f"a code owner has to agree: {reason}"
    if content["stackFile"]:
        yield "\nStack file"
    for value in content["stackFile"]:
        yield f"  {value['path']}: {value['before']} → {value['after']}"
    if content["beyondStackFile"] is None:
        yield f"\n{NOT_COMPARED} {content['beyondProblem']}".rstrip()
    if content["beyondStackFile"]:
        yield "\nBy the program itself, besides what the stack file asks for"
        for c in content["beyondStackFile"]:
            yield f"  {ACTIONS[c['action']]} {c['action']} {c['type']} {c['name']} {', '.join(c['paths'][:6])}".rstrip()
    yield f"\nResources: {counts(content)}"
    for change in content["changes"]:
        lock = " [protected]" if change["protected"] else ""
        why = f" ({change['why']})" if change["why"] else ""
        yield f"  {ACTIONS[change['action']]} {change['action']}{lock} {change['type']} {change['name']}{why}"
        if change["paths"] and change["action"] == "updated":
            yield f"      {', '.join(change['paths'][:6])}"
    yield "\nCost, in US dollars"
    for name, before, after, change in cost_lines(content["cost"]):
        yield f"  {name}: {before} → {after} ({change})"
    yield from (f"  {note}" for note in cost_notes(content["cost"]))
    for row in content["coldPath"]:
        if row["base"] != row["head"]:
            yield f"  cold start of {row['model']}: {duration(row['base'])} → {duration(row['head'])}"
    yield "\nRules"
    for rule in content["rules"]:
        if rule["state"] == "violated" or rule["blocks"]:
            yield f"  {rule['id']} ({rule['level']}): {rule['title']}, because {rule['reason']}"
            for where, message, key in faults(rule):
                yield f"      {where} {message}" + (f"; change {key}" if key else "")
            yield f"      fix: {rule['fix']}"
        for one in rule["waived"]:
            yield f"  {rule['id']} (waived by {one['owner']}): {place(one['at'], one['path'])} {one['message']}"
    if any(rule["blocks"] for rule in content["rules"]):
        yield "  or waive it: an entry in waivers.yaml that is merged before this change"
    passed = sum(rule["state"] == "passed" for rule in content["rules"])
    yield f"  {passed} rules passed"
    for rules, where, why in gathered(content, later=False):
        yield f"  not evaluated, and `up` will not judge it either: {rules}: {where} {why}"
    for rules, where, why in gathered(content, later=True):
        yield f"  not evaluated: {rules}: {where} {why}"
    for waiver in content["waivers"]:
        state = "expires soon" if waiver["soon"] else "in force" if waiver["inForce"] else "expired"
        what = f"{waiver['rule']} for {waiver['resource']}, {waiver['owner']}: {waiver['reason']}"
        yield f"  waiver ({state}, until {waiver['expiry']}): {what}"
    for finding in content["findings"]:
        yield f"  {finding['severity']}: {finding['text']}"
    for note in (*content["waiverFindings"], *content["notes"]):
        yield f"  note: {note}"


# The report as SARIF 2.1.0, for code scanning. Source: OASIS, Static Analysis Results Interchange Format 2.1.0.

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
# blockers that belong to no rule: a refused stack file, a program without a graph, a budget
_VERDICT: Mapping[str, Any] = {
    "id": "verdict", "title": "The change may pass", "level": "mandatory",
    "reason": "what cannot be judged, or costs more than allowed, does not pass",
    "fix": "the report in text or Markdown says what stops it",
}  # fmt: skip


def sarif(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return one run; every violation is a result on the stack file, a waived one is suppressed, a gap is ``open``
    (level ``none``), and a blocker that belongs to no rule is a result of the rule ``verdict``."""
    rules = [rule for rule in content["rules"] if rule["state"] != "disabled"]
    index = {rule["id"]: number for number, rule in enumerate(rules)}
    results = []
    for rule in rules:
        level = "error" if rule["level"] == "mandatory" else "warning"
        for violation in rule["violations"]:
            where = place(violation["at"], violation["path"])
            text = f"{where} {violation['message']}. Fix: {rule['fix']} ({violation['key']})"
            results.append(_result(content, rule, index, level, text, violation["at"]))
        for violation in rule["waived"]:
            text = f"{place(violation['at'], violation['path'])} {violation['message']}"
            waived = {"suppressions": [{"kind": "external", "justification": f"waived by {violation['owner']}"}]}
            results.append(_result(content, rule, index, level, text, violation["at"]) | waived)
        for gap in rule["notEvaluated"]:
            text = f"not evaluated: {place(gap['at'], gap['path'])} {gap['why']}"
            results.append(_result(content, rule, index, "note", text, gap["at"]) | {"kind": "open"})
    named = {f"rule {rule['id']}" for rule in rules}
    reasons = [("error", f"blocked by {reason}") for reason in content["blockedBy"] if reason not in named]
    reasons += [("warning", f"a code owner has to agree: {reason}") for reason in content["ownerFor"]]
    if reasons:
        index["verdict"] = len(rules)
        rules.append(_VERDICT)
    results += [_result(content, _VERDICT, index, level, text, "stack:") for level, text in reasons]
    driver = {
        "name": "ebbtide gate",
        "rules": [
            {
                "id": rule["id"],
                "shortDescription": {"text": rule["title"]},
                "fullDescription": {"text": rule["reason"]},
                "help": {"text": rule["fix"]},
                "defaultConfiguration": {"level": "error" if rule["level"] == "mandatory" else "warning"},
            }
            for rule in rules
        ],
    }
    run = {"tool": {"driver": driver}, "results": results, "properties": {"verdict": content["verdict"]}}
    return sarif_of([run])


def sarif_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a SARIF log of runs."""
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": list(runs)}


def _result(
    content: Mapping[str, Any], rule: Mapping[str, Any], index: Mapping[str, int], level: str, text: str, at: str
) -> dict[str, Any]:
    file = {"artifactLocation": {"uri": f"stacks/Pulumi.{content['stack']}.yaml"}, "region": {"startLine": 1}}
    return {
        "ruleId": rule["id"],
        "ruleIndex": index[rule["id"]],
        "level": level if level != "note" else "none",
        "kind": "fail",
        "message": {"text": text},
        "locations": [{"physicalLocation": file, "logicalLocations": [{"fullyQualifiedName": at}]}],
    }
