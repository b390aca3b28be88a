"""Folders of the local stack: files that can be made again (cache) apart from those of the running stack (state)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Paths:
    """The two folders. ``cache``: downloads and builds, shared by every clone, safe to delete when nothing runs.
    ``state``: the cluster's data, certificates, logs and the stack's state; ``local down --purge`` deletes it."""

    cache: Path
    state: Path

    @property
    def bin(self) -> Path:
        return self.cache / "bin"

    @property
    def models(self) -> Path:
        return self.cache / "models"

    @property
    def registry(self) -> Path:
        return self.cache / "registry"

    @property
    def facts(self) -> Path:
        return self.state / "facts.json"

    @property
    def cluster(self) -> Path:
        return self.state / "cluster"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def pulumi_backend(self) -> Path:
        return self.state / "pulumi"


def _base(environ: Mapping[str, str], own: str, xdg: str, default: str) -> Path:
    if environ.get(own):
        return Path(environ[own]).expanduser().absolute()
    root = environ.get(xdg) or str(Path(environ.get("HOME", "/root")) / default)
    return Path(root).absolute() / "ebbtide"


def paths(environ: Mapping[str, str] = os.environ) -> Paths:
    """Return the folders: ``EBBTIDE_CACHE`` and ``EBBTIDE_STATE`` if set; else in the XDG base directories."""
    return Paths(
        cache=_base(environ, "EBBTIDE_CACHE", "XDG_CACHE_HOME", ".cache"),
        state=_base(environ, "EBBTIDE_STATE", "XDG_STATE_HOME", ".local/state"),
    )
