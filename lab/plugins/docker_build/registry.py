"""Image names, and a look into a registry for an image over its HTTP interface."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)


def split(reference: str) -> tuple[str, str]:
    """Split an image name, without tag and digest, into (registry host, repository)."""
    name = repository(reference)
    host, slash, rest = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        return "docker.io", name
    return host, rest


def repository(reference: str) -> str:
    """Return ``host/name`` of a reference that may carry a tag or a digest."""
    name = reference.split("@", 1)[0]
    head, _, last = name.rpartition("/")
    return f"{head}/{last.split(':', 1)[0]}" if head else last.split(":", 1)[0]


def plain_http(host: str) -> bool:
    """Return True for a loopback registry, which speaks HTTP, as every container tool assumes."""
    return re.fullmatch(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", host) is not None


def has(reference: str, digest: str, credentials: Mapping[str, tuple[str, str]]) -> bool | None:
    """Return True if the registry has ``digest``; None when it does not answer or wants a login we do not have."""
    import httpx  # costs a third of a second that only a refresh needs

    host, name = split(reference)
    scheme = "http" if plain_http(host) else "https"
    address = "registry-1.docker.io" if host == "docker.io" else host
    headers = {"Accept": _MANIFESTS}
    if host in credentials:
        user, password = credentials[host]
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    try:
        url = f"{scheme}://{address}/v2/{name}/manifests/{digest}"
        # A proxy is for the outside; the environment's no_proxy rules hold, loopback never goes through one.
        answer = httpx.head(url, headers=headers, timeout=20, trust_env=scheme == "https")
    except httpx.HTTPError:
        return None
    if answer.status_code == 404:
        return False
    return True if answer.is_success else None
