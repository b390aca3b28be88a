"""Secrets written in clear: found by their look or by their key, then kept out of every output."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from components.model_service.managed_flags import flag_name, secret_flag
from components.typed.refusal import Path, Problem, Rule
from components.typed.rules.stack import SECRET_IN_CLEAR, SECRET_IN_ENGINE_SETTINGS
from infra.redaction import REDACTED as REDACTED
from infra.redaction import SECRET_KEY, SECRET_VARIABLE, SHORTEST, first_look, looks, redact
from infra.stackfile.findings.formatting import show
from infra.stackfile.nested import walk

OPEN_TO_POD_READERS = ", where whoever may read the pod reads it"

_SECRET_KEY = re.compile(f"(?:{SECRET_KEY})$", re.IGNORECASE)
# Names of Secrets in the cluster, not secrets.
_REFERENCES = (("platform", "registry", "pullSecret"), ("models", "*", "hubToken"), ("database", "secret"))
# What Pulumi writes in place of a value. Of its own key: v1, a nonce, the text, as base64. Of its service and of most
# key services: base64 whose first bytes tell the version. Of others: what an RSA key made.
_CIPHERTEXT = re.compile(
    r"v1:[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+|(?:AAAB|AQICA|CiQA)[A-Za-z0-9+/]{40,}={0,2}|[A-Za-z0-9+/_-]{342}={0,2}"
)


@dataclass
class Secrets:
    """The paths of secrets in one stack file, and their texts, for redaction only."""

    problems: list[Problem] = field(default_factory=list)
    paths: set[Path] = field(default_factory=set)
    texts: set[str] = field(default_factory=set, repr=False)

    def redact(self, text: str) -> str:
        """Return ``text`` without the secrets found, and without anything else that looks like one."""
        return redact(text, self.texts)

    def hold(self, path: Path) -> bool:
        """Return True if the value at ``path`` is a secret."""
        return path in self.paths

    def merge(self, other: Secrets) -> None:
        """Take over the secrets of another part of the file."""
        self.problems += other.problems
        self.paths |= other.paths
        self.texts |= other.texts

    def add(self, rule: Rule, path: Path, texts: list[str], message: str, fix: str, shown: bool = True) -> None:
        """Note a secret: no output may contain ``texts``; ``shown`` says whether a redacted value is shown at all."""
        allowed = "no secret in clear in a stack file"
        self.paths.add(path)
        self.texts |= {text for text in texts if len(text) >= SHORTEST}
        problem = rule.at(path, message, allowed=allowed, fix=fix, value=REDACTED)
        self.problems.append(replace(problem, has_value=shown))


def find_secrets(raw: Any, at: Path = ()) -> Secrets:
    """Find the secrets in every key and value below ``raw``; values Pulumi has encrypted (``secure:``) are skipped."""
    secrets = Secrets()
    # a stack of a thousand models has each of its keys, and most values, a thousand times
    look_of = cache(first_look)
    for path, value in walk(raw, at, skip=_is_sealed):
        if not isinstance(value, (Mapping, list, bool, type(None))):
            _judge(secrets, path, value, raw, look_of)
    for path, _ in walk(raw, at):
        if path and isinstance(path[-1], str) and look_of(path[-1]):
            secrets.add(
                SECRET_IN_CLEAR,
                path,
                [look for part in path if isinstance(part, str) for look in [look_of(part)] if look],
                "is a key that holds a secret in clear",
                "take it out, withdraw the secret where it was made, and name it otherwise",
            )
    return secrets


def find_secrets_in_text(text: str, known: Secrets) -> Secrets:
    """Find the secrets that a stack file's text has beside its values: in comments, anchors, keys given twice."""
    secrets = Secrets()
    for look in looks(text):
        if any(look.written in secret or secret in look.written for secret in (*known.texts, *secrets.texts)):
            continue
        secrets.add(
            SECRET_IN_CLEAR,
            (),
            [look.written],
            f"holds a secret in clear in line {text.count(chr(10), 0, look.start) + 1}, beside its values",
            "take it out of the comment, and withdraw it where it was made: whoever reads the file has it",
            shown=False,
        )
    return secrets


