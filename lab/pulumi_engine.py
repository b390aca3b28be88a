"""The Pulumi in force: the official release with its plugins, or the engine built here with stand-ins for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from infra.errors import LocalProblem
from infra.workspace import Paths
from lab import build_stamps, plugins
from lab.plugins.launchers import LAUNCHERS
from lab.toolchain import kubernetes_provider, pulumi_release

IMAGE_BUILDER = "pulumi-resource-docker-build"
_WITH_A_KUBERNETES_STAND_IN = "built"  # recorded when that provider was a stand-in


class Engine(StrEnum):
    """Engine and plugins. ``OFFICIAL_BUILDAH``: docker-build needs Docker; without it a buildah stand-in steps in."""

    OFFICIAL = "official"
    OFFICIAL_BUILDAH = "official, images by buildah"
    BUILT = "built, as its Kubernetes provider"

    @property
    def official(self) -> bool:
        return self is not Engine.BUILT

    @property
    def stand_ins(self) -> tuple[str, ...]:
        """Return the stand-ins' launchers on the engine's PATH."""
        launchers = {Engine.OFFICIAL: (), Engine.OFFICIAL_BUILDAH: (IMAGE_BUILDER,)}
        return launchers.get(self, tuple(LAUNCHERS))

    def description(self) -> str:
        """Return the engine's description for the user, shown once a run."""
        return {
            Engine.OFFICIAL: f"official release {pulumi_release.VERSION}, official plugins",
            Engine.OFFICIAL_BUILDAH: f"official release {pulumi_release.VERSION}, official plugins but one: no Docker "
            "runs, so a STAND-IN for docker-build builds images with buildah",
            Engine.BUILT: "built from its Go module, as its Kubernetes provider; STAND-INS for its other plugins",
        }[self]


def choose(recorded: Engine | None, *, releases: bool, docker: bool) -> Engine:
    """Return the engine to use: the one an earlier run recorded, until `local down --purge`, since a stack's state
    keeps the plugins that wrote it; otherwise the official release where it can be had, else the built one."""
    if recorded is not None:
        return recorded
    if releases:
        return Engine.OFFICIAL if docker else Engine.OFFICIAL_BUILDAH
    return Engine.BUILT


def _record(at: Paths) -> Path:
    return at.state / "engine"


def recorded(at: Paths) -> Engine | None:
    """Return the engine that the last `local up` recorded; None before the first."""
    try:
        text = _record(at).read_text().strip()
        return Engine.BUILT if text == _WITH_A_KUBERNETES_STAND_IN else Engine(text)
    except (OSError, ValueError):
        return None


def refuse_stand_ins_state(at: Paths) -> None:
    """Raise `LocalProblem` where a stand-in for the Kubernetes provider wrote the stack's state: the real provider
    would replace most of what is there."""
    record = _record(at)
    if record.exists() and record.read_text().strip() == _WITH_A_KUBERNETES_STAND_IN:
        raise LocalProblem(
            "an older version made this local stack with a stand-in for the Kubernetes provider; Pulumi's own, in "
            "force now, would take its objects for others and replace them",
            "run `ebbtide local down --purge` (the API keys go with it), then `ebbtide local up`",
        )


def in_force(at: Paths) -> Engine:
    """Return the engine for a plain `pulumi`: the recorded one; before any `local up`, the one a shared cache has."""
    known = recorded(at)
    return known or (Engine.OFFICIAL if pulumi_release.is_installed(at) else Engine.BUILT)


def program(engine: Engine, at: Paths) -> Path:
    return pulumi_release.engine(at) if engine.official else at.bin / "pulumi"


def folder(engine: Engine, environment: Path) -> Path:
    """Return the folder of the stand-ins of ``engine`` in the Python environment: one each, so none is left over."""
    return environment / "stand-ins" / engine.name.lower()


def settle(engine: Engine, at: Paths, environment: Path) -> None:
    """Record the choice and lay out its stand-ins; remove those that older versions put on the user's PATH."""
    ensure_stand_ins(engine, environment)
    for name in (*LAUNCHERS, kubernetes_provider.NAME):
        (environment / "bin" / name).unlink(missing_ok=True)
    build_stamps.mark_done(_record(at), engine.value)


def ensure_stand_ins(engine: Engine, environment: Path) -> Path:
    """Return the stand-ins' folder for PATH, made when it is missing."""
    all_of_them = folder(Engine.BUILT, environment)
    if engine.stand_ins:
        plugins.install(all_of_them, environment / "bin" / "python")
    here = folder(engine, environment)
    here.mkdir(parents=True, exist_ok=True)
    if here != all_of_them:
        for name in engine.stand_ins:
            link = here / name
            if not link.is_symlink():
                link.symlink_to(all_of_them / name)
    return here


def search_path(engine: Engine, at: Paths, environment: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which the engine finds its plugins: its own stand-ins and the hosts beside a release."""
    own = [str(folder(engine, environment))] if engine.stand_ins else []
    beside = [str(program(engine, at).parent)] if engine.official else []
    variables = {"PATH": os.pathsep.join([*own, *beside, environ.get("PATH", os.defpath)])}
    if engine is Engine.OFFICIAL:
        # a stand-in that some older version left on the user's PATH must not be taken for the real one
        variables["PULUMI_IGNORE_AMBIENT_PLUGINS"] = "true"
    return variables
