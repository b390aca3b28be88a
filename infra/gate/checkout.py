"""Copies of a commit or of the working tree in a folder of their own; no hook of the repository ever runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from infra.gate.file_kinds import Kind, kind_of

# Decided by the base alone: the head's copy of these never runs; its waivers.yaml is only checked for findings.
TRUSTED = ("infra/gate", "infra/policies", "infra/recorder", "waivers.yaml")
WORKING_TREE = "working tree"


class NoCheckout(Exception):
    """Reason why there is no checkout, in words for a person."""


@dataclass(frozen=True)
class Checkout:
    """A copied commit. ``refused`` names the links and submodules that the copy lacks: what such an entry leads to is
    not part of the change, so nobody could say what was judged. Those among inert files are left out without a word."""

    commit: str
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Entry:
    path: str
    object: bytes
    executable: bool
    is_file: bool

    @property
    def leads_out(self) -> bool:
        parts = Path(self.path).parts
        return self.path.startswith("/") or ".." in parts or ".git" in parts


def commit(repository: Path, ref: str) -> str:
    """Return the full commit that ``ref`` names. Raises ``NoCheckout``."""
    if ref.startswith("-"):
        raise NoCheckout(f"{ref!r} is not a commit")
    done = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if done.returncode != 0:
        raise NoCheckout(f"{ref!r} is not a commit of {repository}; fix: fetch it, like git fetch origin {ref}")
    return done.stdout.decode().strip()


def extract(repository: Path, ref: str, folder: Path) -> Checkout:
    """Write the files of ``ref`` under ``folder``.

    Files are read object by object: `git archive` and `git checkout` obey the commit's own attributes, with which its
    author could hide or rewrite what is judged. Raises ``NoCheckout``.
    """
    sha = commit(repository, ref)
    listed = _git(repository, "ls-tree", "-r", "-z", "--full-tree", sha)
    if listed.returncode != 0:
        raise NoCheckout(f"git ls-tree {sha} failed: {listed.stderr.decode(errors='replace').strip()[:200]}")
    folder.mkdir(parents=True)
    entries = [_entry(line) for line in listed.stdout.split(b"\0") if line]
    files = [each for each in entries if each.is_file and not each.leads_out]
    objects = b"".join(each.object + b"\n" for each in files)
    contents = _git(repository, "cat-file", "--batch", stdin=objects)
    if contents.returncode != 0:
        raise NoCheckout(f"git cat-file failed: {contents.stderr.decode(errors='replace').strip()[:200]}")
    stream = BytesIO(contents.stdout)
    for parent in {(folder / each.path).parent for each in files}:
        parent.mkdir(parents=True, exist_ok=True)
    for each in files:
        head = stream.readline().split()
        if len(head) != 3 or head[0] != each.object:
            raise NoCheckout(f"git has no object {each.object.decode()}; fix: fetch the whole history of {ref}")
        target = folder / each.path
        target.write_bytes(stream.read(int(head[2])))
        if each.executable:
            target.chmod(0o755)
        stream.read(1)
    return Checkout(sha, _refused(each.path for each in entries if not each.is_file or each.leads_out))


def _entry(line: bytes) -> _Entry:
    """Parse one line of `git ls-tree`. A name that would lead out of the folder is kept, to be told: git refuses those,
    and a forged tree may hold them."""
    metadata, _, name = line.partition(b"\t")
    mode, kind, sha = metadata.split()
    return _Entry(os.fsdecode(name), sha, mode == b"100755", kind == b"blob" and mode != b"120000")


def copy_working_tree(repository: Path, folder: Path) -> Checkout:
    """Copy the tracked files, and the new ones that git does not ignore, in their present state to ``folder``."""
    done = _git(repository, *_own_excludes(), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if done.returncode != 0:
        raise NoCheckout(f"{repository} is not a git repository")
    folder.mkdir(parents=True)
    left_out = []
    for name in filter(None, done.stdout.decode(errors="surrogateescape").split("\0")):
        source, target = repository / name, folder / name
        if source.is_symlink() or source.is_dir():
            left_out.append(name.rstrip("/"))
        elif source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return Checkout(WORKING_TREE, _refused(left_out))


def _own_excludes() -> tuple[str, ...]:
    """Return the option that names the files which this user always ignores: nothing else of their settings is read."""
    answer = subprocess.run(
        ["git", "config", "--global", "--type=path", "core.excludesFile"], capture_output=True, check=False
    )
    file = answer.stdout.decode(errors="replace").strip() or os.path.expanduser("~/.config/git/ignore")
    return ("-c", f"core.excludesFile={file}")


def _refused(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(path for path in paths if kind_of(path) is not Kind.INERT))


def overlay(trusted: Path, tree: Path, folder: Path) -> Path:
    """Copy ``tree`` to ``folder``, which is returned, with the gate, rules and waivers of ``trusted``: this is run to
    record its graph."""
    parts = [] if trusted == tree else TRUSTED
    shutil.copytree(tree, folder, ignore=lambda where, names: _left_out(tree, where, names, parts))
    for part in parts:
        if (trusted / part).is_dir():
            shutil.copytree(trusted / part, folder / part, dirs_exist_ok=True)
        elif (trusted / part).is_file():
            shutil.copyfile(trusted / part, folder / part)
    return folder


def take_data(head: Path, folder: Path) -> None:
    """Put the data of ``head`` under ``stacks`` into ``folder``, and no other file: its program says what that asks
    for."""
    shutil.rmtree(folder / "stacks", ignore_errors=True)
    for source in (head / "stacks").rglob("*"):
        path = source.relative_to(head)
        if source.is_file() and kind_of(path.as_posix()) is Kind.DATA:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / path)


def _left_out(tree: Path, where: str, names: Sequence[str], parts: Sequence[str]) -> set[str]:
    here = Path(where).relative_to(tree)
    return {name for name in names if str(here / name) in parts}


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
