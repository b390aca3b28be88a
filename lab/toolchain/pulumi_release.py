"""Pulumi's own release where it can be reached: downloaded once, checked against its published SHA-256, unpacked whole.

The provider plugins are not fetched here: the official CLI does that itself, at the versions of the installed SDKs.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
import tarfile
from pathlib import Path

import httpx

from infra.errors import LocalProblem
from infra.workspace import Paths
from lab import build_stamps
from lab.processes import Note

VERSION = "3.274.1"
"""The engine: its release where that can be reached, built from its Go module elsewhere."""
RELEASES = "https://get.pulumi.com/releases/sdk"
CHECKSUMS = (
    f"{RELEASES}/pulumi-{VERSION}-checksums.txt",
    f"https://github.com/pulumi/pulumi/releases/download/v{VERSION}/pulumi-{VERSION}-checksums.txt",
)
"""The same file in two places; release 3.39.4 had it in one only (pulumi/pulumi issue 10707)."""

_SYSTEMS = {"linux": "linux", "darwin": "darwin"}
_MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
_SECONDS = 30.0
_TRIES = 5


def archive_name(system: str = sys.platform, machine: str | None = None) -> str | None:
    """Return the release's file for a system (``sys.platform``) and machine (``platform.machine()``); None: no file."""
    known_system, known_machine = _SYSTEMS.get(system), _MACHINES.get((machine or platform.machine()).lower())
    if known_system is None or known_machine is None:
        return None
    return f"pulumi-v{VERSION}-{known_system}-{known_machine}.tar.gz"


def home(at: Paths) -> Path:
    return at.cache / f"pulumi-{VERSION}"


def engine(at: Paths) -> Path:
    """Return the CLI's path; its language hosts lie beside it. Releases for Windows have a ``bin`` folder between."""
    unpacked = home(at) / "pulumi"
    return unpacked / "bin" / "pulumi" if (unpacked / "bin").is_dir() else unpacked / "pulumi"


def is_installed(at: Paths) -> bool:
    return build_stamps.is_done(home(at) / ".done", VERSION) and engine(at).is_file()


def sum_of(checksums: str, name: str) -> str | None:
    """Return the SHA-256 that a ``<hex>  <file>`` list gives ``name``; None if it has none."""
    for line in checksums.splitlines():
        digest, _, file = line.strip().partition(" ")
        if file.strip().lstrip("*") == name and len(digest) == 64:
            return digest.lower()
    return None


def ensure(at: Paths, note: Note, client: httpx.Client | None = None) -> Path:
    """Install the official CLI in ``<cache>/pulumi-<version>``; return its path. An interrupted download is resumed.

    Raises ``LocalProblem`` when there is no release for this machine, no sum to check it by, or a wrong sum.
    """
    with build_stamps.exclusive(at.cache / "pulumi-release.lock"):
        if is_installed(at):
            return engine(at)
        name = archive_name()
        if name is None:
            raise LocalProblem(
                f"there is no Pulumi release for {sys.platform} on {platform.machine()}",
                "use Linux or macOS on x86-64 or arm64",
            )
        with client or httpx.Client(timeout=_SECONDS, follow_redirects=True) as http:
            published = _published_sum(http, name)
            archive = at.cache / "downloads" / name
            archive.parent.mkdir(parents=True, exist_ok=True)
            _download(http, f"{RELEASES}/{name}", archive, note)
        with archive.open("rb") as handle:
            downloaded = hashlib.file_digest(handle, "sha256").hexdigest()
        if downloaded != published:
            archive.unlink()
            raise LocalProblem(
                f"{RELEASES}/{name} has the SHA-256 {downloaded}, published is {published}; the download is deleted",
                "run `make local` again; if it happens twice, do not trust the network between",
            )
        _unpack(archive, home(at))
        archive.unlink()
    return engine(at)


def _published_sum(http: httpx.Client, name: str) -> str:
    reasons = []
    for url in CHECKSUMS:
        try:
            answer = http.get(url)
        except httpx.HTTPError as error:
            reasons.append(f"{url}: {type(error).__name__}")
            continue
        digest = sum_of(answer.text, name) if answer.status_code == 200 else None
        if digest:
            return digest
        reasons.append(f"{url}: {'no line for it' if answer.status_code == 200 else answer.status_code}")
    raise LocalProblem(
        f"no published SHA-256 of {name} ({'; '.join(reasons)}), and it is not used without one",
        "run `make local` again when one of these can be reached",
    )


def _download(http: httpx.Client, url: str, target: Path, note: Note) -> None:
    """Download ``target`` whole; a broken connection is resumed where it broke.

    Raises ``LocalProblem``, leaving ``target.partial``.
    """
    if target.exists():
        return
    partial = target.with_name(f"{target.name}.partial")
    trouble = ""
    for _ in range(_TRIES):
        try:
            _continue(http, url, partial, note)
        except (httpx.HTTPError, OSError) as broken:
            trouble = f"{type(broken).__name__}: {broken}"
            continue
        partial.replace(target)
        return
    raise LocalProblem(f"{url} could not be downloaded: {trouble}", "run `make local` again: it goes on from there")


def _continue(http: httpx.Client, url: str, partial: Path, note: Note) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    with http.stream("GET", url, headers={"Range": f"bytes={have}-"} if have else {}) as answer:
        if have and answer.status_code == 416:  # nothing is missing, or too much is there: the sum decides
            return
        answer.raise_for_status()
        have = have if answer.status_code == 206 else 0
        size = have + int(answer.headers.get("content-length", 0))
        with partial.open("r+b" if have else "wb") as out:
            out.seek(have)
            for piece in answer.iter_bytes():
                out.write(piece)
                have += len(piece)
                note(f"{have / 1e6:.0f} of {size / 1e6:.0f} MB" if size else f"{have / 1e6:.0f} MB")


def _unpack(archive: Path, into: Path) -> None:
    partial = into.with_name(f"{into.name}.partial")
    for left in (partial, into):
        shutil.rmtree(left, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(partial, filter="data")
    partial.rename(into)
    if not engine_in(into):
        raise LocalProblem(f"{archive.name} carries no pulumi program", "report this: the release has another layout")
    build_stamps.mark_done(into / ".done", VERSION)


def engine_in(folder: Path) -> bool:
    return any((folder / "pulumi" / each).is_file() for each in ("pulumi", "bin/pulumi"))
