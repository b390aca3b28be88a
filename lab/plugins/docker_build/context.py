"""Content of a build: the Dockerfile, and the files of the context that ``.dockerignore`` lets through."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from lab.plugins.plugin import RefusedError


def digest_of(context: Path, dockerfile: str) -> str:
    """Return a hash of names, modes, links and contents, the same on every machine and for any path of the context."""
    total = hashlib.sha256(dockerfile.encode())
    for relative in sorted(files(context)):
        path = context / relative
        mode = path.lstat().st_mode
        kind = "link" if stat.S_ISLNK(mode) else "run" if mode & stat.S_IXUSR else "file"
        content = os.readlink(path).encode() if kind == "link" else path.read_bytes()
        total.update(f"\0{relative}\0{kind}\0{hashlib.sha256(content).hexdigest()}".encode())
    return total.hexdigest()


def files(context: Path) -> Iterator[str]:
    """Yield the relative path of everything in the context that is not ignored."""
    if not context.is_dir():
        raise RefusedError(f"context.location: {context} is not a folder")
    rules = ignore_rules(context)
    for folder, folders, names in os.walk(context):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in [*names, *links]:
            relative = (here / name).relative_to(context).as_posix()
            if not ignored(relative, rules):
                yield relative


def ignore_rules(context: Path) -> list[tuple[bool, re.Pattern[str]]]:
    """Return the lines of ``.dockerignore`` as (keeps, pattern), in order; the last that matches decides."""
    source = context / ".dockerignore"
    if not source.is_file():
        return []
    rules = []
    for line in source.read_text().splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            keeps = text.startswith("!")
            rules.append((keeps, _pattern(text.lstrip("!").strip().strip("/"))))
    return rules


def ignored(relative: str, rules: list[tuple[bool, re.Pattern[str]]]) -> bool:
    """Return True if a path is left out of the build."""
    verdict = False
    for keeps, pattern in rules:
        if pattern.match(relative):
            verdict = not keeps
    return verdict


def _pattern(text: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", text.removeprefix("./"))
    meaning = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts) + r"(?:/.*)?\Z")