def is_encrypted(value: Any) -> bool:
    """Return True if Pulumi reads this as an encrypted value, whatever stands there."""
    return isinstance(value, Mapping) and set(value) == {"secure"} and isinstance(value["secure"], str)


def is_ciphertext(text: str) -> bool:
    """Return True if Pulumi wrote this text under ``secure:``; False for one that somebody typed there."""
    return text == "" or _CIPHERTEXT.fullmatch(text) is not None


def _judge(secrets: Secrets, path: Path, value: Any, raw: Any, look_of: Callable[[str], str | None]) -> None:
    look = look_of(value) if isinstance(value, str) else None
    texts = [value if isinstance(value, str) else show(value), *([look] if look else [])]
    last = path[-1] if path else ""
    if path[-2:-1] == ("extraEnv",) and isinstance(last, str):
        if look or (value != "" and SECRET_VARIABLE.search(last)):
            secrets.add(
                SECRET_IN_ENGINE_SETTINGS,
                path,
                texts,
                "is a secret in an environment variable" + OPEN_TO_POD_READERS,
                "take it out of extraEnv and withdraw it; weights come from the model store, without a token",
            )
        return
    if path[-2:-1] == ("extraArgs",) and isinstance(last, int) and isinstance(value, str):
        _judge_argument(secrets, path, value, bool(look), raw)
        return
    named = isinstance(last, str) and _SECRET_KEY.search(last) and not _is_reference(path) and value != ""
    if last == "secure":
        message = "stands under secure: in clear, for only Pulumi's own command encrypts it"
        fix = "take it out, withdraw it where it was made, and set the new one with: pulumi config set --secret"
        secrets.add(SECRET_IN_CLEAR, path, texts, message, fix)
    elif look or named:
        message = "is a secret in clear" if look else "stands under a key for secrets, in clear"
        secrets.add(
            SECRET_IN_CLEAR,
            path,
            texts,
            message,
            "take it out, withdraw it where it was made, and keep the new one in Pulumi's or the cluster's secrets",
        )


def _judge_argument(secrets: Secrets, path: Path, value: str, look: bool, raw: Any) -> None:
    flag = secret_flag(value)
    if flag is None and not look:
        previous = _at(raw, (*path[:-1], int(path[-1]) - 1))
        alone = isinstance(previous, str) and secret_flag(previous) and flag_name(previous) == previous.strip()
        if alone and not value.startswith("-"):
            # the value of the preceding flag, which has the finding
            secrets.paths.add(path)
            secrets.texts |= {value} if len(value) >= SHORTEST else set()
        return
    values = [part for part in (value.partition("=")[2], value.partition(" ")[2]) if part]
    what = f"{flag} puts a secret on the engine's command line" if flag else "is a secret on the engine's command line"
    fix = "take it out and withdraw it: keys are the gateway's, weights come from the model store"
    secrets.add(
        SECRET_IN_ENGINE_SETTINGS,
        path,
        [value, *values] if look or values else [],
        what + OPEN_TO_POD_READERS,
        fix,
        not flag,
    )


def _at(raw: Any, path: Path) -> Any:
    for part in path:
        try:
            raw = raw[part] if not isinstance(part, int) or part >= 0 else None
        except (KeyError, IndexError, TypeError):
            return None
    return raw


def _is_sealed(value: Any) -> bool:
    return is_encrypted(value) and is_ciphertext(value["secure"])


def _is_reference(path: Path) -> bool:
    """Return True if the key holds the name of a Secret; a value that looks like a secret is found all the same. A
    section without its namespace is another mistake, and has a finding of its own."""
    if path[:1] == ("config",) and len(path) > 1:
        path = (str(path[1]).rpartition(":")[2], *path[2:])
    return any(
        len(path) == len(known) and all(want in ("*", part) for want, part in zip(known, path, strict=True))
        for known in _REFERENCES
    )
