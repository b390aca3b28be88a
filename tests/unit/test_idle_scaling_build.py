"""KEDA from the Go module proxy: what is built, from which pinned source, and how manifests are rendered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.idle_scaling.settings import one_image
from infra.errors import LocalProblem
from lab.toolchain.images import containerfile
from lab.toolchain.keda import HTTP_ADD_ON, KEDA, binaries, render_manifests, verified_source, writable_copy


def kubectl(folder: Path, script: str) -> Path:
    program = folder / "kubectl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_every_command_of_the_one_image_is_built() -> None:
    commands = {program.command[0] for program in one_image("x").values()}
    assert {f"/{program.name}" for program in binaries()} == commands


def test_every_program_is_pinned_by_version_and_sum_and_knows_its_version() -> None:
    for program in binaries():
        assert program.module.sum.startswith("h1:")
        assert program.ldflags.endswith(f"={program.module.version}")
        assert program.package.startswith("./")


def test_a_module_with_the_pinned_sum_is_taken() -> None:
    assert verified_source(KEDA, json.dumps({"Sum": KEDA.sum, "Dir": "/mod/keda"})) == Path("/mod/keda")


def test_a_module_with_another_sum_is_refused_with_both_sums() -> None:
    with pytest.raises(LocalProblem, match="has the sum h1:other, allowed is h1:"):
        verified_source(HTTP_ADD_ON, json.dumps({"Sum": "h1:other", "Dir": "/mod"}))


@pytest.mark.parametrize("answer", ['{"Error": "403 Forbidden"}', "not JSON"])
def test_a_failed_download_says_so(answer: str) -> None:
    with pytest.raises(LocalProblem, match=r"cannot be downloaded: (403 Forbidden|not JSON)"):
        verified_source(KEDA, answer)


def test_a_read_only_module_becomes_a_folder_to_build_in(tmp_path: Path) -> None:
    source = tmp_path / "module"
    (source / "cmd").mkdir(parents=True)
    (source / "cmd" / "main.go").write_text("package main\n")
    for folder in (source / "cmd", source):
        folder.chmod(0o555)
    left_over = tmp_path / "build.partial"
    left_over.mkdir()
    copy = writable_copy(source, tmp_path / "build")
    (copy / "cmd" / "new").write_text("")
    assert (copy / "cmd" / "main.go").read_text() == "package main\n"
    assert (copy / "cmd").stat().st_mode & 0o777 == 0o755
    assert not left_over.exists()


def test_rendered_manifests_are_written_whole(tmp_path: Path) -> None:
    out = tmp_path / "keda" / "keda.yaml"
    render_manifests(kubectl(tmp_path, 'echo "kind: Deployment # $2"'), Path("/mod"), out)
    assert out.read_text() == "kind: Deployment # /mod/config/default\n"


@pytest.mark.parametrize("script", ["echo no such folder >&2; exit 1", "echo '# nothing'"])
def test_a_failed_rendering_leaves_the_old_manifests(tmp_path: Path, script: str) -> None:
    out = tmp_path / "keda.yaml"
    out.write_text("old")
    with pytest.raises(LocalProblem, match="cannot be rendered"):
        render_manifests(kubectl(tmp_path, script), Path("/mod"), out)
    assert out.read_text() == "old"


def test_the_image_runs_as_a_numeric_user() -> None:
    text = containerfile([program.name for program in binaries()])
    assert text.startswith("FROM scratch\n")
    assert text.endswith("USER 65532:65532\n")
    assert text.count("COPY ") == 6


def test_keda_in_an_image_from_scratch_knows_the_time_zones_of_its_cron_triggers() -> None:
    assert {program.tags for program in binaries()} == {"timetzdata"}
