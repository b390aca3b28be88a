"""Copies of a commit or of the working tree in a folder of their own; no hook of the repository ever runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

# Decided by the base alone: the head's copy of these never runs; its waivers.yaml is only checked for findings.
TRUSTED = ("infra/gate", "infra/policies", "infra/recorder", "waivers.yaml")


class NoCheckout(Exception):
    """Reason why there is no checkout, in words for a person."""


def commit(repository: Path, ref: str) -> str:
    """Return the full commit that ``ref`` names. Raises ``NoCheckout``."""
    if ref.startswith("-"):
        raise NoCheckout(f"{ref!r} is not a commit")
    done = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if done.returncode != 0:
        raise NoCheckout(f"{ref!r} is not a commit of {repository}; fix: fetch it, like git fetch origin {ref}")
    return done.stdout.decode().strip()


def extract(repository: Path, ref: str, folder: Path) -> str:
    """Write the files of ``ref`` under ``folder``; return the commit. Links and submodules are left out.

    Files are read object by object: `git archive` and `git checkout` obey the commit's own attributes, with which its
    author could hide or rewrite what is judged. Raises ``NoCheckout``.
    """
    found = commit(repository, ref)
    listed = _git(repository, "ls-tree", "-r", "-z", "--full-tree", found)
    if listed.returncode != 0:
        raise NoCheckout(f"git ls-tree {found} failed: {listed.stderr.decode(errors='replace').strip()[:200]}")
    folder.mkdir(parents=True)
    files = [entry for line in listed.stdout.split(b"\0") if line and (entry := _entry(line, folder))]
    asked = b"".join(sha + b"\n" for _, sha, _ in files)
    contents = _git(repository, "cat-file", "--batch", stdin=asked)
    if contents.returncode != 0:
        raise NoCheckout(f"git cat-file failed: {contents.stderr.decode(errors='replace').strip()[:200]}")
    stream = BytesIO(contents.stdout)
    for parent in {target.parent for target, _, _ in files}:
        parent.mkdir(parents=True, exist_ok=True)
    for target, sha, executable in files:
        head = stream.readline().split()
        if len(head) != 3 or head[0] != sha:
            raise NoCheckout(f"git has no object {sha.decode()}; fix: fetch the whole history of {ref}")
        target.write_bytes(stream.read(int(head[2])))
        if executable:
            target.chmod(0o755)
        stream.read(1)
    return found


def _entry(line: bytes, folder: Path) -> tuple[Path, bytes, bool] | None:
    """Parse one line of `git ls-tree`: the target file, its object, whether it is executable. None for links and
    submodules, and for a name that would lead out of the folder (git refuses those; a forged tree may hold them)."""
    told, _, name = line.partition(b"\t")
    mode, kind, sha = told.split()
    path = Path(os.fsdecode(name))
    if kind != b"blob" or mode == b"120000" or path.is_absolute() or ".." in path.parts or ".git" in path.parts:
        return None
    return folder / path, sha, mode == b"100755"


def copy_working_tree(repository: Path, folder: Path) -> None:
    """Copy the tracked files, and the new ones that git does not ignore, in their present state to ``folder``."""
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
    """Copy ``head`` to ``folder`` with the gate, rules and waivers of ``trusted``: this is run to record its graph."""
    shutil.copytree(head, folder, symlinks=True, ignore=lambda where, names: _left_out(head, where, names))
    for part in TRUSTED:
        if (trusted / part).is_dir():
            shutil.copytree(trusted / part, folder / part, dirs_exist_ok=True)
        elif (trusted / part).is_file():
            shutil.copyfile(trusted / part, folder / part)


def changed_files(base: Path, head: Path) -> list[str]:
    """Return the files that differ between the two folders, by their path in the repository."""
    names = {str(path.relative_to(top)) for top in (base, head) for path in top.rglob("*") if path.is_file()}
    return sorted(
        name for name in names if "__pycache__" not in name and _content(base / name) != _content(head / name)
    )


def _left_out(head: Path, where: str, names: Sequence[str]) -> set[str]:
    here = Path(where).relative_to(head)
    return {name for name in names if str(here / name) in TRUSTED or name in (".git", ".venv")}


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _git(repository: Path, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": "/nonexistent",
    }
    safe = ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", f"safe.directory={repository}"]
    argv = ["git", *safe, *arguments]
    return subprocess.run(argv, cwd=repository, env=env, input=stdin, capture_output=True, check=False)
