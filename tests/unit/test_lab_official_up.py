"""The order of `ebbtide local up` and `down` around engine and cluster, with both replaced by recorders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.errors import LocalProblem
from infra.workspace import Paths
from lab import pulumi_command, up
from lab.clusters.choice import Choice, ClusterOptions
from lab.clusters.kind import KindCluster
from lab.clusters.lab import LabCluster
from lab.machine import debian
from lab.pulumi_engine import Engine
from lab.toolchain import go_programs, keda, kube_router, kubernetes_provider, pulumi_release

KEDA = [p.name for p in keda.binaries()]


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    for name in ("cache", "state"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"EBBTIDE_{name.upper()}", str(tmp_path / name))
    return Paths(tmp_path / "cache", tmp_path / "state")


@pytest.fixture
def ups(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each `pulumi up` refreshed first. The cluster's identity is in ``up.identity``."""
    refreshes: list[bool] = []

    def run(argv: list[str], *args: Any, **kwargs: Any) -> None:
        if "up" in argv:
            refreshes.append("--refresh" in argv)

    monkeypatch.setattr(up, "run_logged", run)
    monkeypatch.setattr(up, "stacks", lambda at: {"local": 3})
    monkeypatch.setattr(up.subprocess, "run", lambda *args, **kwargs: None)
    return refreshes


def deploy(at: Paths, identity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "cluster_identity", lambda at: identity)
    up.pulumi_up(at, lambda line: None)


def test_a_cluster_made_anew_is_looked_at_before_the_stack_is_put_into_it(
    at: Paths, ups: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    for identity in ("first", "first", "second", "second"):
        deploy(at, identity, monkeypatch)
    assert ups == [False, False, True, False]


def test_a_refresh_that_was_interrupted_is_done_again(
    at: Paths, ups: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(at, "first", monkeypatch)
    recorder = up.run_logged

    def killed(argv: list[str], *args: Any, **kwargs: Any) -> None:
        recorder(argv, *args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(up, "run_logged", killed)
    with pytest.raises(KeyboardInterrupt):
        deploy(at, "second", monkeypatch)
    monkeypatch.setattr(up, "run_logged", recorder)
    deploy(at, "second", monkeypatch)
    assert ups == [False, True, True]


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What `install_tools` installs, builds and downloads."""
    asked: dict[str, list[str]] = {"packages": [], "programs": [], "releases": []}
    monkeypatch.setattr(debian, "missing", lambda: ["buildah", "containerd", "etcd-server"])
    monkeypatch.setattr(debian, "install", lambda packages, log, note: asked["packages"].extend(packages))
    monkeypatch.setattr(
        go_programs, "build", lambda programs, at, starting, note: asked["programs"].extend(p.name for p in programs)
    )
    monkeypatch.setattr(
        go_programs,
        "build_in_copies",
        lambda programs, at, starting, note: asked["programs"].extend(
            p.name for each in go_programs._in_copies(programs, at) for p in each.programs
        ),
    )
    monkeypatch.setattr(pulumi_release, "ensure", lambda at, note: asked["releases"].append(pulumi_release.VERSION))
    monkeypatch.setattr(pulumi_command, "install", lambda bin_dir: None)
    monkeypatch.setattr(up.pulumi_engine, "settle", lambda chosen, at, environment: None)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    return asked


def test_with_docker_and_the_release_nothing_of_the_system_is_installed_and_no_engine_built(
    at: Paths, tools: dict[str, list[str]]
) -> None:
    up.install_tools(at, KindCluster(at), Engine.OFFICIAL)
    assert tools == {"packages": [], "programs": ["kubectl", *KEDA], "releases": ["3.274.1"]}


def test_stand_ins_on_kind_need_buildah_and_the_engine_built(at: Paths, tools: dict[str, list[str]]) -> None:
    up.install_tools(at, KindCluster(at), Engine.BUILT)
    built = ["pulumi", "kubectl", kubernetes_provider.NAME, *KEDA]
    assert tools == {"packages": ["buildah"], "programs": built, "releases": []}


def test_the_lab_gets_all_its_packages_and_parts(at: Paths, tools: dict[str, list[str]]) -> None:
    up.install_tools(at, LabCluster(at), Engine.BUILT)
    assert tools["packages"] == ["buildah", "containerd", "etcd-server"]
    assert tools["programs"] == [
        "pulumi",
        *(p.name for p in go_programs.KUBERNETES),
        "registry",
        "coredns",
        "pause",
        kubernetes_provider.NAME,
        kube_router.NAME,
        *KEDA,
    ]


def test_a_stack_in_the_users_own_cluster_is_not_forgotten_while_it_is_there(
    at: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    Choice("context", ClusterOptions(context="mine", registry="r/x", gpu_nodes=(), models_dir="/m")).save(at)
    monkeypatch.setattr(up, "stacks", lambda at: {"local": 40})
    with pytest.raises(LocalProblem) as refused:
        up.down(purge=True)
    assert str(refused.value) == (
        "the stack is still in the cluster of the context mine\n"
        "  fix: run `.venv/bin/pulumi destroy --yes --stack local`, then this again"
    )
    assert Choice.load(at) is not None
    monkeypatch.setattr(up, "stacks", lambda at: {"local": 0})
    up.down(purge=True)
    assert not at.state.exists()
