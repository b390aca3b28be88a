"""Reading of raw values into a StackConfig, or into everything that is wrong with them."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path as FilePath
from typing import Any

from components.typed.refusal import Path, Problem
from components.typed.rules.file import FILE_UNREADABLE, TYPE_WRONG, VALUE_ENCRYPTED
from components.typed.rules.stack import KEY_UNKNOWN
from infra.redaction import REDACTED
from infra.stackfile.cleartext_secrets import (
    Secrets,
    find_secrets,
    find_secrets_in_text,
    is_ciphertext,
    is_encrypted,
)
from infra.stackfile.findings.finding import Finding
from infra.stackfile.findings.formatting import printable, show, show_path
from infra.stackfile.findings.pydantic_errors import unknown_key
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.nested import walk
from infra.stackfile.reading import Loaded, Reading, partial
from infra.stackfile.schema.stack import SECTIONS
from infra.stackfile.waived_reading import judged, under
from infra.stackfile.yaml_source import DEEPEST, Unreadable, read

NAMESPACE = "ebbtide"


def load(raw: Mapping[str, Any], file: str, waivers: Sequence[Waiver] = (), today: date | None = None) -> Loaded:
    """Return the stack in ``raw`` (see ``read_values``). Raises ConfigError with all findings if any stops it."""
    return read_values(raw, file, waivers, today).loaded()


def load_file(path: FilePath | str, waivers: Sequence[Waiver] = (), today: date | None = None) -> Loaded:
    """Return the stack in the file at ``path``. Raises ConfigError with all findings if any of them stops it."""
    return read_file(path, waivers, today).loaded()


def read_values(
    raw: Mapping[str, Any], file: str, waivers: Sequence[Waiver] = (), today: date | None = None
) -> Reading:
    """Read the values of one stack, keyed without namespace (``models``, ``pools``, …).

    ``file`` only names the place in findings. A mandatory finding that one of ``waivers`` covers ``today``
    becomes a warning.
    """
    day = today or date.today()
    try:
        plain = _plain(raw, 0)
    except Unreadable as error:
        return Reading(file=file, findings=(_finding(error.problem, file, Secrets()),), today=day)
    return _read(plain, file, (), find_secrets(plain), waivers, day)


def read_file(path: FilePath | str, waivers: Sequence[Waiver] = (), today: date | None = None) -> Reading:
    """Read ``stacks/Pulumi.NAME.yaml``, without Pulumi and without the network."""
    path, day = FilePath(path), today or date.today()
    file = f"{path.parent.name}/{path.name}" if path.parent.name else path.name
    try:
        content = read(path)
    except Unreadable as error:
        return _unread(error.problem, file, Secrets(), day)
    try:
        config = _config(content.value)
    except Unreadable as error:
        return _unread(error.problem, file, find_secrets_in_text(content.text, Secrets()), day)
    own, foreign, unknown = _split(config)
    secrets = find_secrets(foreign, ("config",))
    secrets.merge(find_secrets({key: value for key, value in content.value.items() if key != "config"}))
    secrets.merge(find_secrets(own))
    secrets.merge(find_secrets_in_text(content.text, secrets))
    before = [*map(_without_namespace, (*content.repeated, *content.misread)), *unknown]
    reading = _read(own, file, before, secrets, waivers, day)
    beside = {str(key): value for key, value in content.value.items() if key != "config"}
    return replace(reading, outside={**beside, **({"config": foreign} if foreign else {})})


def _unread(problem: Problem, file: str, secrets: Secrets, today: date) -> Reading:
    """Return the reading of a file of which nothing can be judged but the secrets in its text."""
    findings = tuple(_finding(each, file, secrets) for each in (problem, *secrets.problems))
    return Reading(file=file, findings=findings, today=today)


def _read(
    raw: Mapping[str, Any],
    file: str,
    before: Iterable[Problem],
    secrets: Secrets,
    waivers: Sequence[Waiver],
    today: date,
) -> Reading:
    sections = {str(key): value for key, value in raw.items() if value is not None}
    encrypted = dict(_encrypted(sections))
    closed = set(encrypted)
    own = [*before, *secrets.problems, *(problem for problem in encrypted.values() if problem is not None)]
    named = with_names(sections)
    config, problems = judged(named, closed, own, secrets.paths, waivers, today)
    order = _order(sections)
    problems.sort(key=lambda each: order(each[0]))
    return Reading(
        file=file,
        values=sections,
        config=config,
        partial=partial(config, named),
        findings=tuple(_finding(problem, file, secrets, waiver) for problem, waiver in problems),
        waivers=tuple(waivers),
        today=today,
        secrets=secrets,
    )


def finding_in(reading: Reading, problem: Problem) -> Finding:
    """Return the finding for a problem from outside the file's own rules, under the reading's waivers and redacted."""
    judged_problem, waiver = under(problem, reading.waivers, reading.today)
    return _finding(judged_problem, reading.file, reading.secrets, waiver)


def finding(problem: Problem, file: str, waivers: Sequence[Waiver] = (), today: date | None = None) -> Finding:
    """Return the finding for a problem that was found outside the stack file, for a reader of that file."""
    judged_problem, waiver = under(problem, waivers, today or date.today())
    return _finding(judged_problem, file, Secrets(), waiver)


def _finding(problem: Problem, file: str, secrets: Secrets, waiver: Waiver | None = None) -> Finding:
    def clean(text: str) -> str:
        return printable(secrets.redact(text))

    # redacted before it is shortened for showing, or the beginning of a long secret would get through
    whole = secrets.redact(problem.value) if isinstance(problem.value, str) else problem.value
    secret = secrets.hold(problem.path)
    value = REDACTED if secret else show(whole)
    # other rules derive their fix from the value, like the nearest valid name
    derived = secret and problem.value is not REDACTED and problem.rule != KEY_UNKNOWN
    fix = "take the secret out first" if derived else problem.fix
    return Finding(
        code=problem.code,
        severity=problem.severity,
        file=clean(file),
        path=clean(show_path(problem.path)),
        value=clean(value) if problem.has_value else None,
        message=clean(problem.message),
        allowed=clean(problem.allowed),
        fix=clean(fix),
        waiver=waiver,
        policy=problem.rule.policy_at(problem.path),
        owner=_mark(problem) if problem.rule.owner else "",
    )


def _mark(problem: Problem) -> str:
    # of the whole value, which is shown shortened, and of the message, which says how much of it there is
    whole = repr((problem.code, problem.path, problem.value, problem.message))
    return hashlib.sha256(whole.encode(errors="backslashreplace")).hexdigest()


def _config(document: Any) -> Mapping[str, Any]:
    """Return the mapping under ``config:``. Raises Unreadable if it is no mapping: nothing can be judged then."""
    if document is None:
        fix = "begin with config: and the keys of the example in docs/first-stack.md"
        raise Unreadable(FILE_UNREADABLE.at((), "is empty", allowed="a stack file", fix=fix))
    if not isinstance(document, Mapping):
        fix = "begin with config:, then ebbtide:environment and the others below it"
        raise Unreadable(
            FILE_UNREADABLE.at((), "is not a mapping", allowed="keys with values", fix=fix, value=document)
        )
    config = document.get("config")
    if config is not None and not isinstance(config, Mapping):
        fix = "write ebbtide:environment and the others below it, one a line"
        raise Unreadable(
            TYPE_WRONG.at(("config",), "is not a mapping", allowed="keys with values", fix=fix, value=config)
        )
    return config or {}


def _split(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[Problem]]:
    """Return our namespace's sections, all other keys, and a problem for each key without a namespace."""
    own: dict[str, Any] = {}
    foreign: dict[str, Any] = {}
    unknown: list[Problem] = []
    for key, value in config.items():
        namespace, colon, name = key.partition(":")
        if colon and namespace == NAMESPACE:
            own[name] = value
            continue
        foreign[key] = value
        if not colon or (name in SECTIONS and _is_misspelled(namespace)):
            name = name or key
            sections = [f"{NAMESPACE}:{section}" for section in SECTIONS]
            unknown.append(unknown_key(("config", key), sections, f"{NAMESPACE}:{name}"))
    return own, foreign, unknown


