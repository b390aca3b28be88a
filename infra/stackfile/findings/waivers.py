"""The project's waivers.yaml: what may be violated for a while, who allows it, why, and until when."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from components.typed.refusal import Problem
from components.typed.rules.waivers import (
    WAIVER_DATE_INVALID,
    WAIVER_EXPIRED,
    WAIVER_KEY_MISSING,
    WAIVER_KEY_UNKNOWN,
    WAIVER_MATCHES_ALL,
    WAIVER_RULE_UNKNOWN,
    WAIVER_TOO_LONG,
    WAIVER_UNACCOUNTABLE,
    WAIVER_UNUSED,
    WAIVERS_UNREADABLE,
)
from infra.redaction import redact
from infra.stackfile.findings.finding import ConfigError, Finding
from infra.stackfile.findings.formatting import show, show_path
from infra.stackfile.findings.registry import waivable
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.findings.waiver_reach import kinds_matched
from infra.stackfile.yaml_source import Read, Unreadable, read
from infra.workspace import PROJECT

WAIVERS_FILE = PROJECT / "waivers.yaml"
KEYS = ("rule", "resource", "owner", "reason", "expiry")
LONGEST = timedelta(days=366)
_SHORTEST_REASON = 12
_CODE = re.compile(r"EBB\d+")


@dataclass(frozen=True)
class Waivers:
    """The waivers that can be used, and what is wrong with the others. ``unreadable`` are findings about the file as a
    whole: what it waives is not known then."""

    waivers: tuple[Waiver, ...] = ()
    findings: tuple[Finding, ...] = ()
    unreadable: tuple[Finding, ...] = ()


def load_waivers(file: Path, today: date | None = None, policies: Sequence[str] | None = None) -> Waivers:
    """Read a waivers file; a missing file has none. An entry with an error in it is left out.

    ``policies`` are the ids that a waiver may name besides codes of findings; None: the caller has no policies, and
    accepts any.
    """
    try:
        content = read(file, "waivers: and a list") if os.path.lexists(file) else Read(None, ())
    except Unreadable as error:
        return _unreadable(file, replace(error.problem, rule=WAIVERS_UNREADABLE))
    document, name = content.value, file.name
    entries = document.get("waivers") if isinstance(document, Mapping) else None
    if document is None or (isinstance(document, Mapping) and entries is None and set(document) <= {"waivers"}):
        return Waivers()
    if not isinstance(entries, list):
        message, fix = "has no list of waivers", "write waivers: []"
        return _unreadable(file, WAIVERS_UNREADABLE.at((), message, allowed="waivers: and a list", fix=fix))
    good: list[Waiver] = []
    problems: list[Problem] = [replace(problem, rule=WAIVERS_UNREADABLE) for problem in content.repeated]
    for index, entry in enumerate(entries):
        of_entry = list(_judge(entry, index, today or date.today(), policies))
        problems += of_entry
        twice = any(problem.path[:2] == ("waivers", index) for problem in content.repeated)
        if not twice and not any(problem.severity == "error" for problem in of_entry):
            good.append(_waiver(entry))
    return Waivers(tuple(good), tuple(_finding(problem, name) for problem in problems))


def usable_waivers(file: Path = WAIVERS_FILE) -> Waivers:
    """Return the waivers of the checkout. Raises ``ConfigError`` where the file as a whole cannot be read."""
    loaded = load_waivers(file)
    if loaded.unreadable:
        raise ConfigError(loaded.unreadable)
    return loaded


def _unreadable(file: Path, problem: Problem) -> Waivers:
    findings = (_finding(problem, file.name),)
    return Waivers(findings=findings, unreadable=findings)


def _judge(entry: Any, index: int, today: date, policies: Sequence[str] | None) -> Iterator[Problem]:
    at = ("waivers", index)
    if not isinstance(entry, Mapping):
        yield WAIVERS_UNREADABLE.at(
            at, "is not a mapping", allowed=", ".join(KEYS), fix="write rule:, resource: and so on"
        )
        return
    for key in entry:
        if key not in KEYS:
            yield WAIVER_KEY_UNKNOWN.at((*at, str(key)), "is not a known key", allowed=", ".join(KEYS), fix="remove it")
    for key in KEYS:
        if entry.get(key) in (None, ""):
            yield WAIVER_KEY_MISSING.at(
                (*at, key), "is missing", allowed="all of " + ", ".join(KEYS), fix=f"add {key}:"
            )
    yield from _rule(entry.get("rule"), (*at, "rule"), policies)
    pattern = entry.get("resource")
    if pattern and (not isinstance(pattern, str) or not pattern.strip("*?/:")):
        fix = "name what it is for: a resource, or a part of its name"
        yield WAIVER_MATCHES_ALL.at(
            (*at, "resource"), "matches everything", allowed="a pattern with a name in it", fix=fix, value=pattern
        )
    elif pattern and len(matched := kinds_matched(pattern)) > 1:
        some = ", ".join(matched[:3]) + (f" and {len(matched) - 3} more" if len(matched) > 3 else "")
        message = f"matches what is of {len(matched)} kinds, whatever its name ({some})"
        fix = "write one waiver for each thing: a resource's name, or a place like stack:models.llama-8b"
        yield WAIVER_MATCHES_ALL.at(
            (*at, "resource"), message, allowed="a pattern for things of one kind", fix=fix, value=pattern
        )
    for key in ("owner", "reason"):
        text = entry.get(key)
        if text and (not isinstance(text, str) or len(text.strip()) < (_SHORTEST_REASON if key == "reason" else 2)):
            fix = "say why it has to be, and what ends it" if key == "reason" else "name a person or a team"
            yield WAIVER_UNACCOUNTABLE.at(
                (*at, key), f"is no {key} that another person could judge", allowed="a sentence", fix=fix, value=text
            )
    yield from _expiry(entry.get("expiry"), (*at, "expiry"), today)


def _rule(value: Any, at: tuple[str | int, ...], policies: Sequence[str] | None) -> Iterator[Problem]:
    if value in (None, "", *waivable(), *(policies or ())):
        return
    allowed = ", ".join([*(policies or ("a policy of docs/policies.md",)), *waivable()])
    if not isinstance(value, str) or (policies is not None and not _CODE.fullmatch(value)):
        yield WAIVER_RULE_UNKNOWN.at(at, "is no rule", allowed=allowed, fix="use one of them", value=value)
    elif _CODE.fullmatch(value):
        message, fix = "is the code of no finding that may be waived", "mend what it says: an error can never work"
        yield WAIVER_RULE_UNKNOWN.at(at, message, allowed=allowed, fix=fix, value=value)


def _expiry(value: Any, at: tuple[str | int, ...], today: date) -> Iterator[Problem]:
    if value in (None, ""):
        return
    day = _day(value)
    if day is None:
        yield WAIVER_DATE_INVALID.at(
            at, "is not a date", allowed="YYYY-MM-DD", fix=f"write {today + timedelta(days=30)}", value=str(value)
        )
    elif day - today > LONGEST:
        fix = "a waiver is for a while; change the rule's settings for good"
        yield WAIVER_TOO_LONG.at(
            at, "is more than a year away", allowed=f"up to {today + LONGEST}", fix=fix, value=str(day)
        )
    elif day < today:
        fix = "mend what it covered and remove it, or have it renewed"
        yield WAIVER_EXPIRED.at(
            at, "is past: it waives nothing any more", allowed=f"{today} or later", fix=fix, value=str(day)
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


def _waiver(entry: Mapping[str, Any]) -> Waiver:
    expiry = _day(entry["expiry"])
    assert expiry is not None  # judged before
    return Waiver(
        rule=entry["rule"],
        resource=entry["resource"],
        owner=entry["owner"].strip(),
        reason=" ".join(entry["reason"].split()),
        expiry=expiry,
    )


def unused(waiver: Waiver, file: str = WAIVERS_FILE.name) -> Finding:
    """Return the warning for a waiver that covered nothing."""
    message = f"for {waiver.resource} covers nothing in this stack"
    problem = WAIVER_UNUSED.at(
        ("waivers",), message, allowed="waivers that are needed", fix="remove it", value=waiver.rule
    )
    return _finding(problem, file)


def _finding(problem: Problem, file: str) -> Finding:
    return Finding(
        code=problem.code,
        severity=problem.severity,
        file=redact(file),
        path=redact(show_path(problem.path)),
        value=redact(show(problem.value)) if problem.has_value else None,
        message=redact(problem.message),
        allowed=problem.allowed,
        fix=redact(problem.fix),
    )
