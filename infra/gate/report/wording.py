"""Wording that the formats share."""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

from infra.planner.report.tables import UNKNOWN, usd
from infra.policies.model import place
from infra.redaction import SECRET_KEY, SHORTEST, redact
from infra.stackfile.findings.formatting import printable

VERDICTS = {"pass": "may pass", "owner": "needs a code owner", "block": "is blocked"}
ACTIONS = {"created": "+", "updated": "~", "replaced": "±", "deleted": "-"}


NOT_COMPARED = "What the program itself changes, besides what the stack file asks for, could not be told."


def difference(before: float | None, after: float | None) -> str:
    """Return the difference with its sign; ``±0`` if there is none, ``UNKNOWN`` if a side is None."""
    if before is None or after is None:
        return UNKNOWN
    change = after - before
    return "±0" if abs(change) < 0.005 else f"{'+' if change > 0 else '−'}{usd(abs(change))}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "none"
    return f"{seconds / 60:g} min" if seconds >= 120 else f"{seconds:g} s"


def counts(content: Mapping[str, Any]) -> str:
    """Return the number of each kind of change; without both graphs, "0 deleted" would not be known to be true."""
    if content["problem"] or content["baseProblem"]:
        return "not known without both graphs"
    return ", ".join(f"{number} {action}" for action, number in content["counts"].items())


def cost_lines(cost: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return rows of name, before, after and difference; for the total with the cluster, and for GPU nodes alone."""
    rows = [
        (f"{bound} {an} {per}{alone}", part, f"{bound}_usd_per_{per}")
        for bound in ("floor", "ceiling")
        for an, per in (("an", "hour"), ("a", "month"))
        for part, alone in (("total", ""), ("gpuNodes", ", GPU nodes alone"))
    ]
    base, head = cost["base"], cost["head"]
    figures = [(name, base and base[part][key], head and head[part][key]) for name, part, key in rows]
    return [(name, usd(before), usd(after), difference(before, after)) for name, before, after in figures]


def cost_notes(cost: Mapping[str, Any]) -> list[str]:
    """Return notes on what the figures of the change leave out."""
    head = cost["head"]
    if head is None:
        return ["nothing of the stack file could be read, so nobody can say what it costs"]
    unknown = [f"without a known price, and not in the sums: {', '.join(head['unknown'])}"] if head["unknown"] else []
    return [*unknown, f"not counted: {', '.join(head['notCounted'])}"]


def faults(rule: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return where a rule is violated or cannot read its input, how, and the key to change."""
    broken = [(place(v["at"], v["path"]), v["message"], v["key"]) for v in rule["violations"]]
    return broken + [(place(n["at"], n["path"]), n["why"], "") for n in rule["notEvaluated"] if n["blocks"]]


def headline(content: Mapping[str, Any]) -> str:
    if content["verdict"] != "block":
        return f"{content['stack']}: {VERDICTS[content['verdict']]}"
    return f"{content['stack']}: blocked by {'; '.join(content['blockedBy'])}"


def gathered(content: Mapping[str, Any], *, later: bool) -> list[tuple[str, str, str]]:
    """Return the gaps that do not block: the rules not evaluated for the same reason, where, and why. ``later``: those
    that `up` will judge, else those that only a reviewer can."""
    rules_by_gap: dict[tuple[str, str], list[str]] = {}
    for rule in content["rules"]:
        for gap in (gap for gap in rule["notEvaluated"] if gap["later"] == later and not gap["blocks"]):
            rules_by_gap.setdefault((place(gap["at"], gap["path"]), gap["why"]), []).append(rule["id"])
    return [(", ".join(dict.fromkeys(rules)), where, why) for (where, why), rules in rules_by_gap.items()]


# Cleaning for display: no secret, and no text that a terminal or a comment would obey.

LONGEST = 2000
# An author is nobody's secret.
_NAMED = re.compile(rf"{SECRET_KEY}|PASSW|CREDENTIAL|PRIVATE|KEY$|_PAT$|AUTH(?!ORS?(?:_|$))", re.IGNORECASE)
_HARMLESS = frozenset({"true", "false", "disabled", "enabled"})


def worth_hiding(environ: Mapping[str, str]) -> set[str]:
    """Return secrets in this process's environment, in every spelling in which a text could carry them."""
    spellings: set[str] = set()
    for name, value in environ.items():
        if _NAMED.search(name) and len(value) >= SHORTEST and value.lower() not in _HARMLESS and value[:1] != "/":
            raw = value.encode(errors="surrogateescape")
            coded = base64.b64encode(raw).decode().rstrip("=")
            spellings |= {value, value[::-1], coded, raw.hex(), urllib.parse.quote(value, safe="")}
    return spellings


def without(text: str, hidden: Iterable[str]) -> str:
    """Return ``text`` without any of ``hidden``, and without anything else that looks like a secret."""
    return redact(text, {secret for secret in hidden if len(secret) >= SHORTEST})


def clean(value: Any, hidden: Iterable[str]) -> Any:
    """Return a document with every text in it made fit for display; keys are ours, and stay."""
    known = list(hidden)
    if isinstance(value, str):
        # hide secrets before cutting, or the beginning of a long one would get through
        whole = without(value, known)
        cut = whole if len(whole) <= LONGEST else whole[:LONGEST] + "…"
        return "\n".join(printable(line) for line in cut.splitlines())
    if isinstance(value, Mapping):
        return {key: clean(item, known) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item, known) for item in value]
    return value
