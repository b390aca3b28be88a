"""Choice of the local stack's cluster: the user's kube context, else kind where Docker runs, else the lab."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from infra.errors import LocalProblem
from infra.workspace import Paths
from lab import build_stamps

Kind = Literal["context", "kind", "lab"]
_NAMES: Mapping[Kind, str] = {"kind": "a kind cluster", "lab": "the cluster made on this machine"}
_FLAGS = {
    "context": "--context",
    "registry": "--registry",
    "gpu_nodes": "--gpu-node",
    "models_dir": "--models-dir",
    "gateway_url": "--gateway-url",
}


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Options for the user's own cluster. ``registry`` is ``host[:port]/prefix``; ``models_dir`` is a folder on the GPU
    nodes; ``gateway_url`` is where node port 30400 is reached from here."""

    context: str | None = None
    registry: str | None = None
    gpu_nodes: tuple[str, ...] = ()
    models_dir: str | None = None
    gateway_url: str | None = None

    def specified(self) -> dict[str, Any]:
        """Return the options that were given."""
        return {name: value for name, value in asdict(self).items() if value}


def cluster_options(
    environ: Mapping[str, str],
    context: str | None = None,
    registry: str | None = None,
    gpu_nodes: Sequence[str] = (),
    models_dir: str | None = None,
    gateway_url: str | None = None,
) -> ClusterOptions:
    """Read the options: flags before ``EBBTIDE_…`` variables; ``EBBTIDE_GPU_NODES`` is a list with commas."""
    named = tuple(gpu_nodes) or tuple(n.strip() for n in environ.get("EBBTIDE_GPU_NODES", "").split(",") if n.strip())
    return ClusterOptions(
        context=context or environ.get("EBBTIDE_CONTEXT") or None,
        registry=(registry or environ.get("EBBTIDE_REGISTRY") or "").rstrip("/") or None,
        gpu_nodes=named,
        models_dir=models_dir or environ.get("EBBTIDE_MODELS_DIR") or None,
        gateway_url=(gateway_url or environ.get("EBBTIDE_GATEWAY_URL") or "").rstrip("/") or None,
    )


@dataclass(frozen=True)
class Choice:
    """The choice in ``<state>/cluster.json``: the stack stays on its cluster, and `down` ends the right one."""

    kind: Kind
    options: ClusterOptions = field(default_factory=ClusterOptions)

    @staticmethod
    def load(at: Paths) -> Choice | None:
        try:
            raw = json.loads((at.state / "cluster.json").read_text())
            options = {**raw["wishes"], "gpu_nodes": tuple(raw["wishes"]["gpu_nodes"])}
            return Choice(raw["kind"], ClusterOptions(**options))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, at: Paths) -> None:
        record = {"kind": self.kind, "wishes": asdict(self.options)}
        build_stamps.mark_done(at.state / "cluster.json", json.dumps(record, indent=1))


def choose(context: str | None, docker: bool, linux_root: bool) -> Kind:
    """Return the kind of cluster: a context that the user names wins; else kind where Docker runs; else the lab, on
    Linux as root. Raises ``LocalProblem`` where none is possible."""
    if context is not None:
        return "context"
    if docker:
        return "kind"
    if linux_root:
        return "lab"
    raise LocalProblem(
        "the local cluster needs root, on Linux: it makes namespaces and cgroups; no Docker runs that has or can pull "
        "kind's node image, and no kube context is named",
        "one of: run it with sudo on Linux; start Docker; name a cluster of yours with --context",
    )


def settle(recorded: Choice | None, options: ClusterOptions, *, docker: bool, linux_root: bool) -> Choice:
    """Return this run's cluster. One that an earlier run chose is kept, with its options where none are given now.
    Raises ``LocalProblem`` for another context, or for options without one."""
    if options.context is None and options.specified() and (recorded is None or recorded.kind != "context"):
        flags = ", ".join(_FLAGS[name] for name in options.specified())
        raise LocalProblem(f"{flags}: said of a cluster of your own, but none is named", "name it too: --context NAME")
    if recorded is None:
        return Choice(choose(options.context, docker, linux_root), options)
    if options.context is None or options.context == recorded.options.context:
        return replace(recorded, options=replace(recorded.options, **options.specified()))
    there = f"the context {recorded.options.context}" if recorded.kind == "context" else _NAMES[recorded.kind]
    raise LocalProblem(
        f"--context {options.context}: the local stack is on {there} already", "run `ebbtide local down --purge` first"
    )
