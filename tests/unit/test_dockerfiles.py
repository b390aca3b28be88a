"""Every Dockerfile before hadolint, the shell of its steps too: those that are kept, and the one that the lab writes.
What is found and meant so is ignored in the Dockerfile, beside its reason."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from infra.workspace import PROJECT
from lab.plugins.docker_build import context
from lab.toolchain.images import containerfile

IMAGES = PROJECT / "images"
HADOLINT = Path(sys.executable).with_name("hadolint")
IGNORED = re.compile(r"hadolint ignore=(\S+)")


def kept() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True)
    names = [Path(name) for name in listed.stdout.split("\0")]
    return [PROJECT / name for name in names if name.name.startswith(("Dockerfile", "Containerfile"))]


def lines_of(files: Iterable[Path], *options: str) -> list[str]:
    """What hadolint says of the files, at its strictest."""
    command = [str(HADOLINT), "--no-color", "--failure-threshold", "style", *options, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.returncode in (0, 1), done.stderr
    lines = done.stdout.splitlines()
    assert bool(lines) == bool(done.returncode), done.stderr
    return lines


def test_hadolint_finds_nothing_but_what_is_ignored_with_its_reason() -> None:
    assert {file.parent.name for file in kept()} >= {"gateway", "mirror", "vllm"}
    assert lines_of(kept()) == []


def test_nothing_is_ignored_that_hadolint_does_not_find() -> None:
    every = "\n".join(lines_of(kept(), "--disable-ignore-pragma"))
    for file in kept():
        for codes in IGNORED.findall(file.read_text()):
            for code in codes.split(","):
                assert re.search(rf"{re.escape(str(file))}:\d+ {code} ", every), f"{file}: {code} is ignored in vain"


@pytest.mark.parametrize("programs", [["pause"], ["keda", "keda-adapter"]])
def test_hadolint_finds_nothing_in_the_dockerfile_of_the_platforms_own_programs(
    programs: list[str], tmp_path: Path
) -> None:
    written = tmp_path / "Dockerfile"
    written.write_text(containerfile(programs))
    assert lines_of([written]) == []


def test_hadolint_is_told_to_fail_on_the_least_of_its_findings(tmp_path: Path) -> None:
    written = tmp_path / "Dockerfile"
    written.write_text("FROM scratch\nUSER engine\n")
    (finding,) = lines_of([written])
    assert " DL3066 " in finding


@pytest.mark.parametrize("folder", sorted(file.parent.name for file in IMAGES.glob("*/.dockerignore")))
def test_what_python_leaves_beside_its_modules_is_in_no_image(tmp_path: Path, folder: str) -> None:
    """An image would be another one after each run of its program from here."""
    image = tmp_path / folder
    shutil.copytree(IMAGES / folder, image, ignore=shutil.ignore_patterns("__pycache__"))
    before = set(context.files(image))
    for place in (image, *(each for each in image.rglob("*") if each.is_dir())):
        (place / "__pycache__").mkdir()
        (place / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"compiled")
    assert set(context.files(image)) == before
