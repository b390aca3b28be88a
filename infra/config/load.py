"""From raw values to a StackConfig, or to everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path as FilePath
from typing import Any

from components.typed.refusal import Path, Problem, code
from infra.config.cleartext import REDACTED, Secrets, find_secrets, is_encrypted
from infra.config.findings import ConfigError, Finding, printable, show, show_path
from infra.config.stack import SECTIONS, StackConfig
from infra.config.translate import UNKNOWN_KEY, unknown_key
from infra.config.under_waivers import judged, under
from infra.config.waiver import Waiver
from infra.config.yaml_source import DEEPEST, Unreadable, read

NAMESPACE = "ebbtide"


@dataclass(frozen=True)
class Loaded:
    """A stack that may be built, and what its owner should hear about it."""

    config: StackConfig
    warnings: tuple[Finding, ...] = ()


def load(raw: Mapping[str, Any], file: str, waivers: Sequence[Waiver] = (), today: date | None = None) -> Loaded:
    """Judge the values of one stack, keyed without namespace (``models``, ``pools``, …).

    ``file`` only names the place in findings. A mandatory finding that one of ``waivers`` covers ``today`` is a
    warning. Raises ConfigError with all findings if any of them stops the stack.
    """
    try:
        plain = _plain(raw, 0)
    except Unreadable as error:
        raise ConfigError([_finding(error.problem, file, Secrets())]) from None
    return _load(plain, file, (), find_secrets(plain), waivers, today)


def load_file(path: FilePath | str, waivers: Sequence[Waiver] = (), today: date | None = None) -> Loaded:
    """Read and judge ``stacks/Pulumi.NAME.yaml``; no Pulumi, no network. Raises ConfigError."""
    path = FilePath(path)
    file = f"{path.parent.name}/{path.name}" if path.parent.name else path.name
    try:
        content = read(path)
        config = _config(content.value)
    except Unreadable as error:
        raise ConfigError([_finding(error.problem, file, Secrets())]) from None
    own, foreign, unknown = _split(config)
    secrets = find_secrets(foreign, ("config",))
    secrets.merge(find_secrets(own))
    return _load(own, file, [*map(_without_namespace, content.repeated), *unknown], secrets, waivers, today)


def _load(
    raw: Mapping[str, Any],
    file: str,
    before: Iterable[Problem],
    secrets: Secrets,
    waivers: Sequence[Waiver],
    today: date | None,
) -> Loaded:
    sections = {str(key): value for key, value in raw.items() if value is not None}
    encrypted = list(_encrypted(sections, ()))
    closed = {problem.path for problem in encrypted}
    own = [*before, *secrets.problems, *encrypted]
    config, problems = judged(_with_names(sections), closed, own, waivers, today or date.today())
    order = _order(sections)
    problems.sort(key=lambda found: order(found[0]))
    findings = tuple(_finding(problem, file, secrets, waiver) for problem, waiver in problems)
    if config is None or any(finding.stops for finding in findings):
        raise ConfigError(findings)
    return Loaded(config, findings)


def finding(problem: Problem, file: str, waivers: Sequence[Waiver] = (), today: date | None = None) -> Finding:
    """A problem that was found beside the stack file, for a reader of that file."""
    found, waiver = under(problem, waivers, today or date.today())
    return _finding(found, file, Secrets(), waiver)


def _finding(problem: Problem, file: str, secrets: Secrets, waiver: Waiver | None = None) -> Finding:
    def clean(text: str) -> str:
        return printable(secrets.redact(text))

    # cleaned before it is shortened for showing, or the beginning of a long secret would get through
    whole = secrets.redact(problem.value) if isinstance(problem.value, str) else problem.value
    secret = secrets.hold(problem.path)
    value = REDACTED if secret else show(whole)
    # other rules make their fix out of the value, like the nearest good name
    derived = secret and problem.value is not REDACTED and problem.number != UNKNOWN_KEY
    fix = "take the secret out first" if derived else problem.fix
    return Finding(
        code=code(problem.number),
        severity=problem.severity,
        file=file,
        path=clean(show_path(problem.path)),
        value=clean(value) if problem.has_value else None,
        message=clean(problem.message),
        allowed=clean(problem.allowed),
        fix=clean(fix),
        waiver=waiver,
    )


def _config(document: Any) -> Mapping[str, Any]:
    """What stands under ``config:``. Raises Unreadable where that is no mapping, because nothing can be judged then."""
    if document is None:
        fix = "begin with config: and the keys of the README's example"
        raise Unreadable(Problem(101, (), "is empty", "a stack file", fix, has_value=False))
    if not isinstance(document, Mapping):
        fix = "begin with config:, then ebbtide:environment and the others below it"
        raise Unreadable(Problem(101, (), "is not a mapping", "keys with values", fix, document))
    config = document.get("config")
    if config is not None and not isinstance(config, Mapping):
        fix = "write ebbtide:environment and the others below it, one a line"
        raise Unreadable(Problem(102, ("config",), "is not a mapping", "keys with values", fix, config))
    return config or {}


def _split(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[Problem]]:
    """The sections of our namespace, what belongs to other namespaces, and keys without one."""
    own: dict[str, Any] = {}
    foreign: dict[str, Any] = {}
    unknown: list[Problem] = []
    for key, value in config.items():
        namespace, colon, name = key.partition(":")
        if colon and namespace == NAMESPACE:
            own[name] = value
            continue
        foreign[key] = value
        if not colon:
            sections = [f"{NAMESPACE}:{section}" for section in SECTIONS]
            unknown.append(unknown_key(("config", key), sections, f"{NAMESPACE}:{key}"))
    return own, foreign, unknown


def _without_namespace(problem: Problem) -> Problem:
    """``config.ebbtide:models.x`` is called ``models.x`` everywhere else."""
    path = problem.path
    if len(path) > 1 and path[0] == "config" and str(path[1]).startswith(f"{NAMESPACE}:"):
        path = (str(path[1]).partition(":")[2], *path[2:])
    return Problem(problem.number, path, problem.message, problem.allowed, problem.fix, has_value=False)


def _plain(value: Any, depth: int) -> Any:
    """The same values with text for keys, as YAML and JSON would give them."""
    if depth > DEEPEST:
        message, allowed = "is nested too deeply", f"{DEEPEST} levels"
        raise Unreadable(Problem(101, (), message, allowed, "take levels out", has_value=False))
    if isinstance(value, Mapping):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    return value


def _with_names(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Pools and models know their own name, which in the file is the key they stand under; pools also know the kind of
    place they are in, whose machines they may name."""
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


def _encrypted(raw: Any, at: Path) -> Iterator[Problem]:
    if is_encrypted(raw):
        message = "is encrypted, so nobody can judge it before it is used"
        fix = "write the plain value; nothing in these keys is a secret (of a key only the hash is given)"
        yield Problem(105, at, message, "a plain value", fix, has_value=False)
    elif isinstance(raw, Mapping):
        for key, value in raw.items():
            yield from _encrypted(value, (*at, str(key)))
    elif isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from _encrypted(value, (*at, index))


def _order(sections: Mapping[str, Any]) -> Callable[[Problem], tuple[list[int], int]]:
    """Where a problem's path stands in the file, so that findings come in the order a reader meets them."""

    def order(problem: Problem) -> tuple[list[int], int]:
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
        return place, problem.number

    return order
