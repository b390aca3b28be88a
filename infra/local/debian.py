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
    "sysctl": "procps",
    "gpgv": "gpgv",
}
FILES = {
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
SERVICES = {"etcd-server": "etcd", "containerd": "containerd"}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing() -> list[str]:
    """Debian packages that are needed and absent, in a stable order."""
    absent = {package for program, package in PROGRAMS.items() if not shutil.which(program, path=SYSTEM_PATH)}
    absent |= {package for file, package in FILES.items() if not Path(file).exists()}
    return sorted(absent)


def install(packages: list[str], log: Path, note: Note) -> None:
    """Install with apt; a service that comes with a package is not left running."""
    if not shutil.which("apt-get"):
        raise LocalProblem(
            f"these system packages are missing and this is no Debian or Ubuntu: {', '.join(packages)}",
            "install what carries these programs with your system's package manager, then run `make local` again",
        )
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    fix = "see that apt-get works (`apt-get update`), then run `make local` again"
    if shutil.which("dpkg"):
        # an installation that was cut off stands in the way of every later one
        run_logged(["dpkg", "--configure", "-a"], log, fix=fix, note=note, env=env)
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=600"]
    run_logged([*apt, "update"], log, fix=fix, note=note, env=env)
    run_logged([*apt, "install", "-y", "--no-install-recommends", *packages], log, fix=fix, note=note, env=env)
    services = [SERVICES[package] for package in packages if package in SERVICES]
    if services and Path("/run/systemd/system").exists():
        # only what was installed just now: the lab runs these programs itself, and a service would outlive `down`
        run_logged(["systemctl", "disable", "--now", *services], log, fix=fix, note=note, env=env)
