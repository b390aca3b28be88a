"""The random and docker-build stand-ins, and the launchers, without an engine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.workspace import paths
from lab.plugins import install
from lab.plugins.docker_build import buildah, context, registry
from lab.plugins.docker_build.provider import refusals
from lab.plugins.plugin import Call, Engine, Naming, RefusedError
from lab.plugins.properties import Secret
from lab.plugins.random_values import RandomValues

PASSWORD = Call(urn="u", type="random:index/randomPassword:RandomPassword", name="p")


def outputs_of(call: Call, inputs: dict[str, Any]) -> dict[str, Any]:
    plugin = RandomValues(Engine(None))
    checked, failures = plugin.check(call, {}, inputs, Naming(b""))
    assert not failures
    return plugin.create(call, checked)[1]


def test_a_password_honours_length_classes_and_minimums_and_is_secret() -> None:
    result = outputs_of(PASSWORD, {"length": 12, "special": False, "minNumeric": 9})["result"]
    assert isinstance(result, Secret)
    assert len(result.value) == 12
    assert sum(letter.isdigit() for letter in result.value) >= 9
    assert result.value.isalnum()


def test_a_length_that_cannot_hold_the_minimums_is_refused() -> None:
    with pytest.raises(RefusedError, match="length 2 cannot hold"):
        outputs_of(PASSWORD, {"length": 2, "minLower": 3})


def test_a_length_that_is_no_number_is_refused_by_check() -> None:
    _, failures = RandomValues(Engine(None)).check(PASSWORD, {}, {"length": 0}, Naming(b""))
    assert failures == [("length", "0 is not a whole number above 0")]


def test_an_id_is_the_same_bytes_in_every_spelling() -> None:
    outputs = outputs_of(
        Call(urn="u", type="random:index/randomId:RandomId", name="i"), {"byteLength": 4, "prefix": "x-"}
    )
    assert int(outputs["hex"].removeprefix("x-"), 16) == int(outputs["dec"].removeprefix("x-"))


def test_every_launcher_names_itself_a_stand_in_and_runs_the_given_python(tmp_path: Path) -> None:
    """But one: the Kubernetes provider is Pulumi's own, and where the tool chain puts it."""
    launchers = install(tmp_path / "bin", Path(sys.executable))
    (own,) = (path for path in launchers if path.name == "pulumi-resource-kubernetes")
    assert own.readlink() == paths().bin / own.name
    assert sorted(path.name for path in launchers) == [
        "pulumi-language-python",
        "pulumi-resource-docker-build",
        "pulumi-resource-kubernetes",
        "pulumi-resource-random",
    ]
    for path in set(launchers) - {own}:
        assert os.access(path, os.X_OK)
        assert "Stand-in" in path.read_text()
        assert sys.executable in path.read_text()
    before = [path.lstat().st_mtime_ns for path in launchers]
    install(tmp_path / "bin", Path(sys.executable))
    assert [path.lstat().st_mtime_ns for path in launchers] == before


def test_a_missing_interpreter_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make setup"):
        install(tmp_path / "bin", tmp_path / "no-python")
    assert not (tmp_path / "bin").exists()


def test_the_hash_follows_contents_modes_and_dockerfile_but_not_the_folder(tmp_path: Path) -> None:
    hashes = []
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "a.txt").write_text("a")
        hashes.append(context.digest_of(folder, "FROM x"))
    assert hashes[0] == hashes[1]
    assert context.digest_of(tmp_path / "one", "FROM y") != hashes[0]
    (tmp_path / "one" / "sub" / "a.txt").chmod(0o755)
    assert context.digest_of(tmp_path / "one", "FROM x") != hashes[0]


def test_ignored_files_do_not_count_and_exceptions_do(tmp_path: Path) -> None:
    for name in ("a.py", "b.log", "keep.log", "deep/c.log", "deep/__pycache__/x.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".dockerignore").write_text("# notes\n**/*.log\n!keep.log\n**/__pycache__\n.dockerignore\n")
    assert sorted(context.files(tmp_path)) == ["a.py", "keep.log"]


@pytest.mark.parametrize(
    ("reference", "host", "name"),
    [
        ("127.0.0.1:5000/ebbtide/vllm:cpu", "127.0.0.1:5000", "ebbtide/vllm"),
        ("reg.example.com/a@sha256:00", "reg.example.com", "a"),
        ("library/debian", "docker.io", "library/debian"),
    ],
)
def test_image_names_split_into_registry_and_repository(reference: str, host: str, name: str) -> None:
    assert registry.split(reference) == (host, name)


def test_only_loopback_registries_speak_plain_http() -> None:
    assert registry.plain_http("127.0.0.1:5000")
    assert registry.plain_http("localhost")
    assert not registry.plain_http("127.0.0.1.example.com")


def test_inputs_that_need_buildkit_are_refused_together_with_a_way_out() -> None:
    reasons = dict(refusals({"exports": [{}], "platforms": ["linux/s390x"], "push": True}))
    assert set(reasons) == {"exports", "platforms", "tags"}
    assert "push: true" in reasons["exports"]
    assert "linux/s390x" in reasons["platforms"]


def test_build_volumes_must_be_absolute_and_exist(tmp_path: Path) -> None:
    assert buildah.volumes({"EBBTIDE_BUILD_VOLUMES": f"{tmp_path}:/x:ro"}) == [f"{tmp_path}:/x:ro"]
    with pytest.raises(RefusedError, match="'a:b' is not"):
        buildah.volumes({"EBBTIDE_BUILD_VOLUMES": "a:b"})
    with pytest.raises(RefusedError, match="does not exist"):
        buildah.volumes({"EBBTIDE_BUILD_VOLUMES": f"{tmp_path}/no:/x"})
