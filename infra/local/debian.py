"""System packages the lab needs and no language registry carries."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from infra.local.commands import Note, run_logged
from infra.local.problem import LocalProblem

# program that proves the package is there -> package name
PROGRAMS = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "unshare": "util-linux",
    "mount": "mount",
}
FILES = {
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing() -> list[str]:
    """Debian packages that are needed and absent, in a stable order."""
    absent = {package for program, package in PROGRAMS.items() if not shutil.which(program, path=SYSTEM_PATH)}
    absent |= {package for file, package in FILES.items() if not Path(file).exists()}
    return sorted(absent)


def install(packages: list[str], log: Path, note: Note) -> None:
    """Install with apt; nothing of what is installed may start a service of its own."""
    if not shutil.which("apt-get"):
        raise LocalProblem(
            f"these system packages are missing and this is no Debian or Ubuntu: {', '.join(packages)}",
            "install what carries these programs with your system's package manager, then run `make local` again",
        )
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    fix = "see that apt-get works (`apt-get update`), then run `make local` again"
    run_logged(["apt-get", "update"], log, fix=fix, note=note, env=env)
    run_logged(["apt-get", "install", "-y", "--no-install-recommends", *packages], log, fix=fix, note=note, env=env)