def _is_misspelled(namespace: str) -> bool:
    """Return True if a namespace is this program's, misspelled; a provider's own keys may have a section's name."""
    return bool(difflib.get_close_matches(namespace.lower(), [NAMESPACE], cutoff=0.7))


def _without_namespace(problem: Problem) -> Problem:
    """Return the problem with ``config.ebbtide:models.x`` called ``models.x``, as elsewhere."""
    path = problem.path
    if len(path) > 1 and path[0] == "config" and str(path[1]).startswith(f"{NAMESPACE}:"):
        path = (str(path[1]).partition(":")[2], *path[2:])
    return replace(problem, path=path)


def _plain(value: Any, depth: int) -> Any:
    """Return the same values with text keys, as from YAML and JSON. Raises Unreadable if nested too deeply."""
    if depth > DEEPEST:
        message, allowed = "is nested too deeply", f"{DEEPEST} levels"
        raise Unreadable(FILE_UNREADABLE.at((), message, allowed=allowed, fix="take levels out"))
    if isinstance(value, Mapping):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    return value


def with_names(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Add to each pool and model its own name, which in the file is its key, and to each pool the kind of place it is
    in, whose machines it may name."""
    named = dict(sections)
    platform = named.get("platform")
    kind = platform.get("kind") if isinstance(platform, Mapping) else None
    place = {"<place>": kind if isinstance(kind, str) else ""}
    for section, more in (("pools", place), ("models", {})):
        if isinstance(items := named.get(section), Mapping):
            named[section] = {
                name: {**item, "<name>": name, **more} if isinstance(item, Mapping) else item
                for name, item in items.items()
            }
    return named


def _encrypted(raw: Any) -> Iterator[tuple[Path, Problem | None]]:
    """Yield the path of each encrypted value with its problem; None where it is a secret in clear, found as such."""
    message = "is encrypted, so nobody can judge it before it is used"
    fix = "write the plain value; nothing in these keys is a secret (of a key only the hash is given)"
    for at, value in walk(raw):
        if is_encrypted(value):
            problem = VALUE_ENCRYPTED.at(at, message, allowed="a plain value", fix=fix)
            yield at, problem if is_ciphertext(value["secure"]) else None


def _order(sections: Mapping[str, Any]) -> Callable[[Problem], tuple[list[int], str]]:
    """Return a sort key: the position of a problem's path in the file, so that findings come in the file's order."""

    def order(problem: Problem) -> tuple[list[int], str]:
        place: list[int] = []
        here: Any = sections
        for part in problem.path:
            if isinstance(here, Mapping):
                keys = list(here)
                place.append(keys.index(part) if part in here else len(keys))
                here = here.get(str(part))
            else:
                place.append(part if isinstance(part, int) else 0)
                here = here[part] if isinstance(here, list) and isinstance(part, int) and part < len(here) else None
        return place, problem.code

    return order
