"""Secrets in any file of a change: what people leak, with its line and kind, and never the secret itself.

Three readers look at each file: this project's own patterns (``infra.redaction``), the detectors of ``detect-secrets``,
and, for names like ``password``, the randomness of what is assigned to them.
"""

from __future__ import annotations

import codecs
import filecmp
import importlib
import math
import re
import string
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path, PurePosixPath
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from infra.redaction import SECRET_KEY, looks, redact
from infra.stackfile.cleartext_secrets import is_ciphertext

if TYPE_CHECKING:
    from detect_secrets.plugins.base import RegexBasedDetector

# Written by tools, and nothing but names, versions and digests; a token's own pattern is found in them all the same.
_LOCKS = frozenset({"go.sum", "package-lock.json", "yarn.lock", "poetry.lock", "uv.lock", "Cargo.lock", "go.mod"})
# A longer line is read in pieces that overlap by half: the detectors' patterns are not ours, and some take the square.
_LONGEST_PIECE = 4_000
_LARGEST = 2 << 20
_TOO_LARGE = "too large to be read for secrets"
# Byte order marks; the longer ones first, that begin like shorter ones.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
# Lines that hold one word each: a text that was broken over lines.
_GOES_ON = re.compile(r"(?:(?<=[A-Za-z0-9_.~+/=%-])\\?\r?\n[ \t]*[A-Za-z0-9_.~+/=%-]+[\"']?(?=\\?\r?\n|\Z))+")
# What stands at an example's place: nobody's secret.
_EXAMPLE = re.compile(
    r"example|placeholder|change.?me|your[-_ ]|dummy|redacted|xxxx|\*{3}|…|\.\.\.|<[^<>]*>|\{[^{}]*\}"
    r"|^\$[A-Za-z_({]|not.?a.?secret",
    re.IGNORECASE,
)
_PASSWORD_IN_ADDRESS = re.compile(r"://[^/@\s:]*:(?P<password>[^/@\s]+)@")
_SHORTEST = 6
_WEAK_PASSWORDS = frozenset({"password", "passwd", "secret"})
_NAMED = re.compile(
    rf"""(?:{SECRET_KEY.replace("_?", "[_-]?")}|account[_-]?key|shared[_-]?key|auth)[A-Za-z0-9_]{{0,12}}"""
    r"""(?P<after>["']?\s*(?::=|=>|[:=])\s*)"""
    r"""(?:[bru]?["'](?P<quoted>[^"'\s]{12,}+)["'])?""",
    re.IGNORECASE,
)
# What may stand before the keyword in the same name, and as how much of it.
_OF_NAMES = string.ascii_letters + string.digits + "_.-"
_LONGEST_BEFORE = 60
_SHORTEST_BARE = 16
_BARE = re.compile(rf"""[^\s"'`,;()\[\]{{}}<>]{{{_SHORTEST_BARE},}}+""")
_LINE_ENDS = re.compile(r"\s*(?:#.*)?$")
_HEX_DIGEST = re.compile(r"(?:sha\d+[:-])?(?:[0-9a-f]{40}|[0-9a-f]{56}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})", re.I)
_RANDOM = re.compile(r"[A-Za-z0-9+/_=.~!@#%^&*-]+")
_CHANGE = re.compile(r"[A-Za-z](?=[0-9])|[0-9](?=[A-Za-z])|[a-z](?=[A-Z])")
_LEAST_BITS = 3.0
_SECURE = re.compile(
    r"""(?:^|[\s{,"'])["']?secure["']?\s*:\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s,}\#]+))"""
)
# A switch, a number, or a text that begins in the next line.
_NO_TEXT = re.compile(r"[>|][+-]?\d*|true|false|null|~|\d{1,5}", re.IGNORECASE)
# Detectors of what this project's own patterns find, and the class that all detectors are made from.
_OWN = frozenset(
    {"BasicAuthDetector", "GitHubTokenDetector", "JwtTokenDetector", "PrivateKeyDetector", "RegexBasedDetector"}
)
_YAML = (".yaml", ".yml", ".json")


@dataclass(frozen=True, order=True)
class FoundSecret:
    """One secret: the file, the line from 1 (0: the file's own name, or a file too large), and its kind in words."""

    path: str
    line: int
    kind: str

    def __str__(self) -> str:
        if self.kind == _TOO_LARGE:
            allowed = f"files up to {_LARGEST >> 20} MiB"
            return f"{redact(self.path)}: {_TOO_LARGE}; allowed: {allowed}; fix: keep it out of the repository"
        where = redact(f"{self.path}:{self.line}" if self.line else f"{self.path} (its name)")
        return (
            f"{where}: holds a secret in clear ({self.kind}); allowed: no secret in a file of the repository; "
            "fix: take it out, and withdraw it where it was made: the history keeps it"
        )


def new_secrets(base: Path, head: Path, paths: Sequence[str]) -> Iterator[FoundSecret]:
    """Yield the secrets that a change brings in, wherever they stand: those in lines that no changed file of ``base``
    has, so that a file that moves is not read anew."""
    known = (base / path for path in paths if not _is_large(base / path))
    texts = [_text(file) or "" for file in known]
    old = {line.strip() for text in texts for each in (text, _whole(text)) for line in each.split("\n")}
    for path in paths:
        if _is_large(head / path):
            if not ((base / path).is_file() and filecmp.cmp(base / path, head / path, shallow=False)):
                yield FoundSecret(path, 0, _TOO_LARGE)
        elif (text := _text(head / path)) is not None:
            lines = [("", ""), *zip(text.split("\n"), _whole(text).split("\n"), strict=True)]
            for each in secrets_in(path, text):
                if not each.line or any(line.strip() not in old for line in lines[each.line]):
                    yield each


