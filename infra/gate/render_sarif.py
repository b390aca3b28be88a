"""The report as SARIF 2.1.0, for code scanning. Source: OASIS, Static Analysis Results Interchange Format 2.1.0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.gate.render_words import place

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
# what blocks and is no rule's: a stack file that is refused, a program without a graph, a budget
_VERDICT: Mapping[str, Any] = {
    "id": "verdict", "title": "The change may pass", "level": "mandatory",
    "reason": "what cannot be judged, or costs more than allowed, does not pass",
    "fix": "the report in text or Markdown says what stops it",
}  # fmt: skip


def sarif(told: Mapping[str, Any]) -> dict[str, Any]:
    """One run; every violation is a result on the stack file, a waived one is suppressed, a gap is a note."""
    rules = [rule for rule in told["rules"] if rule["state"] != "disabled"]
    index = {rule["id"]: number for number, rule in enumerate(rules)}
    results = []
    for rule in rules:
        level = "error" if rule["level"] == "mandatory" else "warning"
        for found in rule["violations"]:
            text = f"{place(found['at'], found['path'])} {found['message']}. Fix: {rule['fix']} ({found['key']})"
            results.append(_result(told, rule, index, level, text, found["at"]))
        for found in rule["waived"]:
            text = f"{place(found['at'], found['path'])} {found['message']}"
            waived = {"suppressions": [{"kind": "external", "justification": f"waived by {found['owner']}"}]}
            results.append(_result(told, rule, index, level, text, found["at"]) | waived)
        for gap in rule["notEvaluated"]:
            text = f"not evaluated: {place(gap['at'], gap['path'])} {gap['why']}"
            results.append(_result(told, rule, index, "note", text, gap["at"]) | {"kind": "open"})
    named = {f"rule {rule['id']}" for rule in rules}
    for number, reason in enumerate(reason for reason in told["blockedBy"] if reason not in named):
        if number == 0:
            index["verdict"] = len(rules)
            rules.append(_VERDICT)
        text = f"blocked by {reason}"
        results.append(_result(told, _VERDICT, index, "error", text, "stack:"))
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
    run = {"tool": {"driver": driver}, "results": results, "properties": {"verdict": told["verdict"]}}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(
    told: Mapping[str, Any], rule: Mapping[str, Any], index: Mapping[str, int], level: str, text: str, at: str
) -> dict[str, Any]:
    file = {"artifactLocation": {"uri": f"stacks/Pulumi.{told['stack']}.yaml"}, "region": {"startLine": 1}}
    return {
        "ruleId": rule["id"],
        "ruleIndex": index[rule["id"]],
        "level": level if level != "note" else "none",
        "kind": "fail",
        "message": {"text": text},
        "locations": [{"physicalLocation": file, "logicalLocations": [{"fullyQualifiedName": at}]}],
    }
