"""Docker, where it runs: a check that it answers, and pushes of images of the platform's own programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from infra.errors import LocalProblem
from infra.workspace import Paths
from lab.processes import Note, run_logged
from lab.toolchain import keda
from lab.toolchain.images import containerfile

_SECONDS = 15


def answers() -> bool:
    """Return True if a Docker engine answers; a client without an engine does not count."""
    try:
        command = ["docker", "info", "--format", "{{.ServerVersion}}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


def has(kind: str, name: str) -> bool:
    """Return True if Docker knows the object of a ``kind`` (``image`` or ``container``); no answer counts as no."""
    try:
        done = subprocess.run(["docker", kind, "inspect", name], capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def docker(*args: str, stdin: str | None = None) -> str:
    """Run one short command and return its output. Raises ``LocalProblem`` with Docker's own words when it fails."""
    done = subprocess.run(["docker", *args], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LocalProblem(f"docker {' '.join(args[:2])}: {done.stderr.strip()}", "see the message above")
    return done.stdout


def push_keda(at: Paths, registry: str, note: Note) -> str:
    """Push KEDA's programs as one image FROM scratch to ``registry`` (``host[:port]/prefix``).

    Return its reference by digest.
    """
    return push_programs(at, f"{registry}/keda", [program.name for program in keda.binaries()], note)


def push_programs(at: Paths, repository: str, programs: Sequence[str], note: Note) -> str:
    """Push an image with each ``<cache>/bin/<program>`` at ``/<program>`` and return its reference by digest.

    It is always pushed: a registry that has the layers receives no byte.
    """
    log, tag = at.cache / "logs" / "images.log", f"{repository}:1"
    with tempfile.TemporaryDirectory(prefix="ebbtide-image-") as folder:
        context = Path(folder)
        for name in programs:
            shutil.copy2(at.bin / name, context / name)
        (context / "Dockerfile").write_text(containerfile(programs))
        for command in (["build", "--quiet", "--tag", tag, folder], ["push", tag]):
            run_logged(["docker", *command], log, fix="see the log; then run `make local` again", note=note)
    return digest_of(docker("image", "inspect", tag), repository)


def digest_of(inspected: str, repository: str) -> str:
    """Return ``repository@sha256:…`` from `docker image inspect` of an image that was pushed there.

    Raises ``LocalProblem`` where it names no such digest.
    """
    for ref in json.loads(inspected)[0].get("RepoDigests") or []:
        if str(ref).startswith(f"{repository}@"):
            return str(ref)
    raise LocalProblem(f"Docker has pushed {repository} but names no digest of it", "run `docker image inspect` on it")


def run_as() -> str:
    """Return the ``uid:gid`` that owns the files a container writes into a folder of the cache."""
    return f"{os.getuid()}:{os.getgid()}"
