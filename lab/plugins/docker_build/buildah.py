"""buildah as a child process: output line by line, ended with everything it started when the operation is cancelled."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.workspace import paths
from lab.plugins.docker_build import registry
from lab.plugins.plugin import RefusedError
from lab.toolchain.images import COMPRESSION, storage_env

_KEPT_LINES = 25


@dataclass(frozen=True)
class Build:
    """One build, in plain values; ``arguments`` and ``secrets`` hold what must not be shown."""

    context: Path
    dockerfile: str
    tags: tuple[str, ...] = ()
    arguments: Mapping[str, str] | None = None
    labels: Mapping[str, str] | None = None
    secrets: Mapping[str, str] | None = None
    hosts: tuple[str, ...] = ()
    target: str | None = None
    network: str | None = None
    no_cache: bool = False
    pull: bool = False


def volumes(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return ``EBBTIDE_BUILD_VOLUMES`` as buildah takes it.

    Raises `RefusedError` for a malformed one, and for a host path that is not there: it is not made.
    """
    items = [item.strip() for item in environ.get("EBBTIDE_BUILD_VOLUMES", "").split(",") if item.strip()]
    for item in items:
        parts = item.split(":")
        if len(parts) not in (2, 3) or not all(part.startswith("/") for part in parts[:2]):
            raise RefusedError(f"EBBTIDE_BUILD_VOLUMES: {item!r} is not /host/path:/container/path[:ro]")
        if not Path(parts[0]).exists():
            raise RefusedError(f"EBBTIDE_BUILD_VOLUMES: {parts[0]} does not exist on this machine")
    return items


def passed_arguments(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the build arguments that ``EBBTIDE_BUILD_ENV_ARGS`` takes from the environment."""
    names = [name.strip() for name in environ.get("EBBTIDE_BUILD_ENV_ARGS", "").split(",") if name.strip()]
    return {name: environ[name] for name in names if name in environ}


class Buildah:
    """Runner of buildah for one resource; ``tell`` gets each line of progress."""

    def __init__(self, tell: Callable[[str], None], cancelled: threading.Event) -> None:
        if shutil.which("buildah") is None:
            raise RefusedError("buildah is not installed: the docker-build stand-in builds images with it")
        self._tell, self._cancelled = tell, cancelled
        self._env = dict(os.environ) if os.environ.get("CONTAINERS_STORAGE_CONF") else storage_env(paths())

    def build(self, what: Build) -> str:
        """Build, from cached layers where it can, and return the local image's id."""
        with tempfile.TemporaryDirectory(prefix="ebbtide-build-") as folder:
            scratch = Path(folder)
            # The id file and the secrets live as long as the build and are only readable by their owner.
            dockerfile, image = scratch / "Dockerfile", scratch / "image"
            dockerfile.write_text(what.dockerfile)
            command = ["buildah", "bud", "--isolation", "chroot", "--layers", "--force-rm"]
            command += ["--iidfile", str(image), "--file", str(dockerfile)]
            command += [part for item in volumes() for part in ("--volume", item)]
            for name, value in {**passed_arguments(), **(what.arguments or {})}.items():
                command += ["--build-arg", f"{name}={value}"]
            for name, value in (what.labels or {}).items():
                command += ["--label", f"{name}={value}"]
            for number, (name, value) in enumerate((what.secrets or {}).items()):
                source = scratch / f"secret-{number}"
                source.touch(mode=0o600)
                source.write_text(value)
                command += ["--secret", f"id={name},src={source}"]
            command += [part for item in what.hosts for part in ("--add-host", item)]
            command += ["--target", what.target] if what.target else []
            command += ["--network", what.network] if what.network and what.network != "default" else []
            command += ["--no-cache"] if what.no_cache else []
            command += ["--pull-always"] if what.pull else []
            command += [part for tag in what.tags for part in ("--tag", tag)]
            self._run([*command, str(what.context)], "build")
            return image.read_text().strip()

    def push(self, image: str, tag: str, credentials: Mapping[str, tuple[str, str]]) -> str:
        """Push a local image under ``tag`` and return the digest the registry knows it by."""
        host, _ = registry.split(tag)
        with tempfile.TemporaryDirectory(prefix="ebbtide-push-") as folder:
            digest, logins = Path(folder, "digest"), Path(folder, "auth.json")
            command = ["buildah", "push", "--digestfile", str(digest)]
            if registry.plain_http(host):
                # Nothing leaves the machine, so the quickest compression is the best one.
                command += ["--tls-verify=false", *COMPRESSION]
            if host in credentials:
                token = base64.b64encode(":".join(credentials[host]).encode()).decode()
                logins.touch(mode=0o600)
                logins.write_text(json.dumps({"auths": {host: {"auth": token}}}))
                command += ["--authfile", str(logins)]
            self._run([*command, image, f"docker://{tag}"], f"push to {tag}")
            return digest.read_text().strip()

    def _run(self, command: Sequence[str], what: str) -> None:
        child = subprocess.Popen(
            command, env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        watcher = threading.Thread(target=self._end_on_cancel, args=(child,), daemon=True)
        watcher.start()
        last: deque[str] = deque(maxlen=_KEPT_LINES)
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip():
                last.append(line.rstrip())
                self._tell(line.rstrip())
        code = child.wait()
        watcher.join()
        if self._cancelled.is_set():
            raise RefusedError(f"{what}: cancelled")
        if code:
            raise RefusedError(f"{what} failed (buildah ended with {code}):\n" + "\n".join(last))

    def _end_on_cancel(self, child: subprocess.Popen[str]) -> None:
        while child.poll() is None:
            if self._cancelled.wait(0.3):
                # It has its own session: the commands of a RUN end with it, and buildah removes its working container.
                _signal(child, signal.SIGTERM)
                try:
                    child.wait(4)
                except subprocess.TimeoutExpired:
                    _signal(child, signal.SIGKILL)
                return


def _signal(child: subprocess.Popen[str], number: int) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return
