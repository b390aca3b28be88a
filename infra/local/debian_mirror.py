"""Where this machine gets Debian packages from: its own apt configuration, so that a mirror in use stays in use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

OFFICIAL = "http://deb.debian.org/debian"
OFFICIAL_SECURITY = "http://deb.debian.org/debian-security"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Source:
    """One apt source: where, and which suites it is asked for."""

    uri: str
    suites: tuple[str, ...]


@dataclass(frozen=True)
class Mirrors:
    """``main`` carries the release and its updates, ``security`` its security fixes."""

    main: str = OFFICIAL
    security: str = OFFICIAL_SECURITY

    def sources_list(self, suite: str) -> str:
        """apt's one-line form, for inside the root."""
        lines = [(self.main, suite), (self.main, f"{suite}-updates"), (self.security, f"{suite}-security")]
        return "".join(f"deb {uri} {name} main\n" for uri, name in lines)


def mirrors(suite: str, apt: Path = Path("/etc/apt")) -> Mirrors:
    """The mirrors that ``apt`` names for ``suite``; the official ones for what it does not name."""
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
    """Sources of the form ``deb [options] uri suite component…``."""
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
    """Sources in stanzas of ``Field: value``, as Debian 12 and later write them."""
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
