"""The base image from Debian packages: which mirror, what is verified, and when nothing is left to do."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.errors import LocalProblem
from infra.workspace import Paths
from lab.build_stamps import key
from lab.machine import debian
from lab.machine.debian import OFFICIAL, OFFICIAL_SECURITY, Mirrors, mirrors
from lab.toolchain import base_image
from lab.toolchain.base_image import PACKAGES, SUITE, TRIM, bootstrap_command, ensure_base

DIGEST = "sha256:" + "ab" * 32
REGISTRY = "127.0.0.1:5000/ebbtide"


def quiet(line: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    (tmp_path / "apt" / "sources.list.d").mkdir(parents=True)
    return tmp_path / "apt"


def test_the_hosts_mirrors_are_taken_from_debian_12s_stanzas(apt: Path) -> None:
    (apt / "sources.list.d" / "debian.sources").write_text(
        "Types: deb\n# a note\nURIs: http://mirror.example/debian/\nSuites: bookworm bookworm-updates\n"
        "Components: main\n\n"
        "Types: deb deb-src\nURIs: http://mirror.example/security\nSuites:\n bookworm-security\nComponents: main\n"
    )
    assert mirrors("bookworm", apt) == Mirrors("http://mirror.example/debian", "http://mirror.example/security")


def test_the_hosts_mirrors_are_taken_from_one_line_sources(apt: Path) -> None:
    (apt / "sources.list").write_text(
        "# deb http://old.example/debian bookworm main\n"
        "deb-src http://src.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://m.example/debian bookworm main\n"
    )
    (apt / "sources.list.d" / "s.list").write_text("deb http://s.example/ bookworm-security main # why\n")
    assert mirrors("bookworm", apt) == Mirrors("http://m.example/debian", "http://s.example")


def test_another_distributions_sources_are_not_mistaken_for_debians(apt: Path) -> None:
    (apt / "sources.list").write_text("deb http://archive.ubuntu.com/ubuntu noble main\n")
    (apt / "sources.list.d" / "node.sources").write_text(
        "Types: deb\nURIs: https://deb.example/node\nSuites: nodistro\nComponents: main\n\n"
        "Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: bookworm\nComponents: main\n"
    )
    assert mirrors("bookworm", apt) == Mirrors(OFFICIAL, OFFICIAL_SECURITY)


def test_a_machine_without_apt_takes_the_official_mirrors(tmp_path: Path) -> None:
    assert mirrors("bookworm", tmp_path / "none") == Mirrors(OFFICIAL, OFFICIAL_SECURITY)


def test_the_root_gets_updates_and_security_fixes() -> None:
    assert Mirrors("http://m", "http://s").sources_list("bookworm") == (
        "deb http://m bookworm main\ndeb http://m bookworm-updates main\ndeb http://s bookworm-security main\n"
    )


def test_packages_are_verified_and_mounts_stay_in_a_namespace_of_their_own() -> None:
    command = bootstrap_command(Path("/root-fs"), Path("/debs"), Mirrors())
    assert "--force-check-gpg" in command
    assert f"--keyring={debian.KEYRING}" in command
    assert "--no-check-gpg" not in command
    assert command[:4] == ["unshare", "--mount", "--propagation", "private"]
    assert command[-3:] == ["bookworm", "/root-fs", OFFICIAL]


class Machine:
    """In place of buildah, debootstrap and the registry: what was run, and a registry that has what was pushed."""

    def __init__(self, at: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.ran: list[list[str]] = []
        self.fail_at: str | None = None
        self.at, self.root = at, tmp_path / "root"
        (self.root / "etc" / "apt").mkdir(parents=True)
        (self.root / "etc" / "resolv.conf").write_text("nameserver 10.0.0.1\n")
        keyring = tmp_path / "keyring.gpg"
        keyring.touch()
        monkeypatch.setattr(base_image, "KEYRING", keyring)
        monkeypatch.setattr(base_image, "run_logged", self.run_logged)
        monkeypatch.setattr(base_image.namespaces, "inside", lambda at, argv, network_only: ["nsenter", *argv])
        monkeypatch.setattr(base_image.subprocess, "run", self.run)

    def run(self, argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.ran.append(argv)
        built = any(call[:2] == ["buildah", "commit"] for call in self.ran)
        code = 1 if argv[1] == "inspect" and not built else 0
        return subprocess.CompletedProcess(argv, code, stdout=f"{self.root}\n")

    def run_logged(self, argv: list[str], log: Path, **_: Any) -> None:
        self.ran.append(argv)
        if self.fail_at and self.fail_at in argv:
            raise LocalProblem("it failed", "try again")
        if "push" in argv:
            Path(argv[argv.index("--digestfile") + 1]).write_text(DIGEST)
            revision = self.at.registry / "docker/registry/v2/repositories/ebbtide/base-python/_manifests/revisions"
            link = revision / DIGEST.replace(":", "/") / "link"
            link.parent.mkdir(parents=True)
            link.write_text(DIGEST)

    def did(self, word: str) -> int:
        return sum(word in argv for argv in self.ran)


@pytest.fixture
def at(tmp_path: Path) -> Paths:
    return Paths(cache=tmp_path / "cache", state=tmp_path / "state")


@pytest.fixture
def box(at: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(at, monkeypatch, tmp_path)


def test_the_base_is_built_pushed_and_named_by_digest(at: Paths, box: Machine) -> None:
    assert ensure_base(REGISTRY, at, quiet) == f"{REGISTRY}/base-python@{DIGEST}"
    assert (box.did("debootstrap"), box.did("commit"), box.did("push")) == (1, 1, 1)
    assert not (box.root / "etc/resolv.conf").exists(), "the host's name servers do not belong into an image"
    done = [argv[1] for argv in box.ran if argv[0] == "buildah"]
    assert done[-2:] == ["commit", "rm"], "no working container stays"


def test_a_base_that_the_registry_has_is_not_made_again(at: Paths, box: Machine) -> None:
    ensure_base(REGISTRY, at, quiet)
    box.ran.clear()
    assert ensure_base(REGISTRY, at, quiet) == f"{REGISTRY}/base-python@{DIGEST}"
    assert box.ran == []


def test_a_registry_that_lost_it_gets_it_again_without_a_build(at: Paths, box: Machine) -> None:
    ensure_base(REGISTRY, at, quiet)
    shutil.rmtree(at.registry)
    ensure_base(REGISTRY, at, quiet)
    assert (box.did("debootstrap"), box.did("push")) == (1, 2)


def test_other_packages_make_another_base(at: Paths, box: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_base(REGISTRY, at, quiet)
    known = json.loads((at.cache / "images" / "base-python.json").read_text())
    assert known["key"] == key(SUITE, PACKAGES, TRIM)
    monkeypatch.setattr(base_image, "PACKAGES", (*PACKAGES, "tini"))
    shutil.rmtree(at.registry)
    box.ran.clear()
    ensure_base(REGISTRY, at, quiet)
    assert box.did("debootstrap") == 1


def test_a_failed_build_leaves_no_working_container_and_no_record(at: Paths, box: Machine) -> None:
    box.fail_at = "commit"
    with pytest.raises(LocalProblem):
        ensure_base(REGISTRY, at, quiet)
    assert box.ran[-1] == ["buildah", "rm", base_image._WORK]
    assert not (at.cache / "images" / "base-python.json").exists()


def test_without_debians_keyring_nothing_is_fetched(at: Paths, box: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_image, "KEYRING", Path("/nowhere/debian-archive-keyring.gpg"))
    with pytest.raises(LocalProblem) as problem:
        ensure_base(REGISTRY, at, quiet)
    assert str(problem.value) == (
        "/nowhere/debian-archive-keyring.gpg is missing: Debian's packages could not be verified\n"
        "  fix: install the system package debian-archive-keyring, then run `make local` again"
    )
    assert box.did("debootstrap") == 0
