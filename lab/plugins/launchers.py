"""Executables by which the engine finds its plugins, in a folder that comes first on its PATH."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from infra.atomic_write import atomic_write
from infra.workspace import paths
from lab.plugins.clouds import CLOUD_LAUNCHERS
from lab.toolchain import kubernetes_provider

LAUNCHERS = {
    "pulumi-language-python": "lab.plugins.language_python",
    "pulumi-resource-random": "lab.plugins.random_values",
    "pulumi-resource-docker-build": "lab.plugins.docker_build",
}


def install(bin_dir: Path, python: Path) -> list[Path]:
    """Write one launcher per stand-in into ``bin_dir``, link Pulumi's own Kubernetes provider, and return their paths.

    ``python`` is the interpreter of the environment in which this project is installed; it is kept as given (not
    resolved), since a virtual environment is recognized by the path of its interpreter. Files with the same content
    are left alone, others are replaced in one step, so that a running engine never reads half a launcher.
    """
    return [*_install(bin_dir, python, LAUNCHERS), _link(bin_dir / kubernetes_provider.NAME)]


def install_clouds(bin_dir: Path, python: Path) -> list[Path]:
    """Do the same for the clouds' stand-ins and the programs that fetch their clusters' credentials: for rehearsals, in
    a folder of their own."""
    return _install(bin_dir, python, CLOUD_LAUNCHERS)


def _install(bin_dir: Path, python: Path, launchers: Mapping[str, str]) -> list[Path]:
    interpreter = Path(os.path.abspath(python))
    if not os.access(interpreter, os.X_OK):
        raise FileNotFoundError(
            f"{interpreter}: no Python interpreter to run the stand-in plugins with; run `make setup` first"
        )
    bin_dir.mkdir(parents=True, exist_ok=True)
    return [_write(bin_dir / name, interpreter, module) for name, module in launchers.items()]


def _write(path: Path, interpreter: Path, module: str) -> Path:
    # -P keeps the working directory, which is the program's, from shadowing what the stand-in imports.
    text = (
        "#!/bin/sh\n"
        f"# Stand-in for Pulumi's own {path.name}: see lab/plugins.\n"
        f'exec {shlex.quote(str(interpreter))} -P -m {module} "$@"\n'
    )
    if path.is_file() and path.read_text() == text and os.access(path, os.X_OK):
        return path
    atomic_write(path, text, 0o755)
    return path


def _link(path: Path) -> Path:
    built = paths().bin / path.name
    if not (path.is_symlink() and path.readlink() == built):
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.symlink_to(built)
        fresh.replace(path)
    return path
