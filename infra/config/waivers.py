"""The project's waivers.yaml: what may be violated for a while, by whose leave, why, and until when."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from components.typed.refusal import Problem, code
from infra.config.cleartext import Secrets
from infra.config.findings import Finding, show, show_path
from infra.config.waiver import CODES, Waiver

WAIVERS_FILE = Path(__file__).resolve().parents[2] / "waivers.yaml"
KEYS = ("rule", "resource", "owner", "reason", "expiry")
LONGEST = timedelta(days=366)
_SHORTEST_REASON = 12
_CODE = re.compile(r"EBB\d+")


@dataclass(frozen=True)
class Waivers:
    """The waivers that can be used, and what is wrong with the others."""

    waivers: tuple[Waiver, ...] = ()
    findings: tuple[Finding, ...] = ()


def load_waivers(file: Path, today: date | None = None, policies: Sequence[str] | None = None) -> Waivers:
    """Read a waivers file; one that is not there has none. An entry with anything wrong in it waives nothing.

    ``policies`` are the ids that a waiver may name besides codes of findings; None: whoever asks has no policies, and
    takes any.
    """
    if not file.is_file():
        return Waivers()
    name = file.name
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        problem = Problem(270, (), "cannot be read as YAML", "waivers: and a list", "mend the file", has_value=False)
        return Waivers(findings=(_finding(problem, name),))
    entries = document.get("waivers") if isinstance(document, Mapping) else None
    if document is None or (isinstance(document, Mapping) and entries is None and set(document) <= {"waivers"}):
        return Waivers()
    if not isinstance(entries, list):
        problem = Problem(
            270, (), "has no list of waivers", "waivers: and a list", "write waivers: []", has_value=False
        )
        return Waivers(findings=(_finding(problem, name),))
    good: list[Waiver] = []
    problems: list[Problem] = []
    for index, entry in enumerate(entries):
        found = list(_judge(entry, index, today or date.today(), policies))
        problems += found
        if not any(problem.severity == "error" for problem in found):
            good.append(_made(entry))
    return Waivers(tuple(good), tuple(_finding(problem, name) for problem in problems))


def _judge(entry: Any, index: int, today: date, policies: Sequence[str] | None) -> Iterator[Problem]:
    at = ("waivers", index)
    if not isinstance(entry, Mapping):
        yield Problem(270, at, "is not a mapping", ", ".join(KEYS), "write rule:, resource: and so on", has_value=False)
        return
    for key in entry:
        if key not in KEYS:
            yield Problem(271, (*at, str(key)), "is not a known key", ", ".join(KEYS), "remove it", has_value=False)
    for key in KEYS:
        if entry.get(key) in (None, ""):
            yield Problem(272, (*at, key), "is missing", "all of " + ", ".join(KEYS), f"add {key}:", has_value=False)
    yield from _rule(entry.get("rule"), (*at, "rule"), policies)
    pattern = entry.get("resource")
    if pattern and (not isinstance(pattern, str) or not pattern.strip("*?/:")):
        fix = "name what it is for: a resource, or a part of its name"
        yield Problem(274, (*at, "resource"), "matches everything", "a pattern with a name in it", fix, pattern)
    for key in ("owner", "reason"):
        text = entry.get(key)
        if text and (not isinstance(text, str) or len(text.strip()) < (_SHORTEST_REASON if key == "reason" else 2)):
            fix = "say why it has to be, and what ends it" if key == "reason" else "name a person or a team"
            yield Problem(275, (*at, key), f"is no {key} that another person could judge", "a sentence", fix, text)
    yield from _expiry(entry.get("expiry"), (*at, "expiry"), today)


def _rule(value: Any, at: tuple[str | int, ...], policies: Sequence[str] | None) -> Iterator[Problem]:
    if value in (None, "", *CODES, *(policies or ())):
        return
    allowed = ", ".join([*(policies or ("a policy of docs/policies.md",)), *CODES])
    if not isinstance(value, str) or (policies is not None and not _CODE.fullmatch(value)):
        yield Problem(273, at, "is no rule", allowed, "use one of them", value)
    elif _CODE.fullmatch(value):
        message, fix = "is the code of no finding that may be waived", "mend what it says: an error can never work"
        yield Problem(273, at, message, allowed, fix, value)


def _expiry(value: Any, at: tuple[str | int, ...], today: date) -> Iterator[Problem]:
    if value in (None, ""):
        return
    day = _day(value)
    if day is None:
        yield Problem(276, at, "is not a date", "YYYY-MM-DD", f"write {today + timedelta(days=30)}", str(value))
    elif day - today > LONGEST:
        fix = "a waiver is for a while; change the rule's settings for good"
        yield Problem(277, at, "is more than a year away", f"up to {today + LONGEST}", fix, str(day))
    elif day < today:
        fix = "mend what it covered and remove it, or have it renewed"
        yield Problem(
            278, at, "is past: it waives nothing any more", f"{today} or later", fix, str(day), True, "warning"
        )


def _day(value: Any) -> date | None:
    if isinstance(value, datetime):
        return None
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        return None


def _made(entry: Mapping[str, Any]) -> Waiver:
    expiry = _day(entry["expiry"])
    assert expiry is not None  # judged before
    return Waiver(entry["rule"], entry["resource"], entry["owner"].strip(), " ".join(entry["reason"].split()), expiry)


def unused(waiver: Waiver, file: str = WAIVERS_FILE.name) -> Finding:
    """The warning for one that covered nothing."""
    message = f"for {waiver.resource} covers nothing in this stack"
    problem = Problem(
        279, ("waivers",), message, "waivers that are needed", "remove it", waiver.rule, severity="warning"
    )
    return _finding(problem, file)


def _finding(problem: Problem, file: str) -> Finding:
    hide = Secrets().redact
    return Finding(
        code=code(problem.number),
        severity=problem.severity,
        file=file,
        path=show_path(problem.path),
        value=hide(show(problem.value)) if problem.has_value else None,
        message=problem.message,
        allowed=problem.allowed,
        fix=problem.fix,
    )
