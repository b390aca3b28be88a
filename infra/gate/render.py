"""A report as one plain document, cleaned of secrets before any format sees it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from infra.gate.diff import ORDER, Changed
from infra.gate.render_clean import clean
from infra.gate.render_md import markdown
from infra.gate.render_sarif import sarif
from infra.gate.render_text import terminal
from infra.gate.verdict import Judged, Report
from infra.gate.verdict_cost import Cost


def render(report: Report, form: str, hidden: Iterable[str] = ()) -> str:
    """``form`` is text, md, json or sarif; ``hidden`` are texts of secrets that were found in the stack files."""
    told = clean(document(report), hidden)
    if form == "json":
        return json.dumps(told, indent=2, ensure_ascii=False) + "\n"
    if form == "sarif":
        return json.dumps(sarif(told), indent=2, ensure_ascii=False) + "\n"
    return markdown(told) if form == "md" else terminal(told)


def document(report: Report) -> dict[str, Any]:
    """Everything a reader needs, in plain values; money in US dollars, times in seconds."""
    blocked = report.blocked_by
    return {
        "stack": report.stack,
        "environment": report.environment,
        "base": report.base.commit,
        "head": report.head.commit,
        "verdict": "block" if blocked else "pass",
        "blockedBy": blocked,
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


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        "floorHour": cost.floor, "ceilingHour": cost.ceiling, "floorMonth": round(cost.floor_month, 2),
        "ceilingMonth": round(cost.ceiling_month, 2), "unknown": list(cost.unknown), "scope": cost.scope,
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