def _is_large(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > _LARGEST


def _text(file: Path) -> str | None:
    """Return a file's text, whatever its bytes: a token is found among rubbish too; None if there is no such file."""
    if not file.is_file():
        return None
    content = file.read_bytes()
    coding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    # without a mark, letters of a token are their bytes in ASCII between zeros
    return content.decode(coding, errors="replace").replace("\0", "")


def _whole(text: str) -> str:
    """Return the same number of lines, with what was broken over several of them in its first."""
    return _GOES_ON.sub(lambda broken: re.sub(r"[\s\\]", "", broken[0]) + "\n" * broken[0].count("\n"), text)


def secrets_in(path: str, text: str) -> list[FoundSecret]:
    """Return every secret in a file of the repository and in its path, by line; each line and kind once. Pure."""
    secrets = {FoundSecret(path, 0, look.kind) for look in looks(path)}
    known: set[str] = set()
    for reading in dict.fromkeys((text, _whole(text))):
        begins = [0, *accumulate(len(line) + 1 for line in reading.split("\n"))]
        matches = [
            each for each in looks(reading) if each.secret not in known and not _harmless(each.kind, each.secret)
        ]
        # a pattern of several lines is told by its first
        secrets |= {FoundSecret(path, bisect_right(begins, each.start), each.kind) for each in matches}
        known = {each.secret for each in matches}
    lines = {each.line for each in secrets}
    for number, line in enumerate(text.split("\n"), 1):
        if number not in lines:
            pieces = (line[at : at + _LONGEST_PIECE] for at in range(0, len(line), _LONGEST_PIECE // 2))
            secrets |= {FoundSecret(path, number, kind) for piece in pieces for kind in _in_line(path, piece)}
    return sorted(secrets)


def _in_line(path: str, line: str) -> Iterator[str]:
    """Yield the kinds of secrets that one line holds beside those with a pattern of this project's own."""
    if path.endswith(_YAML):
        for match in _SECURE.finditer(line):
            text = match["double"] or match["single"] or match["bare"] or ""
            if not is_ciphertext(text) and not _NO_TEXT.fullmatch(text):
                yield "value under secure: that is not encrypted"
    if not _is_lock(path):
        yield from {kind for kind, secret in _detected(line) if not _EXAMPLE.search(secret)}
        yield from {f"random text under the name {name}" for name in _random_values(line)}


def _harmless(kind: str, secret: str) -> bool:
    if kind == "password in an address":
        match = _PASSWORD_IN_ADDRESS.search(secret)
        password = match["password"] if match else ""
        return password.lower() in _WEAK_PASSWORDS or len(password) < _SHORTEST or bool(_EXAMPLE.search(password))
    if kind == "API key" and not re.search("[0-9]", secret):
        return True  # words
    return kind != "private key" and bool(_EXAMPLE.search(secret))


def _random_values(line: str) -> Iterator[str]:
    for match, value in _assigned(line):
        harmless = _HEX_DIGEST.fullmatch(value) or _EXAMPLE.search(value)
        if _RANDOM.fullmatch(value) and not harmless and _is_random(value):
            before = line[max(0, match.start() - _LONGEST_BEFORE) : match.start()]
            name = before[len(before.rstrip(_OF_NAMES)) :] + line[match.start() : match.start("after")]
            yield redact(name.lstrip(".-_"))[-40:]


def _assigned(line: str) -> Iterator[tuple[re.Match[str], str]]:
    """Yield every name for a secret with the text assigned to it: in quotes, or bare up to the line's end."""
    read = 0
    for match in _NAMED.finditer(line):
        if match["quoted"]:
            yield match, match["quoted"]
        elif match.end() >= read and (bare := _BARE.match(line, match.end())):
            # each bare text is read once, whatever names it has within
            read = bare.end()
            if _LINE_ENDS.match(line, read):
                yield match, bare[0]
            elif len(value := bare[0].rpartition("#")[0]) >= _SHORTEST_BARE:
                yield match, value


def _is_random(value: str) -> bool:
    """Return True for letters and digits in no order: no name, path or sentence has them so mixed."""
    changes = len(_CHANGE.findall(value))
    mixed = re.search("[A-Za-z]", value) and re.search("[0-9]", value)
    return bool(mixed) and changes >= len(value) / 5 and _entropy(value) >= _LEAST_BITS


def _entropy(value: str) -> float:
    shares = [value.count(letter) / len(value) for letter in set(value)]
    return -sum(share * math.log2(share) for share in shares)


def _is_lock(path: str) -> bool:
    name = PurePosixPath(path)
    return name.name in _LOCKS or path.startswith("locks/") or name.name.endswith(".lock")


def _detected(line: str) -> Iterator[tuple[str, str]]:
    """Yield kind and text of what the detectors with a pattern of their own find. None asks whether a secret is valid:
    that would send it away."""
    for detector in _detectors():
        for secret in detector.analyze_string(line):
            if isinstance(secret, str) and secret:
                yield str(detector.secret_type), secret


@cache
def _detectors() -> tuple[RegexBasedDetector, ...]:
    # some of them import a client of HTTP: for the gate alone
    from detect_secrets import plugins
    from detect_secrets.plugins.base import RegexBasedDetector

    modules = [importlib.import_module(f"{plugins.__name__}.{each.name}") for each in iter_modules(plugins.__path__)]
    known = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    kinds = [each for each in known if issubclass(each, RegexBasedDetector) and each.__name__ not in _OWN]
    return tuple(kind() for kind in sorted(kinds, key=lambda each: each.__name__))
