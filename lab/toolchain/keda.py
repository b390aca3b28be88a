"""KEDA and its HTTP add-on from the Go module proxy, where published images and charts cannot be reached.

Everything is taken from two module zips, pinned by version and by the ``h1:`` sum that ``go mod download -json``
reports: the programs are built from them and the manifests rendered from their own ``config/default``. Both go.mod
files carry ``replace`` lines or tools that only count in the main module, so each program is built inside a copy of
its module, never through a wrapper.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from components.idle_scaling.versions import HTTP_ADD_ON_VERSION, KEDA_VERSION
from infra.atomic_write import atomic_write
from infra.errors import LocalProblem


@dataclass(frozen=True)
class GoModule:
    """One module zip: ``path`` at ``version``; ``sum`` covers every file in it."""

    path: str
    version: str
    sum: str

    @property
    def query(self) -> str:
        """Return the argument of ``go mod download -json``."""
        return f"{self.path}@{self.version}"


@dataclass(frozen=True, kw_only=True)
class ModuleProgram:
    """One program: ``package`` (below the module's root) becomes ``<cache>/bin/<name>``; ``ldflags`` lack ``-s -w``."""

    name: str
    module: GoModule
    package: str
    ldflags: str
    # the time zone database: an image FROM scratch has none, and a cron trigger without it never lets a model sleep
    tags: str = "timetzdata"


KEDA = GoModule("github.com/kedacore/keda/v2", f"v{KEDA_VERSION}", "h1:SR60v8uIcelbveS8n/1jcl8tLdBBIbHMxmdOHw8tKqA=")
HTTP_ADD_ON = GoModule(
    "github.com/kedacore/http-add-on",
    f"v{HTTP_ADD_ON_VERSION}",
    "h1:6xqqvzFB/Yw9zBSsPD/T6DBTaOj6N4/NqbAs26E5XGA=",
)

# program name → package; the names of KEDA's three are the commands in its own Deployments
_KEDA_PACKAGES = {
    "keda": "./cmd/operator",
    "keda-adapter": "./cmd/adapter",
    "keda-admission-webhooks": "./cmd/webhooks",
}
_HTTP_ADD_ON_PACKAGES = {
    "kedahttp-interceptor": "./interceptor",
    "kedahttp-scaler": "./scaler",
    "kedahttp-operator": "./operator",
}


def binaries() -> list[ModuleProgram]:
    """Return every program the idle-scaling engine runs; the add-on's first, because they are the quicker half."""
    return [
        *_programs(HTTP_ADD_ON, _HTTP_ADD_ON_PACKAGES, f"{HTTP_ADD_ON.path}/pkg/build.version"),
        *_programs(KEDA, _KEDA_PACKAGES, f"{KEDA.path}/version.Version"),
    ]


def _programs(module: GoModule, packages: Mapping[str, str], version_variable: str) -> list[ModuleProgram]:
    flags = f"-X {version_variable}={module.version}"
    return [
        ModuleProgram(name=name, module=module, package=package, ldflags=flags) for name, package in packages.items()
    ]


def verified_source(module: GoModule, download: str) -> Path:
    """Return the unpacked module's folder, from the output of ``go mod download -json <module.query>``.

    Raises ``LocalProblem`` when Go reports an error or a sum other than the pinned one.
    """
    try:
        answer: dict[str, str] = json.loads(download)
    except json.JSONDecodeError:
        answer = {"Error": download.strip()[:300] or "no answer"}
    if answer.get("Error"):
        raise LocalProblem(
            f"{module.query} cannot be downloaded: {answer['Error']}",
            "check that the Go module proxy can be reached (`go env GOPROXY`), then run it again",
        )
    if answer.get("Sum") != module.sum:
        raise LocalProblem(
            f"{module.query} has the sum {answer.get('Sum')}, allowed is {module.sum}",
            "do not use this download; clear it with `go clean -modcache` and check the proxy",
        )
    return Path(answer["Dir"])


def writable_copy(source: Path, into: Path) -> Path:
    """Copy ``source`` (read-only in the module cache) to ``into``, replacing what an interrupted copy left."""
    partial = into.with_name(into.name + ".partial")
    for old in (partial, into):
        if old.exists():
            shutil.rmtree(old)
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, partial)
    for folder in [partial, *(p for p in partial.rglob("*") if p.is_dir())]:
        folder.chmod(0o755)
    partial.rename(into)
    return into


def render_manifests(kubectl: Path, module_dir: Path, out: Path) -> None:
    """Render ``kubectl kustomize <module_dir>/config/default`` into ``out``, whole or not at all.

    Images are left as the module spells them; the program replaces them by digest.
    """
    done = subprocess.run(
        [str(kubectl), "kustomize", str(module_dir / "config" / "default")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0 or "kind: Deployment" not in done.stdout:
        raise LocalProblem(
            f"the manifests in {module_dir} cannot be rendered: {done.stderr.strip()[:300]}",
            "remove the folder and run it again",
        )
    atomic_write(out, done.stdout)
