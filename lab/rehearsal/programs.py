"""Programs that simulate the nodes and buy them: kwok and Karpenter with its kwok provider, from their Go modules.

Both are pinned by version and by the ``h1:`` sum of their zip and built inside a copy of their module, as KEDA is. The
files the cluster reads (kwok's stages, Karpenter's kinds) are taken from the same copies into the cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.atomic_write import atomic_write
from infra.errors import LocalProblem
from lab.toolchain.keda import GoModule, ModuleProgram
from lab.toolchain.source_edit import Edit

FOLDER: Final = "rehearsal"
"""Folder of the cache with the files taken from the modules."""
STAGES: Final = "kwok-stages.yaml"
KARPENTER_KINDS: Final = "karpenter-kinds.yaml"

CONTROL_PLANE: Final = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")

# the module's own quick lifecycle: a pod runs as soon as it is bound, a node is ready as soon as it is there
_STAGES = (
    "kustomize/stage/node/fast/node-initialize.yaml",
    "kustomize/stage/node/heartbeat/node-heartbeat.yaml",
    "kustomize/stage/pod/fast/pod-ready.yaml",
    "kustomize/stage/pod/fast/pod-complete.yaml",
    "kustomize/stage/pod/fast/pod-delete.yaml",
)
_KARPENTER_KINDS = (
    "pkg/apis/crds/karpenter.sh_nodeclaims.yaml",
    "pkg/apis/crds/karpenter.sh_nodeoverlays.yaml",
    "pkg/apis/crds/karpenter.sh_nodepools.yaml",
    "kwok/apis/crds/karpenter.kwok.sh_kwoknodeclasses.yaml",
)


def join_documents(module_dir: Path, files: Sequence[str], out: Path) -> None:
    """Join YAML files as the documents of one, whole or not at all. Raises ``LocalProblem`` if one is missing."""
    absent = [file for file in files if not (module_dir / file).is_file()]
    if absent:
        raise LocalProblem(
            f"{module_dir} has no {', '.join(absent)}",
            "the module's layout changed with its version: put the new places into lab/rehearsal/programs.py",
        )
    text = "".join(f"---\n{(module_dir / file).read_text().strip().removeprefix('---').strip()}\n" for file in files)
    atomic_write(out, text)


@dataclass(frozen=True, kw_only=True)
class RehearsalModule:
    """One module: ``packages`` by program name; its ``files`` become ``<cache>/rehearsal/<rendered>``."""

    module: GoModule
    packages: Mapping[str, str]
    ldflags: str
    rendered: str
    files: tuple[str, ...]
    edits: tuple[Edit, ...] = ()

    def programs(self) -> list[ModuleProgram]:
        """Return the programs in the tool chain's terms."""
        return [
            ModuleProgram(name=name, module=self.module, package=package, ldflags=self.ldflags)
            for name, package in self.packages.items()
        ]

    def prepared(self) -> tuple[str, ...]:
        """Return what else a stamp must contain: the edits, and which files are taken from the module."""
        return tuple(f"{e.file}: {e.new}" for e in self.edits) + self.files

    def prepare(self, copy: Path) -> None:
        """Make the edits. Raises ``LocalProblem`` for one that finds nothing to change."""
        for edit in self.edits:
            edit.make(copy)

    def render(self, module_dir: Path, out: Path) -> None:
        """Write the files taken from the module to ``out``."""
        join_documents(module_dir, self.files, out)


KWOK = RehearsalModule(
    module=GoModule("sigs.k8s.io/kwok", "v0.8.0", "h1:OTIOTwgROqPMovcTwxICx2eYQ4AwLpSx5EpjbDKF4SQ="),
    packages={"kwok": "./cmd/kwok"},
    ldflags="-X sigs.k8s.io/kwok/pkg/consts.Version=v0.8.0",
    rendered=STAGES,
    files=_STAGES,
)
KARPENTER = RehearsalModule(
    module=GoModule("sigs.k8s.io/karpenter", "v1.8.2", "h1:HvgnZuZZarg7gdEXIecx6lV/QHNCQj6mHg0mI65ztRU="),
    packages={"karpenter-kwok": "./kwok"},
    ldflags="-X sigs.k8s.io/karpenter/pkg/operator.Version=v1.8.2",
    rendered=KARPENTER_KINDS,
    files=_KARPENTER_KINDS,
    # its metrics and health ports are for its own pod; in a plain process they would be open to the whole network
    edits=(
        Edit("pkg/operator/operator.go", 'BindAddress: fmt.Sprintf(":%d"', 'BindAddress: fmt.Sprintf("127.0.0.1:%d"'),
    ),
)
MODULES: Final = (KWOK, KARPENTER)
