"""System packages the lab needs and no language registry carries."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infra.errors import LocalProblem
from lab.processes import Note, run_logged

# program that proves the package is there -> package name
PROGRAMS = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ipset": "ipset",
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
    """Return the Debian packages that are needed and absent, in a stable order."""
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
        # an installation that was cut off blocks every later one
        run_logged(["dpkg", "--configure", "-a"], log, fix=fix, note=note, env=env)
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=600"]
    run_logged([*apt, "update"], log, fix=fix, note=note, env=env)
    run_logged([*apt, "install", "-y", "--no-install-recommends", *packages], log, fix=fix, note=note, env=env)
    services = [SERVICES[package] for package in packages if package in SERVICES]
    if services and Path("/run/systemd/system").exists():
        # only what was installed just now: the lab runs these programs itself, and a service would outlive `down`
        run_logged(["systemctl", "disable", "--now", *services], log, fix=fix, note=note, env=env)


# Where this machine gets Debian packages from: its own apt configuration, so that a mirror in use stays in use.

OFFICIAL = "http://deb.debian.org/debian"
OFFICIAL_SECURITY = "http://deb.debian.org/debian-security"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Source:
    """One apt source: its address and the suites taken from it."""

    uri: str
    suites: tuple[str, ...]


@dataclass(frozen=True)
class Mirrors:
    """Debian's mirrors: ``main`` carries the release and its updates, ``security`` its security fixes."""

    main: str = OFFICIAL
    security: str = OFFICIAL_SECURITY

    def sources_list(self, suite: str) -> str:
        """Return apt's one-line form, for inside the root."""
        lines = [(self.main, suite), (self.main, f"{suite}-updates"), (self.security, f"{suite}-security")]
        return "".join(f"deb {uri} {name} main\n" for uri, name in lines)


def mirrors(suite: str, apt: Path = Path("/etc/apt")) -> Mirrors:
    """Return the mirrors that ``apt`` names for ``suite``; the official ones for what it does not name."""
    known = list(_sources(apt))
    return Mirrors(
        main=_first(known, suite) or OFFICIAL,
        security=_first(known, f"{suite}-security") or OFFICIAL_SECURITY,
    )


def _first(sources: Iterable[Source], suite: str) -> str | None:
    return next((source.uri.rstrip("/") for source in sources if suite in source.suites), None)


def _sources(apt: Path) -> Iterable[Source]:
    parts = apt / "sources.list.d"
    for file in [apt / "sources.list", *sorted(parts.glob("*.list"))]:
        if file.is_file():
            yield from one_line(file.read_text())
    for file in sorted(parts.glob("*.sources")):
        yield from deb822(file.read_text())


def one_line(text: str) -> Iterable[Source]:
    """Yield the sources in lines of the form ``deb [options] uri suite component…``."""
    for line in text.splitlines():
        kind, _, rest = line.partition("#")[0].strip().partition(" ")
        if kind != "deb":
            continue
        rest = rest.strip()
        if rest.startswith("["):
            rest = rest.partition("]")[2]
        words = rest.split()
        if len(words) >= 2:
            yield Source(words[0], (words[1],))


def deb822(text: str) -> Iterable[Source]:
    """Yield the sources in stanzas of ``Field: value``, as Debian 12 and later write them."""
    for stanza in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            else:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() != "no":
            for uri in fields.get("uris", "").split():
                yield Source(uri, tuple(fields.get("suites", "").split()))
