"""Secrets written in clear: found by their look or by their key, then kept out of every output."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from components.model_service.managed_flags import flag_name, secret_flag
from components.typed.refusal import Path, Problem, Rule
from components.typed.rules.stack import SECRET_IN_CLEAR, SECRET_IN_ENGINE_SETTINGS
from infra.stackfile.findings.formatting import show

REDACTED = "<redacted>"
OPEN_TO_POD_READERS = ", where whoever may read the pod reads it"

_LOOKS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"hf_[A-Za-z0-9]{20,}"
    r"|sk-[A-Za-z0-9_-]{16,}"
    r"|nvapi-[A-Za-z0-9_-]{20,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}"
    r"|gh[opsur]_[A-Za-z0-9]{20,}"
    r"|github_pat_[A-Za-z0-9_]{20,}"
    r"|glpat-[A-Za-z0-9_-]{20,}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}"
    r"|pul-[0-9a-f]{40}"
    r"|AIza[A-Za-z0-9_-]{35}"
    r"|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"
    r")"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|://[^/@\s:]*:[^/@\s]+@"
)
_SECRET_KEY = re.compile(
    r"(token|password|passwd|passphrase|secret|api_?key|access_?key|secret_?key|private_?key|credentials?)$",
    re.IGNORECASE,
)
_SECRET_ENV = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
# Names of Secrets in the cluster, not secrets.
_REFERENCES = (("platform", "registry", "pullSecret"), ("models", "*", "hubToken"))
# A shorter secret would also be cut out of ordinary words; the value at its own path is redacted anyway.
_SHORTEST_REPLACED = 8


@dataclass
class Secrets:
    """The paths of secrets in one stack file, and their texts, for redaction only."""

    problems: list[Problem] = field(default_factory=list)
    paths: set[Path] = field(default_factory=set)
    texts: set[str] = field(default_factory=set, repr=False)

    def redact(self, text: str) -> str:
        """Return ``text`` without the secrets found, and without anything else that looks like one."""
        for secret in sorted(self.texts, key=len, reverse=True):
            text = text.replace(secret, REDACTED)
        return _LOOKS.sub(REDACTED, text)

    def hold(self, path: Path) -> bool:
        """Return True if the value at ``path`` is a secret."""
        return path in self.paths

    def merge(self, other: Secrets) -> None:
        """Take over the secrets of another part of the file."""
        self.problems += other.problems
        self.paths |= other.paths
        self.texts |= other.texts

    def found(self, rule: Rule, path: Path, texts: list[str], message: str, fix: str, shown: bool = True) -> None:
        """Note a secret: no output may contain ``texts``; ``shown`` says whether a redacted value is shown at all."""
        allowed = "no secret in clear in a stack file"
        self.paths.add(path)
        self.texts |= {text for text in texts if len(text) >= _SHORTEST_REPLACED}
        found = rule.at(path, message, allowed=allowed, fix=fix, value=REDACTED)
        self.problems.append(replace(found, has_value=shown))


def find_secrets(raw: Any, at: Path = ()) -> Secrets:
    """Find the secrets in every key and value below ``raw``; values Pulumi has encrypted (``secure:``) are skipped."""
    secrets = Secrets()
    for path, value in _leaves(raw, at):
        _judge(secrets, path, value, raw)
    for path in _secret_keys(raw, at):
        secrets.found(
            SECRET_IN_CLEAR,
            path,
            [match[0] for part in path if isinstance(part, str) for match in [_LOOKS.search(part)] if match],
            "is a key that holds a secret in clear",
            "take it out, withdraw the secret where it was made, and name it otherwise",
        )
    return secrets


def is_encrypted(value: Any) -> bool:
    """Return True if Pulumi wrote this in place of a plain value."""
    return isinstance(value, Mapping) and set(value) == {"secure"} and isinstance(value["secure"], str)


def _judge(secrets: Secrets, path: Path, value: Any, raw: Any) -> None:
    look = _LOOKS.search(value) if isinstance(value, str) else None
    texts = [value if isinstance(value, str) else show(value), *([look[0]] if look else [])]
    last = path[-1] if path else ""
    if path[-2:-1] == ("extraEnv",) and isinstance(last, str):
        if look or (value != "" and _SECRET_ENV.search(last)):
            secrets.found(
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
    if look or named:
        message = "is a secret in clear" if look else "stands under a key for secrets, in clear"
        secrets.found(
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
            secrets.texts |= {value} if len(value) >= _SHORTEST_REPLACED else set()
        return
    given = [part for part in (value.partition("=")[2], value.partition(" ")[2]) if part]
    what = f"{flag} puts a secret on the engine's command line" if flag else "is a secret on the engine's command line"
    fix = "take it out and withdraw it: keys are the gateway's, weights come from the model store"
    secrets.found(
        SECRET_IN_ENGINE_SETTINGS,
        path,
        [value, *given] if look or given else [],
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


def _leaves(raw: Any, at: Path) -> Iterator[tuple[Path, Any]]:
    if is_encrypted(raw):
        return
    if isinstance(raw, Mapping):
        for key, value in raw.items():
            yield from _leaves(value, (*at, str(key)))
    elif isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from _leaves(value, (*at, index))
    elif raw is not None and not isinstance(raw, bool):
        yield at, raw


def _is_reference(path: Path) -> bool:
    """Return True if the key holds the name of a Secret; a value that looks like a secret is found all the same."""
    return any(
        len(path) == len(known) and all(want in ("*", part) for want, part in zip(known, path, strict=True))
        for known in _REFERENCES
    )


def _secret_keys(raw: Any, at: Path) -> Iterator[Path]:
    if isinstance(raw, Mapping):
        for key, value in raw.items():
            if _LOOKS.search(str(key)):
                yield (*at, str(key))
            yield from _secret_keys(value, (*at, str(key)))
    elif isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from _secret_keys(value, (*at, index))
