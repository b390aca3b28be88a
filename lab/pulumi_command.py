"""The project's ``pulumi``: the pinned engine (official, or built and with stand-in plugins: see `pulumi_engine`) and,
unless the user chose another one, a back-end on this machine. Installed as ``.venv/bin/pulumi``. The user's environment
takes precedence, except for the stack called ``local``: it belongs to this machine, and so does its state.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.errors import LocalProblem
from infra.served.access import on_stack
from infra.workspace import Paths, paths
from lab import after_failure, pulumi_engine
from lab.pulumi_engine import Engine
from lab.toolchain import kubernetes_provider
from lab.toolchain.images import storage_env

STACK = "local"

# The local stack's secrets are as safe as the file they are in, which only its owner can read; a passphrase kept beside
# it would add nothing, and a stack in any other back-end never sees this one.
LOCAL_PASSPHRASE = "ebbtide-local"  # noqa: S105
_NAMING = (("stack", "init"), ("stack", "select"), ("stack", "rm"))
_OTHERS = ("PULUMI_ACCESS_TOKEN", "PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")


def logged_in_elsewhere(environ: Mapping[str, str]) -> bool:
    """Return True if the user has chosen a back-end, by variable or by `pulumi login`."""
    if environ.get("PULUMI_BACKEND_URL") or environ.get("PULUMI_ACCESS_TOKEN"):
        return True
    home = Path(environ.get("PULUMI_HOME") or Path(environ.get("HOME", "/root")) / ".pulumi")
    try:
        return bool(json.loads((home / "credentials.json").read_text()).get("current"))
    except (OSError, ValueError, AttributeError):
        return False


def is_local(arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Return True if a command line is about this machine's own stack, whatever back-end the user chose for others."""
    if environ.get("EBBTIDE_OWN_BACKEND"):
        return True
    named = after_failure.stacks_named(arguments)
    named += arguments[2:] if tuple(arguments[:2]) in _NAMING else []
    return STACK in named


def build_environment(at: Paths) -> dict[str, str]:
    """Return what image builds by the stand-in docker-build need from this machine and no resource may carry: storage
    in the cache, a download cache, and the certificates this machine trusts (a mirror may have its own)."""
    downloads = at.cache / "pip"
    downloads.mkdir(parents=True, exist_ok=True)
    tag = downloads / "CACHEDIR.TAG"
    if not tag.exists():
        tag.write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    trusted = ssl.get_default_verify_paths().cafile
    volumes = [f"{downloads}:/root/.cache"]
    if trusted and Path(trusted).exists():
        volumes.append(f"{Path(trusted).resolve()}:/etc/ssl/certs/ca-certificates.crt:ro")
    return {**storage_env(at), "EBBTIDE_BUILD_VOLUMES": ",".join(volumes)}


def environment(
    environ: Mapping[str, str], at: Paths, chosen: Engine, python_home: Path, *, local: bool = False
) -> dict[str, str]:
    """Return the environment the engine runs in. ``python_home`` is the virtual environment that has the stand-ins;
    ``local`` means that the command is about this machine's own stack."""
    if local:
        environ = {name: value for name, value in environ.items() if name not in _OTHERS}
    env = {
        **build_environment(at),
        **environ,
        **pulumi_engine.search_path(chosen, at, python_home, environ),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_PYTHON_CMD": sys.executable,
    }
    if local or not logged_in_elsewhere(environ):
        at.pulumi_backend.mkdir(parents=True, exist_ok=True, mode=0o700)
        env["PULUMI_BACKEND_URL"] = f"file://{at.pulumi_backend}"
        env.setdefault("PULUMI_HOME", str(at.cache / "pulumi-home"))
        if not environ.get("PULUMI_CONFIG_PASSPHRASE_FILE"):
            env.setdefault("PULUMI_CONFIG_PASSPHRASE", LOCAL_PASSPHRASE)
    return env


def on_local_stack(*arguments: str) -> list[str]:
    """Return this environment's `pulumi …` command for the local stack, for callers that cannot answer questions."""
    return on_stack(STACK, *arguments)


def changed_at(at: Paths) -> int:
    """Return when the local stack's state was last written (ns); 0 where there is none."""
    files = (at.pulumi_backend / ".pulumi" / "stacks").rglob(f"{STACK}.json*")
    return max((file.stat().st_mtime_ns for file in files if file.suffix in (".json", ".gz")), default=0)


def main() -> None:
    at = paths()
    chosen = pulumi_engine.in_force(at)
    program = pulumi_engine.program(chosen, at)
    for needed in (program, *([] if chosen.official else [at.bin / kubernetes_provider.NAME])):
        if not needed.exists():
            sys.exit(f"the Pulumi engine is not there yet ({needed}): run `make local` (or `ebbtide local up`) first")
    home = Path(sys.prefix)
    pulumi_engine.ensure_stand_ins(chosen, home)
    local = is_local(sys.argv[1:], os.environ)
    if local and {"preview", "up", "update", "refresh"} & set(sys.argv[1:]):
        try:
            pulumi_engine.refuse_stand_ins_state(at)
        except LocalProblem as problem:
            sys.exit(f"error: {problem}")
    env = environment(os.environ, at, chosen, home, local=local)
    if after_failure.changes(sys.argv[1:]):
        sys.exit(after_failure.run(program, sys.argv[1:], env))
    os.execve(program, ["pulumi", *sys.argv[1:]], env)  # noqa: S606


def install(bin_dir: Path) -> None:
    """Write the ``pulumi`` launcher into the environment's program folder."""
    launcher = bin_dir / "pulumi"
    launcher.write_text(f'#!/bin/sh\nexec "{bin_dir}/python" -m lab.pulumi_command "$@"\n')
    launcher.chmod(0o755)


if __name__ == "__main__":
    main()
