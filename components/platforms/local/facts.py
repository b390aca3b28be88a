"""Facts about the machine under a local stack: written by ``ebbtide local up``, read when the program runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class LocalFacts:
    """The local stack's facts. ``kubeconfig`` is a path on this machine, ``models_dir`` one on the nodes; ``registry``
    is ``host:port/prefix``, plain HTTP if ``registry_insecure``; images are references by digest; ``gpu_nodes`` node
    names."""

    kubeconfig: str
    context: str
    registry: str
    models_dir: str
    gpu_nodes: tuple[str, ...]
    gateway_url: str
    node_port: int
    base_images: dict[str, str] = field(default_factory=dict)
    keda_image: str | None = None
    keda_manifests_dir: str | None = None
    registry_insecure: bool = True

    def save(self, file: Path) -> None:
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")
        partial.replace(file)

    @staticmethod
    def load(file: Path) -> LocalFacts:
        raw = json.loads(file.read_text())
        return LocalFacts(**{**raw, "gpu_nodes": tuple(raw["gpu_nodes"])})


def facts_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Return ``facts.json`` in the state folder (``EBBTIDE_STATE``, else the XDG state folder)."""
    if environ.get("EBBTIDE_STATE"):
        return Path(environ["EBBTIDE_STATE"]).expanduser().absolute() / "facts.json"
    root = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME", "/root")) / ".local/state")
    return Path(root).absolute() / "ebbtide" / "facts.json"


def local_facts() -> LocalFacts | None:
    """Return the facts about the local stack; None if none is up, or if another version wrote them."""
    try:
        return LocalFacts.load(facts_file())
    except (OSError, ValueError, TypeError, KeyError):
        return None
