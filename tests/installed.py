"""Packages that tests need and the product does not, installed from locks into folders of the cache: clones share them,
and a changed lock gets a new folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from infra.workspace import PROJECT, paths
from lab.processes import run_logged

UV = PROJECT / "images" / "vllm" / "requirements-uv.txt"
FIX = "check that the package index is reached, then run this again"


def locked_python(name: str, lock: Path, cache: Path | None = None) -> Path:
    """Return the interpreter of a venv with the packages of a hash-locked list, made when it is missing. Raises
    ``LocalProblem`` when they cannot be installed.
    """
    cache = cache or paths().cache
    venvs, strict = cache / "venvs", ["--no-deps", "--require-hashes"]

    def make_uv(venv: Path, log: Path) -> None:
        run_logged([sys.executable, "-m", "venv", "--without-pip", str(venv)], log, fix=FIX)
        pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "install", *strict]
        run_logged([*pip, "-r", str(UV)], log, fix=FIX)

    def make(venv: Path, log: Path) -> None:
        uv = str(_once(venvs / "uv", [UV], make_uv) / "bin" / "uv")
        run_logged([sys.executable, "-m", "venv", "--without-pip", str(venv)], log, fix=FIX)
        # its programs are started many times, by tests that let them write no bytecode
        install = [uv, "pip", "install", "--compile-bytecode", "--python", str(venv / "bin" / "python"), *strict]
        kept = ["--system-certs", "--cache-dir", str(cache / "pip" / "uv")]
        run_logged([*install, *kept, "-r", str(lock)], log, fix=FIX)

    return _once(venvs / name, [lock], make) / "bin" / "python"


def node_packages(name: str, source: Path, cache: Path | None = None) -> Path:
    """Return ``node_modules`` with the packages of a folder's ``package-lock.json``, made when it is missing; none of
    their scripts runs.
    """
    files = [source / "package.json", source / "package-lock.json"]

    def make(folder: Path, log: Path) -> None:
        folder.mkdir()
        for file in files:
            shutil.copy(file, folder)
        run_logged(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], log, fix=FIX, cwd=folder)

    return _once((cache or paths().cache) / "node" / name, files, make) / "node_modules"


def _once(prefix: Path, sources: list[Path], make: Callable[[Path, Path], None]) -> Path:
    """Return the folder that ``make`` makes of these sources, made before or now. Of two runs at once one makes it; a
    killed one leaves no stamp, and the next makes it again.
    """
    prefix.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:16]
    folder = prefix.with_name(f"{prefix.name}-{digest}")
    stamp, log = (folder.with_name(f"{folder.name}.{kind}") for kind in ("done", "log"))
    with folder.with_name(f"{folder.name}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not stamp.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder, log)
            stamp.touch()
    return folder
