"""What a commit holds, in a folder of its own: never the working tree, never a hook of the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

# What the base alone decides: the head's copy of these is never run nor read for a verdict.
TRUSTED = ("infra/gate", "infra/policies")


class NoCheckout(Exception):
    """Why there is none, as a person reads it."""


def commit(repository: Path, ref: str) -> str:
    """The full commit that ``ref`` names. Raises ``NoCheckout``."""
    if ref.startswith("-"):
        raise NoCheckout(f"{ref!r} is not a commit")
    done = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if done.returncode != 0:
        raise NoCheckout(f"{ref!r} is not a commit of {repository}; fix: fetch it, like git fetch origin {ref}")
    return done.stdout.decode().strip()


def extract(repository: Path, ref: str, folder: Path) -> str:
    """Put what ``ref`` holds under ``folder``; gives the commit. Links that lead out of it are left out."""
    found = commit(repository, ref)
    done = _git(repository, "archive", "--format=tar", found)
    if done.returncode != 0:
        raise NoCheckout(f"git archive {found} failed: {done.stderr.decode(errors='replace').strip()[:200]}")
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return found


def copy_working_tree(repository: Path, folder: Path) -> None:
    """Put the tracked files, and the new ones that git does not ignore, as they lie there now under ``folder``."""
    done = _git(repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if done.returncode != 0:
        raise NoCheckout(f"{repository} is not a git repository")
    folder.mkdir(parents=True)
    for name in done.stdout.decode(errors="surrogateescape").split("\0"):
        source, target = repository / name, folder / name
        if name and source.is_file() and not source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def overlay(trusted: Path, head: Path, folder: Path) -> None:
    """``head``'s program with the recorder and the rules of ``trusted``: what is run to record the head's graph."""
    shutil.copytree(head, folder, symlinks=True, ignore=lambda where, names: _left_out(head, where, names))
    for part in TRUSTED:
        if (trusted / part).is_dir():
            shutil.copytree(trusted / part, folder / part, dirs_exist_ok=True)


def changed_files(base: Path, head: Path) -> list[str]:
    """Files that differ between the two folders, by their path in the repository."""
    names = {str(path.relative_to(top)) for top in (base, head) for path in top.rglob("*") if path.is_file()}
    return sorted(
        name for name in names if "__pycache__" not in name and _content(base / name) != _content(head / name)
    )


def _left_out(head: Path, where: str, names: Sequence[str]) -> set[str]:
    here = Path(where).relative_to(head)
    return {name for name in names if str(here / name) in TRUSTED or name in (".git", ".venv")}


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": "/nonexistent",
    }
    safe = ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", f"safe.directory={repository}"]
    return subprocess.run(["git", *safe, *arguments], cwd=repository, env=env, capture_output=True, check=False)
