"""Digests of public images from their registries, without an account (OCI distribution specification 1.1)."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urlsplit

import httpx

from infra.lock.pins import ImageName, is_digest

_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_FIELD = re.compile(r'([a-z_]+)="([^"]*)"')
_MOST_BYTES = 4 * 1024 * 1024  # the specification's own limit for a manifest


class NotRead(Exception):
    """A digest that the registry did not give; the message says why, and contains no token."""


class NotThere(NotRead):
    """An image that the registry does not have."""


def client() -> httpx.Client:
    """Return a client for the registries, with the proxy and certificates of the environment."""
    return httpx.Client(timeout=30, follow_redirects=True, headers={"user-agent": "ebbtide-lock"})


def digest_of(image: ImageName, ask: httpx.Client) -> str:
    """Return the ``sha256:…`` that the tag means now, for all architectures together if there are several.

    The content is hashed here too: a digest that a proxy invented is not believed. Raises ``NotRead``.
    """
    headers = {"accept": ", ".join(_MANIFESTS)}
    try:
        answer = ask.get(image.manifest_url, headers=headers)
        if answer.status_code == 401:
            headers["authorization"] = f"Bearer {_token(answer, ask)}"
            answer = ask.get(image.manifest_url, headers=headers)
    except httpx.HTTPError as problem:
        raise NotRead(f"{urlsplit(image.manifest_url).hostname} cannot be reached ({type(problem).__name__})") from None
    if answer.status_code != 200:
        raise (NotThere if answer.status_code == 404 else NotRead)(
            f"the registry answers {answer.status_code}{_meaning(answer.status_code)}"
        )
    if len(answer.content) > _MOST_BYTES or answer.headers.get("content-type", "").partition(";")[0] not in _MANIFESTS:
        raise NotRead("the registry's answer is no image manifest")
    digest = "sha256:" + hashlib.sha256(answer.content).hexdigest()
    stated = answer.headers.get("docker-content-digest")
    if stated is not None and stated != digest:
        raise NotRead(f"the registry says {stated if is_digest(stated) else 'another digest'}, its answer is {digest}")
    return digest


def _token(refused: httpx.Response, ask: httpx.Client) -> str:
    """Return an anonymous pull token, from the address that the registry's refusal gives. Raises ``NotRead``."""
    scheme, _, rest = refused.headers.get("www-authenticate", "").partition(" ")
    fields = dict(_FIELD.findall(rest))
    realm = fields.pop("realm", "")
    if scheme.lower() != "bearer" or urlsplit(realm).scheme != "https":
        raise NotRead("the registry wants an account")
    answer = ask.get(realm, params={name: fields[name] for name in ("service", "scope") if name in fields})
    try:
        document = answer.json() if answer.status_code == 200 else {}
        return str(document.get("token") or document["access_token"])
    except (ValueError, KeyError, AttributeError):
        raise NotRead("the registry gives no token without an account") from None


def _meaning(status: int) -> str:
    meanings = {401: ": it wants an account", 403: ": it wants an account", 404: ": it has no such tag"}
    return meanings.get(status, ": too many questions from here; try later" if status == 429 else "")
