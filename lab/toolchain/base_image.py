"""A base image from Debian packages, for machines that reach no public registry: Python 3.11 and little else.

Every package is verified against Debian's archive keyring. Downloads stay in the cache, so that an interrupted build
need not fetch them again; the working container has a fixed name, so that the next run removes what a killed one left.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from infra.errors import LocalProblem
from infra.workspace import Paths
from lab import build_stamps
from lab.machine import namespaces
from lab.machine.debian import KEYRING, Mirrors, mirrors
from lab.processes import Note, run_logged
from lab.toolchain.images import pushed, storage_env

SUITE = "bookworm"
PACKAGES = ("python3", "python3.11", "python3.11-venv", "python3-distutils", "ca-certificates", "libgomp1", "libnuma1")
"""venv brings pip and needs distutils, which debootstrap does not find by itself: it resolves no virtual packages.
libgomp and libnuma are what the engine's CPU kernels link against."""

TRIM = r"""
set -eu
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/cache/debconf/*-old
rm -rf /var/lib/dpkg/*-old /var/log/* /var/cache/ldconfig/aux-cache /etc/machine-id
rm -rf /usr/share/man /usr/share/info /usr/share/locale
find /usr/share/doc -mindepth 1 ! -name copyright ! -type d -delete
find /usr/share/doc -type d -empty -delete
find /usr/lib/python3* -name '*.pyc' -delete
python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3.11 /usr/lib/python3 > /dev/null || true
"""
"""Licences stay. Bytecode gets unchecked hashes, because the image's file times are all set to one moment."""

ZSTD = ("--compression-format", "zstd", "--compression-level", "1")
"""The fastest compression that is still small, in half of gzip's time; containerd 1.5 and later unpack it."""

_WORK = "ebbtide-base-python"
_FIX = "see the log; when the mirror can be reached again, run `make local` again"


def ensure_base(registry: str, at: Paths, note: Note) -> str:
    """Return the base's reference by digest in ``registry`` (``host:port/prefix``), made and pushed when missing.

    It takes about 90 s the first time, nothing when the registry's storage has it. The cluster's machine must be up,
    because its registry takes the image. Raises ``LocalProblem`` with the log's tail.
    """
    repository = f"{registry}/base-python"
    key = build_stamps.key(SUITE, PACKAGES, TRIM)
    record = at.cache / "images" / "base-python.json"
    with build_stamps.exclusive(at.cache / "images" / "base-python.lock"):
        known = pushed(at, record, key)
        if known and known.startswith(f"{repository}@"):
            return known
        log, env = at.cache / "logs" / "base-image.log", storage_env(at)
        local = f"localhost/{_WORK}:{key}"
        if subprocess.run(["buildah", "inspect", "--type", "image", local], env=env, capture_output=True).returncode:
            _build(local, at, log, env, note)
        ref = f"{repository}@{_push(local, f'{repository}:{SUITE}', at, log, env, note)}"
        build_stamps.mark_done(record, json.dumps({"key": key, "ref": ref}))
    return ref


def bootstrap_command(root: Path, debs: Path, place: Mirrors) -> list[str]:
    """Return debootstrap into ``root``, in its own mount namespace so that a killed one leaves no /proc mounted."""
    return [
        *("unshare", "--mount", "--propagation", "private", "--"),
        *("debootstrap", "--variant=minbase", "--force-check-gpg", f"--keyring={KEYRING}", f"--cache-dir={debs}"),
        *(f"--include={','.join(PACKAGES)}", SUITE, str(root), place.main),
    ]


def _build(local: str, at: Paths, log: Path, env: Mapping[str, str], note: Note) -> None:
    if not KEYRING.exists():
        raise LocalProblem(
            f"{KEYRING} is missing: Debian's packages could not be verified",
            "install the system package debian-archive-keyring, then run `make local` again",
        )
    place = mirrors(SUITE)
    debs = at.cache / "debs"
    debs.mkdir(parents=True, exist_ok=True)

    def buildah(*args: str) -> None:
        run_logged(["buildah", *args], log, fix=_FIX, note=note, env=env)

    def inside(script: str) -> None:
        buildah("run", "--isolation", "chroot", _WORK, "--", "sh", "-c", script)

    _discard(env)
    buildah("from", "--name", _WORK, "scratch")
    try:
        mounted = subprocess.run(["buildah", "mount", _WORK], env=env, check=True, capture_output=True, text=True)
        root = Path(mounted.stdout.strip())
        run_logged(bootstrap_command(root, debs, place), log, fix=_FIX, note=note, env=env)
        (root / "etc/apt/sources.list").write_text(place.sources_list(SUITE))
        inside("apt-get update && DEBIAN_FRONTEND=noninteractive apt-get -y upgrade && apt-get clean")
        inside(TRIM)
        for own in ("etc/resolv.conf", "etc/hostname"):  # debootstrap copies this machine's
            (root / own).unlink(missing_ok=True)
        buildah("config", "--cmd", "python3", "--label", "org.opencontainers.image.base.name=debian", _WORK)
        note("writing the image")
        buildah("commit", "--quiet", "--timestamp", "0", _WORK, local)
    finally:
        _discard(env)


def _discard(env: Mapping[str, str]) -> None:
    subprocess.run(["buildah", "rm", _WORK], env=env, capture_output=True, check=False)


def _push(local: str, tag: str, at: Paths, log: Path, env: Mapping[str, str], note: Note) -> str:
    with tempfile.TemporaryDirectory(prefix="ebbtide-base-") as folder:
        digest = Path(folder) / "digest"
        push = [
            *("buildah", "push", "--tls-verify=false", *ZSTD, "--digestfile", str(digest)),
            *(local, f"docker://{tag}"),
        ]
        run_logged(namespaces.inside(at, push, network_only=True), log, fix=_FIX, note=note, env=env)
        return digest.read_text().strip()
