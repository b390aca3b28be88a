"""The verdict on a whole change, over all stacks that were judged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infra.gate.report.markdown import escaped, headmark
from infra.gate.report.wording import VERDICTS, clean

NAME = "gate"
"""Name of this report beside those on the stacks, and so of no stack."""
FORMATS = ("text", "md", "json")
STATUS = {"pass": 0, "block": 1, "owner": 3}
"""The exit status of each verdict, for the judging process and for the command."""


def overview(
    verdict: str, stacks: Mapping[str, str], blocked: Sequence[str], owner_for: Sequence[str]
) -> Mapping[str, Any]:
    """Return the document. ``stacks`` maps each judged stack to its own verdict."""
    content = {"verdict": verdict, "stacks": dict(stacks), "blockedBy": list(blocked), "ownerFor": list(owner_for)}
    return dict(clean(content, ()))


def render(content: Mapping[str, Any], form: str) -> str:
    """Render the document as ``text``, ``md`` or ``json``."""
    if form == "json":
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    return "\n".join(_markdown(content) if form == "md" else _text(content)) + "\n"


def sarif_run(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict as a run of a SARIF log, for a change that touches no stack."""
    reasons = [("error", reason) for reason in content["blockedBy"]] + [
        ("warning", reason) for reason in content["ownerFor"]
    ]
    results = [{"ruleId": "verdict", "level": level, "message": {"text": text}} for level, text in reasons]
    return {"tool": {"driver": {"name": "ebbtide gate", "rules": [{"id": "verdict"}]}}, "results": results}


def _text(content: Mapping[str, Any]) -> Iterator[str]:
    yield f"this change {VERDICTS[content['verdict']]}"
    yield from (f"  blocked: {reason}" for reason in content["blockedBy"])
    yield from (f"  a code owner has to agree: {reason}" for reason in content["ownerFor"])
    yield from (f"  {stack}: {VERDICTS[verdict]}" for stack, verdict in content["stacks"].items())
    if not content["stacks"]:
        yield "  no stack is touched"


def _markdown(content: Mapping[str, Any]) -> Iterator[str]:
    yield f"{headmark(content['verdict'])} This change {VERDICTS[content['verdict']]}\n"
    yield from (f"- ⛔ {escaped(reason)}" for reason in content["blockedBy"])
    yield from (f"- 👤 {escaped(reason)}" for reason in content["ownerFor"])
    yield from (f"- {escaped(stack)}: {VERDICTS[verdict]}" for stack, verdict in content["stacks"].items())
    if not content["stacks"]:
        yield "No stack is touched."
