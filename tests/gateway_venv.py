"""Virtual environments with hash-locked packages, for tests that run the real gateway or another program."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from infra.errors import LocalProblem
from infra.workspace import PROJECT, paths

LOCK = PROJECT / "images" / "gateway" / "requirements.txt"


def gateway_python(lock: Path = LOCK, cache: Path | None = None) -> Path:
    """Return the interpreter of a venv with the gateway image's requirements."""
    return locked_python("gateway", lock, cache)


def locked_python(program: str, lock: Path, cache: Path | None = None) -> Path:
    """Return the interpreter of a venv with the hash-locked requirements; the venv is made when missing.

    It lives in ``<cache>/venvs/<program>-<lock hash>``, so clones share it and a changed lock gets a new one.
    Takes about a minute the first time. Raises ``LocalProblem`` when packages cannot be installed.
    """
    home = (cache or paths().cache) / "venvs"
    home.mkdir(parents=True, exist_ok=True)
    name = f"{program}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    venv, stamp = home / name, home / f"{name}.done"
    with (home / f"{name}.lock").open("w") as guard:
        # Two test runs at once must not write into one folder; a killed run leaves no stamp, and the next one
        # makes the venv again.
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not stamp.exists():
            shutil.rmtree(venv, ignore_errors=True)
            _make(venv, lock, home / f"{name}.log")
            stamp.touch()
    return venv / "bin" / "python"


def _make(venv: Path, lock: Path, log: Path) -> None:
    python = str(venv / "bin" / "python")
    with log.open("w") as output:
        for command in (
            [sys.executable, "-m", "venv", str(venv)],
            [
                python,
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "--no-deps",
                "--require-hashes",
                "-r",
                str(lock),
            ],
        ):
            if subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode:
                raise LocalProblem(
                    f"the packages of {lock} could not be installed into {venv}",
                    "check that the package index is reached (pip's own settings hold), then run this again",
                    log,
                )
