"""Which cluster and which engine a run of `ebbtide local up` takes, decided without asking the machine anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra import cli
from infra.errors import LocalProblem
from infra.workspace import Paths
from lab import pulumi_engine, up
from lab.clusters.choice import Choice, ClusterOptions, choose, cluster_options, settle
from lab.plugins.launchers import LAUNCHERS
from lab.pulumi_engine import Engine
from lab.toolchain.reachable import Reachable

MINE = ClusterOptions(context="mine", registry="reg.example.com/x", gpu_nodes=("gpu-a",), models_dir="/srv/models")


@pytest.fixture
def at(tmp_path: Path) -> Paths:
    for name in ("cache", "state"):
        (tmp_path / name).mkdir()
    return Paths(tmp_path / "cache", tmp_path / "state")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment's folder, with an interpreter in it."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(os.path.realpath("/bin/sh"))
    return tmp_path / "venv"


@pytest.mark.parametrize(
    ("context", "docker", "linux_root", "kind"),
    [
        ("mine", True, True, "context"),
        ("mine", False, False, "context"),
        (None, True, True, "kind"),
        (None, True, False, "kind"),
        (None, False, True, "lab"),
    ],
)
def test_a_named_context_wins_then_kind_where_docker_runs_then_the_lab_for_root(
    context: str | None, docker: bool, linux_root: bool, kind: str
) -> None:
    assert choose(context, docker, linux_root) == kind


def test_without_a_context_docker_and_root_the_error_names_all_three_ways() -> None:
    with pytest.raises(LocalProblem) as refused:
        choose(None, False, False)
    assert str(refused.value) == (
        "the local cluster needs root, on Linux: it makes namespaces and cgroups; no Docker runs that has or can pull "
        "kind's node image, and no kube context is named\n"
        "  fix: one of: run it with sudo on Linux; start Docker; name a cluster of yours with --context"
    )


def test_a_stack_stays_on_the_lab_when_docker_is_installed_later() -> None:
    assert settle(Choice("lab"), ClusterOptions(), docker=True, linux_root=True) == Choice("lab")


def test_a_context_named_once_need_not_be_named_again() -> None:
    assert settle(Choice("context", MINE), ClusterOptions(), docker=True, linux_root=True) == Choice("context", MINE)


def test_what_is_said_anew_of_the_same_context_replaces_what_was_said_before() -> None:
    again = settle(
        Choice("context", MINE), ClusterOptions(context="mine", models_dir="/mnt/m"), docker=False, linux_root=False
    )
    assert again.options == ClusterOptions(
        context="mine", registry="reg.example.com/x", gpu_nodes=("gpu-a",), models_dir="/mnt/m"
    )


@pytest.mark.parametrize(
    ("recorded", "place"),
    [
        (Choice("lab"), "the cluster made on this machine"),
        (Choice("kind"), "a kind cluster"),
        (Choice("context", MINE), "the context mine"),
    ],
)
def test_another_context_than_the_stacks_is_refused_until_it_is_purged(recorded: Choice, place: str) -> None:
    with pytest.raises(LocalProblem) as refused:
        settle(recorded, ClusterOptions(context="other"), docker=False, linux_root=True)
    assert str(refused.value) == (
        f"--context other: the local stack is on {place} already\n  fix: run `ebbtide local down --purge` first"
    )


@pytest.mark.parametrize("recorded", [None, Choice("lab")])
def test_a_registry_without_a_context_is_refused_with_the_flags_that_were_given(recorded: Choice | None) -> None:
    with pytest.raises(LocalProblem) as refused:
        settle(recorded, ClusterOptions(context=None, registry="r/x", gpu_nodes=("n",)), docker=True, linux_root=True)
    assert str(refused.value) == (
        "--registry, --gpu-node: said of a cluster of your own, but none is named\n  fix: name it too: --context NAME"
    )


def test_flags_come_before_variables() -> None:
    environ = {"EBBTIDE_CONTEXT": "a", "EBBTIDE_REGISTRY": "r/x/", "EBBTIDE_GPU_NODES": "n1, n2"}
    assert cluster_options(environ, "b", gpu_nodes=["n3"]) == ClusterOptions(
        context="b", registry="r/x", gpu_nodes=("n3",)
    )
    assert cluster_options(environ) == ClusterOptions(context="a", registry="r/x", gpu_nodes=("n1", "n2"))
    assert cluster_options({}) == ClusterOptions()


def test_a_choice_is_read_back_as_it_was_written(at: Paths) -> None:
    assert Choice.load(at) is None
    Choice("context", MINE).save(at)
    assert Choice.load(at) == Choice("context", MINE)


def test_the_command_line_hands_every_wish_on(monkeypatch: pytest.MonkeyPatch) -> None:
    options_seen: list[ClusterOptions] = []
    monkeypatch.setattr(up, "up", lambda options, then_ask: options_seen.append(options))
    words = ["local", "up", "--context", "mine", "--registry", "reg.example.com/x", "--gpu-node", "a"]
    words += ["--gpu-node", "b", "--models-dir", "/srv", "--gateway-url", "http://llm.example.com/"]
    done = CliRunner(env={"EBBTIDE_CONTEXT": None}).invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert options_seen == [
        ClusterOptions(
            context="mine",
            registry="reg.example.com/x",
            gpu_nodes=("a", "b"),
            models_dir="/srv",
            gateway_url="http://llm.example.com",
        )
    ]


@pytest.mark.parametrize(
    ("releases", "docker", "chosen"),
    [
        (True, True, Engine.OFFICIAL),
        (True, False, Engine.OFFICIAL_BUILDAH),
        (False, True, Engine.BUILT),
        (False, False, Engine.BUILT),
    ],
)
def test_the_official_release_is_taken_wherever_it_can_be_had(releases: bool, docker: bool, chosen: Engine) -> None:
    assert pulumi_engine.choose(None, releases=releases, docker=docker) is chosen


@pytest.mark.parametrize("recorded", list(Engine))
def test_a_stack_keeps_the_engine_that_made_it(recorded: Engine) -> None:
    assert pulumi_engine.choose(recorded, releases=True, docker=True) is recorded
    assert pulumi_engine.choose(recorded, releases=False, docker=False) is recorded


def test_every_stand_in_in_force_is_told_as_one_and_nothing_else_is() -> None:
    assert "STAND-IN" not in Engine.OFFICIAL.description()
    assert "STAND-IN for docker-build" in Engine.OFFICIAL_BUILDAH.description()
    assert "STAND-INS for its other plugins" in Engine.BUILT.description()


def test_only_the_lab_makes_its_base_image_from_debian_packages() -> None:
    nothing = Reachable(pulumi=False, images=False, hub=False)
    assert nothing.description("lab")[0] == "base image: a root built from Debian packages"
    assert nothing.description("kind")[0] == "base image: public base images"


def test_the_built_engine_finds_all_stand_ins_and_the_official_one_none(at: Paths, environment: Path) -> None:
    built = pulumi_engine.search_path(Engine.BUILT, at, environment, {"PATH": "/usr/bin"})
    assert built == {"PATH": f"{environment}/stand-ins/built:/usr/bin"}
    official = pulumi_engine.search_path(Engine.OFFICIAL, at, environment, {"PATH": "/usr/bin"})
    assert official == {
        "PATH": f"{at.cache}/pulumi-3.274.1/pulumi:/usr/bin",
        "PULUMI_IGNORE_AMBIENT_PLUGINS": "true",
    }


def test_without_docker_the_official_engine_finds_the_stand_in_for_images_alone(at: Paths, environment: Path) -> None:
    pulumi_engine.settle(Engine.BUILT, at, environment)
    pulumi_engine.settle(Engine.OFFICIAL_BUILDAH, at, environment)
    first, second, rest = pulumi_engine.search_path(Engine.OFFICIAL_BUILDAH, at, environment, {"PATH": "/x"})[
        "PATH"
    ].split(":")
    assert [each.name for each in Path(first).iterdir()] == ["pulumi-resource-docker-build"]
    assert os.access(Path(first) / "pulumi-resource-docker-build", os.X_OK)
    assert (second, rest) == (f"{at.cache}/pulumi-3.274.1/pulumi", "/x")


@pytest.mark.parametrize("chosen", list(Engine))
def test_stand_ins_that_older_versions_put_beside_python_are_taken_away(
    chosen: Engine, at: Paths, environment: Path
) -> None:
    for name in [*LAUNCHERS, "pulumi-resource-kubernetes", "pulumi"]:
        (environment / "bin" / name).write_text("left over")
    pulumi_engine.settle(chosen, at, environment)
    assert sorted(p.name for p in (environment / "bin").iterdir()) == ["pulumi", "python"]
    assert pulumi_engine.recorded(at) is chosen


def test_a_stack_whose_state_a_stand_in_wrote_is_told_to_start_anew(at: Paths, environment: Path) -> None:
    (at.state / "engine").write_text("built\n")
    assert pulumi_engine.recorded(at) is Engine.BUILT, "what is there can be destroyed"
    with pytest.raises(LocalProblem, match="stand-in for the Kubernetes provider") as refused:
        pulumi_engine.refuse_stand_ins_state(at)
    assert "fix: run `ebbtide local down --purge`" in str(refused.value)
    pulumi_engine.settle(Engine.BUILT, at, environment)
    pulumi_engine.refuse_stand_ins_state(at)


def test_a_plain_pulumi_runs_the_recorded_engine_and_else_what_the_cache_has(at: Paths, environment: Path) -> None:
    assert pulumi_engine.in_force(at) is Engine.BUILT
    official = at.cache / "pulumi-3.274.1" / "pulumi" / "pulumi"
    official.parent.mkdir(parents=True)
    official.touch()
    (at.cache / "pulumi-3.274.1" / ".done").write_text("3.274.1\n")
    assert pulumi_engine.in_force(at) is Engine.OFFICIAL
    pulumi_engine.settle(Engine.BUILT, at, environment)
    assert pulumi_engine.in_force(at) is Engine.BUILT
    assert pulumi_engine.program(Engine.BUILT, at) == at.bin / "pulumi"
    assert pulumi_engine.program(Engine.OFFICIAL_BUILDAH, at) == official
