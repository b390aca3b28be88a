"""Images that the local set-up itself needs: the pods' sandbox, CoreDNS and KEDA."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from infra.workspace import Paths
from lab import build_stamps
from lab.machine import namespaces
from lab.processes import Note, run_logged

# buildah always compresses when it pushes to a registry; this is the quickest way that containerd 1.6 can read
COMPRESSION = ("--compression-format", "zstd", "--compression-level", "1")
PLATFORM_USER = "65532:65532"  # numeric, so that the kubelet can check runAsNonRoot


def storage_env(paths: Paths) -> dict[str, str]:
    """Return the environment in which buildah's storage goes to the cache and nowhere else on the machine."""
    root = paths.cache / "buildah"
    root.mkdir(parents=True, exist_ok=True)
    storage = f'[storage]\ndriver = "overlay"\ngraphroot = "{root}/storage"\nrunroot = "{root}/run"\n'
    # the local registry speaks plain HTTP, and only on loopback
    registries = '[[registry]]\nlocation = "127.0.0.1:5000"\ninsecure = true\n'
    for name, text in (("storage.conf", storage), ("registries.conf", registries)):
        if not (root / name).exists() or (root / name).read_text() != text:
            (root / name).write_text(text)
    return {
        **os.environ,
        "CONTAINERS_STORAGE_CONF": str(root / "storage.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(root / "registries.conf"),
        "BUILDAH_ISOLATION": "chroot",
    }


def containerfile(programs: Sequence[str]) -> str:
    """Return the Dockerfile of one image with every program in its root, for a context that holds them by name. A
    program that is alone is what the image starts."""
    copies = [f"COPY --chmod=0755 {name} /{name}" for name in sorted(programs)]
    alone = [f'ENTRYPOINT ["/{programs[0]}"]'] if len(programs) == 1 else []
    return "\n".join(["FROM scratch", *copies, f"USER {PLATFORM_USER}", *alone, ""])


def push_programs(paths: Paths, repository: str, programs: Sequence[str], note: Note) -> str:
    """Push an image FROM scratch with ``<cache>/bin/<program>`` at ``/<program>``, once.

    Return its reference by digest.
    """
    key = build_stamps.key([(name, _fingerprint(paths.bin / name)) for name in programs])
    record = paths.cache / "images" / f"{repository.rpartition('/')[2]}.json"
    known = pushed(paths, record, key)
    if known:
        return known
    log = paths.cache / "logs" / "images.log"
    env = storage_env(paths)
    fix = "see the log; then run `make local` again"
    with tempfile.TemporaryDirectory(prefix="ebbtide-image-") as folder:
        context = Path(folder)
        for name in programs:
            shutil.copy2(paths.bin / name, context / name)
        (context / "Dockerfile").write_text(containerfile(programs))
        tag = f"{repository}:1"
        build = ["buildah", "bud", "--isolation", "chroot", "--layers=false", "-t", tag, str(context)]
        run_logged(build, log, fix=fix, note=note, env=env)
        digest_file = context / "digest"
        push = [
            *(
                "buildah",
                "push",
                "--tls-verify=false",
                *COMPRESSION,
                "--digestfile",
                str(digest_file),
            ),
            *(tag, f"docker://{tag}"),
        ]
        run_logged(namespaces.inside(paths, push, network_only=True), log, fix=fix, note=note, env=env)
        subprocess.run(["buildah", "rmi", tag], env=env, capture_output=True, check=False)
        ref = f"{repository}@{digest_file.read_text().strip()}"
    build_stamps.mark_done(record, json.dumps({"key": key, "ref": ref}))
    return ref


def pushed(paths: Paths, record: Path, key: str) -> str | None:
    """Return the reference that ``record`` (written when the push was done) has for the content ``key``, if the
    registry still holds it. A record that cannot be read counts as none."""
    try:
        known = json.loads(record.read_text())
        ref = str(known["ref"]) if known["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return ref if ref and in_registry(paths, ref) else None


def release_mounts(paths: Paths, mounts: Path = Path("/proc/self/mounts")) -> list[str]:
    """Unmount what a killed build left mounted below the cache's image storage; return the mount points."""
    below = f"{paths.cache / 'buildah'}/"
    targets = [line.split()[1].encode().decode("unicode_escape") for line in mounts.read_text().splitlines()]
    left = sorted((target for target in targets if target.startswith(below)), key=len, reverse=True)
    for target in left:
        subprocess.run(["umount", "--lazy", target], capture_output=True, check=False)
    return left


def in_registry(paths: Paths, ref: str) -> bool:
    """Return True if the registry's storage holds the manifest; read from disk, so it works before anything runs."""
    name, _, digest = ref.partition("@")
    repository = name.partition("/")[2]
    revisions = paths.registry / "docker/registry/v2/repositories" / repository / "_manifests/revisions"
    return (revisions / digest.replace(":", "/") / "link").exists()


def _fingerprint(program: Path) -> str:
    stamp = program.with_name(f".{program.name}.stamp")
    return stamp.read_text() if stamp.exists() else str(program.stat().st_mtime_ns)
