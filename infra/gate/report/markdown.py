"""The report as a comment on a pull request. Names in it come from the author: none of them may become markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from infra.gate.comment import CUT, LONGEST, MARK
from infra.gate.report.wording import (
    ACTIONS,
    NOT_COMPARED,
    cost_lines,
    cost_notes,
    counts,
    duration,
    faults,
    gathered,
    headline,
)
from infra.policies.model import place

_ROWS = 60


def markdown(content: Mapping[str, Any]) -> str:
    text = "\n".join(_lines(content)) + "\n"
    if len(text) <= LONGEST:
        return text
    return text[:LONGEST].rpartition("\n")[0] + CUT


def _lines(content: Mapping[str, Any]) -> Iterator[str]:
    yield f"{MARK}\n{headmark(content['verdict'])} {escaped(headline(content))}\n"
    commits = f"{_code(content['base'][:12])} → {_code(content['head'][:12])}"
    yield f"Environment {_code(content['environment'])}, {commits}\n"
    for key, name in (("problem", "This change"), ("baseProblem", "The base")):
        if content[key]:
            yield f"{name} gives no graph:\n"
            yield "\n".join(f"    {line}" for line in content[key].splitlines()) + "\n"
    yield from _owner(content)
    yield from _rules(content)
    yield from _stack_file(content)
    yield from _changes(content)
    yield from _cost(content)
    yield from _waivers(content)
    notes = [
        *(f"{f['severity']}: {f['text']}" for f in content["findings"]),
        *content["waiverFindings"],
        *content["notes"],
    ]
    if notes:
        yield "### Notes\n"
        yield "\n".join(f"- {escaped(line)}" for line in notes) + "\n"


def headmark(verdict: str) -> str:
    """Return the beginning of a headline; the job that comments puts reports with ⛔ first."""
    return {"pass": "## ✅", "owner": "## 👤", "block": "## ⛔"}[verdict]


def _owner(content: Mapping[str, Any]) -> Iterator[str]:
    if content["ownerFor"]:
        yield "### 👤 A code owner has to agree\n"
        yield "\n".join(f"- {escaped(reason)}" for reason in content["ownerFor"]) + "\n"
    beyond = content["beyondStackFile"]
    if beyond is None:
        yield f"⚠️ **{NOT_COMPARED}** {escaped(content['beyondProblem'])}\n"
    if beyond:
        number = "1 resource differs" if len(beyond) == 1 else f"{len(beyond)} resources differ"
        yield f"**{number} by the program itself**, besides what the stack file asks for:\n"
        rows = [(c["action"], _code(c["type"]), _code(c["name"]), _code(", ".join(c["paths"][:6]))) for c in beyond]
        yield _table(("what", "type", "name", "properties"), rows[:_ROWS]) + _more(rows) + "\n"


def _stack_file(content: Mapping[str, Any]) -> Iterator[str]:
    values = content["stackFile"]
    if values:
        yield f"### Stack file: {len(values)} values\n"
        rows = [(_code(value["path"]), _code(value["before"]), _code(value["after"])) for value in values]
        yield _table(("key", "before", "after"), rows[:_ROWS]) + _more(rows) + "\n"


def _rules(content: Mapping[str, Any]) -> Iterator[str]:
    violated = [rule for rule in content["rules"] if rule["state"] == "violated" or rule["blocks"]]
    for rule in sorted(violated, key=lambda rule: not rule["blocks"]):
        yield f"### {'⛔' if rule['blocks'] else '⚠️'} {rule['id']}: {rule['title']}\n"
        yield f"{rule['reason'].capitalize()}.\n"
        violations = faults(rule)
        for where, message, key in violations[:_ROWS]:
            yield f"- {_code(where)} {escaped(message)}" + (f" (change {_code(key)})" if key else "")
        yield _more(violations)
        yield f"\n**Fix:** {rule['fix']}\n"
    if any(rule["blocks"] for rule in violated):
        yield (
            "What cannot be mended yet may be waived: an entry in `waivers.yaml` "
            "(rule, resource, owner, reason, expiry) that is merged *before* this change.\n"
        )
    waived = [(rule["id"], one) for rule in content["rules"] for one in rule["waived"]]
    if waived:
        yield "### Waived\n"
        for name, one in waived[:_ROWS]:
            where = _code(place(one["at"], one["path"]))
            yield f"- {_code(name)}: {where} {escaped(one['message'])} (waived by {escaped(one['owner'])})"
        yield _more(waived) + "\n"
    passed = [rule["id"] for rule in content["rules"] if rule["state"] == "passed"]
    if passed:
        yield f"<details><summary>{len(passed)} rules passed</summary>\n\n{', '.join(passed)}\n\n</details>\n"
    unjudged = gathered(content, later=False)
    if unjudged:
        yield f"### ⚠️ {len(unjudged)} not evaluated, and `up` will not judge them either\n"
        yield _gaps(unjudged) + "\n"
    late = gathered(content, later=True)
    if late:
        summary = f"{len(late)} not evaluated: only known after <code>up</code>, which judges them"
        yield f"<details><summary>{summary}</summary>\n"
        yield _gaps(late)
        yield "\n</details>\n"


def _gaps(gaps: Sequence[tuple[str, str, str]]) -> str:
    rows = ((_code(rules), _code(where), escaped(why)) for rules, where, why in gaps[:_ROWS])
    return _table(("rule", "where", "why"), rows) + _more(gaps)


def _more(items: Sequence[object]) -> str:
    """Return the note that a list was cut: a deletion left out unnoticed would be the one that matters."""
    return f"\n\nAnd {len(items) - _ROWS} more; `--format json` has all of them." if len(items) > _ROWS else ""


def _changes(content: Mapping[str, Any]) -> Iterator[str]:
    yield f"### Resources: {counts(content)}\n"
    if not content["changes"]:
        return
    rows = [
        (
            f"{ACTIONS[change['action']]} {change['action']}{' 🔒' if change['protected'] else ''}",
            _code(change["type"]),
            _code(change["name"]),
            escaped(change["why"] or ", ".join(change["paths"][:4]) + (", …" if len(change["paths"]) > 4 else "")),
        )
        for change in content["changes"]
    ]
    front = [row for row, change in zip(rows, content["changes"], strict=True) if _matters(change)]
    rest = [row for row, change in zip(rows, content["changes"], strict=True) if not _matters(change)]
    head = ("what", "type", "name", "why")
    if front:
        yield _table(head, front[:_ROWS]) + _more(front)
    if rest:
        yield f"\n<details><summary>{len(rest)} created or updated in place</summary>\n"
        yield _table(head, rest[:_ROWS]) + _more(rest)
        yield "\n</details>\n"


def _matters(change: Mapping[str, Any]) -> bool:
    return bool(change["protected"]) or change["action"] in ("deleted", "replaced")


def _cost(content: Mapping[str, Any]) -> Iterator[str]:
    cost = content["cost"]
    yield "\n### Cost, in US dollars\n"
    yield _table(("", "before", "after", "difference"), cost_lines(cost))
    yield from (f"\n{escaped(note[0].upper() + note[1:])}." for note in cost_notes(cost))
    cold = [row for row in content["coldPath"] if row["base"] != row["head"]]
    if cold:
        yield "\n### Cold start\n"
        rows = ((_code(row["model"]), duration(row["base"]), duration(row["head"])) for row in cold)
        yield _table(("model", "before", "after"), rows)
    yield ""


def _waivers(content: Mapping[str, Any]) -> Iterator[str]:
    if not content["waivers"]:
        return
    yield "### Waivers\n"
    rows = []
    for waiver in content["waivers"]:
        state = "⏳ expires soon" if waiver["soon"] else "in force" if waiver["inForce"] else "⛔ expired"
        cells = (_code(waiver["rule"]), _code(waiver["resource"]), escaped(waiver["owner"]), escaped(waiver["reason"]))
        rows.append((*cells, waiver["expiry"], state if waiver["used"] else f"{state}, unused"))
    yield _table(("rule", "for", "owner", "reason", "until", ""), rows) + "\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = tuple(head)
    lines = [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _code(text: str) -> str:
    plain = str(text).replace("`", "'").replace("|", "¦").replace("\n", " ").replace("<", "‹").replace(">", "›")
    return f"`{plain}`" if plain.strip() else ""


def escaped(text: str) -> str:
    """Escape ``text``, so that it makes no link, mention, tag, table cell or emphasis of the author's."""
    escaped = str(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "`*_[]|#!~":
        escaped = escaped.replace(mark, "\\" + mark)
    return escaped.replace("@", "@\u200b").replace("://", ":\u200b//").replace("\n", " ")
