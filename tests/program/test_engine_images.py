"""The docker-build and random stand-ins under the real engine, with a real registry."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.program.conftest import Project, free_ports, tool

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry on loopback that knows nothing yet; its address."""
    root, (port,) = tmp_path_factory.mktemp("registry"), free_ports(1)
    config = {
        "version": 0.1,
        "http": {"addr": f"127.0.0.1:{port}"},
        "storage": {"filesystem": {"rootdirectory": str(root / "data")}, "delete": {"enabled": True}},
    }
    (root / "config.yml").write_text(json.dumps(config))
    with (root / "log").open("wb") as log:
        process = subprocess.Popen([tool("registry"), "serve", str(root / "config.yml")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            assert process.poll() is None, (root / "log").read_text()
            assert time.monotonic() < deadline, (root / "log").read_text()
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def images(lone_project: Project, tmp_path: Path) -> Project:
    """A project with a build context, and an image store of its own."""
    tool("buildah")
    folder = tmp_path / "image"
    folder.mkdir()
    shutil.copy2(tool("registry"), folder / "program")
    (folder / "Dockerfile").write_text(
        'FROM scratch\nARG COLOUR\nCOPY program /program\nRUN ["/program", "--version"]\nLABEL colour=$COLOUR\n'
    )
    store = tmp_path / "storage.conf"
    store.write_text(f'[storage]\ndriver="vfs"\ngraphroot="{tmp_path}/store"\nrunroot="{tmp_path}/store-run"\n')
    lone_project.env["CONTAINERS_STORAGE_CONF"] = str(store)
    return lone_project


def program(project: Project, registry: str, colour: str = "blue", more: str = "") -> None:
    project.program(f"""
import pulumi_docker_build as docker_build
image = docker_build.Image("image", push=True, build_on_preview=False, tags=["{registry}/test/image:1"],
    build_args={{"COLOUR": "{colour}"}},
    context={{"location": "{project.root}/image"}}, {more})
pulumi.export("ref", image.ref)
""")


def output(project: Project, name: str) -> str:
    return project.run("stack", "output", name, "--stack=test").output.strip()


def manifest(ref: str) -> int:
    name, digest = ref.split("@")
    host, repository = name.split("/", 1)
    request = urllib.request.Request(f"http://{host}/v2/{repository}/manifests/{digest}", method="HEAD")
    request.add_header("Accept", "application/vnd.oci.image.manifest.v1+json")
    try:
        return int(urllib.request.urlopen(request).status)
    except urllib.error.HTTPError as error:
        return error.code


def test_preview_builds_nothing_up_pushes_by_digest_and_then_nothing_changes(images: Project, registry: str) -> None:
    program(images, registry)
    images.preview()
    assert not (images.root / "store").exists()
    images.up()
    ref = output(images, "ref")
    assert ref.startswith(f"{registry}/test/image@sha256:")
    assert manifest(ref) == 200
    images.preview("--expect-no-changes")
    (images.root / "image" / "more.txt").write_text("more")
    assert "1 to update" in images.preview().output
    program(images, registry, colour="red")
    images.up()
    assert output(images, "ref") != ref


def test_an_image_that_the_registry_lost_is_pushed_again_after_a_refresh(images: Project, registry: str) -> None:
    program(images, registry)
    images.up()
    ref = output(images, "ref")
    digest = ref.split("@")[1]
    request = urllib.request.Request(f"http://{registry}/v2/test/image/manifests/{digest}", method="DELETE")
    urllib.request.urlopen(request)
    assert manifest(ref) == 404
    images.refresh()
    images.up()
    assert output(images, "ref") == ref
    assert manifest(ref) == 200


def test_a_failing_build_shows_its_last_lines_and_no_build_argument(images: Project, registry: str) -> None:
    (images.root / "image" / "Dockerfile").write_text(
        'FROM scratch\nARG COLOUR\nCOPY program /program\nRUN ["/no-such-command"]\n'
    )
    program(images, registry)
    shown = images.up(fails=True).output
    assert "build failed" in shown
    assert "no-such-command" in shown
    assert "Traceback" not in shown


def test_an_interrupted_build_leaves_no_process_and_no_working_container(images: Project, registry: str) -> None:
    (images.root / "image" / "config.yml").write_text(
        json.dumps({"version": 0.1, "http": {"addr": "127.0.0.1:0"}, "storage": {"inmemory": {}}})
    )
    (images.root / "image" / "Dockerfile").write_text(
        'FROM scratch\nCOPY . /\nRUN ["/program", "serve", "/config.yml"]\n'
    )
    program(images, registry)
    process = images.start("up", "--yes", "--skip-preview", "--stack=test")
    assert process.stdout is not None
    deadline = time.monotonic() + 60
    output_so_far = ""
    while "listening on" not in output_so_far and time.monotonic() < deadline:
        output_so_far += process.stdout.readline()
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert "build: cancelled" in shown
    left = subprocess.run(
        ["buildah", "containers", "--quiet"],
        env={**os.environ, **images.env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert left.stdout.strip() == ""
    running = subprocess.run(["pgrep", "-f", "^/program serve"], capture_output=True, text=True, check=False)
    assert running.stdout == ""


def test_a_random_password_is_made_once_and_stays_secret(lone_project: Project) -> None:
    lone_project.program("""
import pulumi_random
password = pulumi_random.RandomPassword("key", length=40, special=False)
pulumi.export("key", password.result)
pulumi.export("size", password.result.apply(len))
""")
    shown = lone_project.up().output
    key = lone_project.run("stack", "output", "key", "--show-secrets", "--stack=test").output.strip()
    assert len(key) == 40
    assert key not in shown
    assert key not in lone_project.state()
    lone_project.preview("--expect-no-changes")
    lone_project.refresh()
    lone_project.up()
    assert lone_project.run("stack", "output", "key", "--show-secrets", "--stack=test").output.strip() == key
