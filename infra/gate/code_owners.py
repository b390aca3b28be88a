"""GitHub's CODEOWNERS as it decides: the last line that matches a file names its owners, or none.

Source: GitHub Docs, About code owners. A pattern is gitignore's without ``!``, ``[ ]`` and an escaped ``#``. Where the
page leaves open what a pattern reaches, a line that frees a file reaches further here than one that gives it owners.
Only the standard library is needed, so that the job that comments can tell the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

UNREADABLE = "\ufffd"  # in the place of what is not UTF-8
# GitHub takes the first of these
PLACES = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")
_WILD = re.compile(r"(\*\*/|\*\*|\*|\?)")
_MEANS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def in_force(checkout: Path) -> str:
    """Return the text of the file that counts in ``checkout``, with ``UNREADABLE`` where it is not UTF-8; empty if
    there is none."""
    files = (checkout / place for place in PLACES if (checkout / place).is_file())
    file = next(files, None)
    return "" if file is None else file.read_text(encoding="utf-8", errors="replace")


def unowned(text: str, paths: Iterable[str]) -> list[str]:
    """Return those of ``paths`` that nobody owns."""
    lines = list(_lines(text))
    return [path for path in paths if not _owned(lines, path)]


def _owned(lines: list[tuple[str, bool]], path: str) -> bool:
    for pattern, owned in reversed(lines):
        if _regex(pattern, owned).fullmatch(path):
            return owned
    return False


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words:
            yield words[0], len(words) > 1


@cache
def _regex(pattern: str, owned: bool) -> re.Pattern[str]:
    folder, bare = pattern.endswith("/"), pattern.strip("/")
    start = "" if pattern.startswith("/") or "/" in bare else "(?:.*/)?"
    parts = (_MEANS.get(part) or re.escape(part) for part in _WILD.split(bare))
    # `docs/*` is said to reach no further than its folder; `/apps/github` reaches what is in it
    near = owned and "*" in bare.rpartition("/")[2]
    end = "/.*" if folder else "" if near else "(?:/.*)?"
    return re.compile(start + "".join(parts) + end, re.DOTALL)
